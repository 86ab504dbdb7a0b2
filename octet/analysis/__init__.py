"""Where the error comes from, layer by layer."""

from octet.analysis.layers import layer_facts
from octet.analysis.sensitivity import rank_layers, sensitivity

__all__ = ["layer_facts", "rank_layers", "sensitivity"]
