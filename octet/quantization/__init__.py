"""The one seam to `torch.ao`: nothing else in Octet imports it."""

from octet.quantization.converted import executed_method, weight_pairs
from octet.quantization.engine import reduces_range, use_engine
from octet.quantization.graph_mode import fuse
from octet.quantization.plan import Plan
from octet.quantization.quantize import Quantized, quantize_module
from octet.quantization.simulation import Simulated, simulate
from octet.quantization.training import Checkpoint

__all__ = [
    "Checkpoint",
    "Plan",
    "Quantized",
    "Simulated",
    "executed_method",
    "fuse",
    "quantize_module",
    "reduces_range",
    "simulate",
    "use_engine",
    "weight_pairs",
]
