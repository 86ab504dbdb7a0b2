"""Figures of two models on the same samples."""

from __future__ import annotations

import math

import pytest
import torch
from quantizing import samples_of
from torch import Tensor, nn

from octet.errors import QuantizationFailedError
from octet.measure import Comparison, Noise, compare


class Rows(nn.Module):
    """Gives these outputs for inputs that count the samples."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, rows: Tensor) -> Tensor:
        return self.outputs[rows]


def compared(fp32: Tensor, int8: Tensor, targets: Tensor | None = None) -> Comparison:
    samples = samples_of(torch.arange(len(fp32)), targets=targets)
    return compare(Rows(fp32), Rows(int8), samples, lambda *_: None)


def test_sqnr_is_the_ratio_of_powers_in_decibels() -> None:
    fp32 = torch.randn(100, 3)
    fidelity = compared(fp32, fp32 * 1.1).fidelity("evaluation")
    assert fidelity.sqnr_db == pytest.approx(20.0, abs=1e-3)
    assert fidelity.max_abs_error == pytest.approx(0.1 * fp32.abs().max().item(), rel=1e-4)
    assert (fidelity.samples, fidelity.source) == (100, "evaluation")


def test_equal_outputs_have_no_sqnr() -> None:
    fp32 = torch.randn(10, 3)
    fidelity = compared(fp32, fp32).fidelity("synthetic")
    assert (fidelity.sqnr_db, fidelity.max_abs_error, fidelity.agreement) == (None, 0.0, 1.0)


def test_noise_on_silence_is_very_loud_and_still_a_number() -> None:
    noise = Noise()
    noise.add(torch.zeros(3), torch.ones(3))
    assert noise.sqnr_db is not None
    assert math.isfinite(noise.sqnr_db)
    assert noise.sqnr_db < -100


def test_agreement_is_of_the_top_class_and_only_for_classifiers() -> None:
    fp32 = torch.eye(4)
    int8 = fp32[[0, 1, 2, 0]]
    assert compared(fp32, int8).fidelity("evaluation").agreement == 0.75
    assert compared(torch.randn(4, 1), torch.randn(4, 1)).fidelity("evaluation").agreement is None
    assert compared(torch.randn(4, 2, 3), torch.randn(4, 2, 3)).fidelity("evaluation").agreement is None


def test_accuracy_needs_labels_and_a_drop_is_a_loss() -> None:
    fp32 = torch.eye(4)
    accuracy = compared(fp32, fp32[[0, 0, 0, 0]], torch.arange(4)).accuracy()
    assert accuracy is not None
    assert (accuracy.metric, accuracy.fp32, accuracy.int8, accuracy.drop) == ("accuracy", 1.0, 0.25, 0.75)
    assert compared(fp32, fp32).accuracy() is None


def test_labels_of_every_position_count() -> None:
    fp32 = torch.zeros(2, 3, 4)
    fp32[:, 1] = 1
    labels = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    accuracy = compared(fp32, fp32, labels).accuracy()
    assert accuracy is not None
    assert accuracy.fp32 == 0.75


def test_values_are_judged_by_their_squared_error() -> None:
    values = torch.randn(10, 2)
    accuracy = compared(values, values + 0.5, values).accuracy()
    assert accuracy is not None
    assert (accuracy.metric, accuracy.fp32) == ("mse", 0.0)
    assert accuracy.drop == pytest.approx(0.25, rel=1e-5)


def test_infinities_of_fp32_are_left_out_and_those_of_int8_are_an_error() -> None:
    fp32 = torch.tensor([[1.0, -torch.inf], [2.0, 3.0]])
    assert compared(fp32, fp32.clone()).fidelity("evaluation").max_abs_error == 0.0
    broken = fp32.clone()
    broken[1, 0] = torch.nan
    with pytest.raises(QuantizationFailedError, match="not finite"):
        compared(fp32, broken)
