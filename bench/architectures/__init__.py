"""The architectures of `bench/coverage.py`."""

from architectures import torchvision_models, transformers_models
from architectures.architecture import Architecture

ARCHITECTURES = {row.name: row for row in (*torchvision_models.ROWS, *transformers_models.ROWS)}
__all__ = ["ARCHITECTURES", "Architecture"]
