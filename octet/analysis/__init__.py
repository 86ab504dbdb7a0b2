"""Where the error comes from, layer by layer."""

from octet.analysis.layers import layer_facts

__all__ = ["layer_facts"]
