"""Quantization-aware training: the weights learn to live with the rounding."""

from octet.quantization.training.checkpoint import Checkpoint
from octet.quantization.training.failures import UntrainableError
from octet.quantization.training.loop import Trained, train

__all__ = ["Checkpoint", "Trained", "UntrainableError", "train"]
