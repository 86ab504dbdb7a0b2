"""What every process of `bench/coverage.py` needs, imported once in the server that they are forked from."""

import logging
import warnings
from importlib import import_module

from toolkits import TOOLKITS

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)  # torchao tells of every kernel that it has for other machines
# `architectures` first: it declares what torchvision asks for.
for module in ("architectures", "toolkits.runner", "torchvision.models", "transformers", *TOOLKITS.values()):
    import_module(module)
