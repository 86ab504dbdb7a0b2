"""What the change did: latency, size, fidelity, accuracy. Every figure is taken in the run that reports it."""

from octet.measure.compare import Comparison, compare
from octet.measure.latency import Baseline, best_float_form, measure_latency
from octet.measure.machine import cpu_features, machine_facts, missing_cpu_flags, threads_of
from octet.measure.noise import Noise
from octet.measuring import measuring_alone

__all__ = [
    "Baseline",
    "Comparison",
    "Noise",
    "best_float_form",
    "compare",
    "cpu_features",
    "machine_facts",
    "measure_latency",
    "measuring_alone",
    "missing_cpu_flags",
    "threads_of",
]
