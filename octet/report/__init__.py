"""The report: what was done to a model, and what it did. Free of torch.

Times are milliseconds, sizes bytes, SQNR decibels, accuracies and losses fractions from 0 to 1, unless said otherwise.
"""

from octet.report.facts import DataFacts, EngineFacts, MachineFacts, ModelFacts
from octet.report.figures import Accuracy, Fidelity, Latency, Size, Timing
from octet.report.layers import (
    CurvePoint,
    Fusion,
    LayerFacts,
    LayerSensitivity,
    LoneNorm,
    Repair,
    Sensitivity,
    SimulatedTensor,
)
from octet.report.report import GateResult, Metric, Report, Verification
from octet.report.search import Search, Trial
from octet.report.training import Epoch

__all__ = [
    "Accuracy",
    "CurvePoint",
    "DataFacts",
    "EngineFacts",
    "Epoch",
    "Fidelity",
    "Fusion",
    "GateResult",
    "Latency",
    "LayerFacts",
    "LayerSensitivity",
    "LoneNorm",
    "MachineFacts",
    "Metric",
    "ModelFacts",
    "Repair",
    "Report",
    "Search",
    "Sensitivity",
    "SimulatedTensor",
    "Size",
    "Timing",
    "Trial",
    "Verification",
]
