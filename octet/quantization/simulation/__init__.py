"""Simulation: a float graph in which weights and layers' inputs are rounded, for formats that have no kernels.

Rounding to the nearest value of a format and computing in float is what kernels of that format would give, but for the
order of sums (Jacob et al., arXiv 1712.05877, section 3). So this shows what a format costs before anything is built
for it, and, since it needs no conversion, what each layer costs on its own.
"""

from octet.quantization.simulation.simulate import simulate
from octet.quantization.simulation.simulated import Simulated

__all__ = ["Simulated", "simulate"]
