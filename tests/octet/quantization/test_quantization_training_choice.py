"""Which epoch of a training is kept, and what is said about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import quantized, recipe_of, samples_of, trace
from tiny_models import inputs_of, make
from torch import nn

from octet.errors import QuantizationFailedError
from octet.quantization import quantize_module, use_engine
from octet.quantization.training.validation import hold_back
from octet.recipe import Training

if TYPE_CHECKING:
    from octet.quantization import Quantized

COARSE = {"weights": {"granularity": "per_tensor", "power_of_two": True}, "activations": {"power_of_two": True}}


def chosen(result: Quantized) -> int:
    """The epoch that was kept."""
    (number,) = [epoch.number for epoch in result.epochs if epoch.chosen]
    return number


def test_the_epoch_with_the_least_validation_loss_is_kept() -> None:
    recipe = recipe_of("qat", training={"epochs": 5, "validation": 0.25}, **COARSE)
    result = quantized(make("residual"), recipe, inputs_of("residual", 64))
    losses = {epoch.number: epoch.validation_loss for epoch in result.epochs}
    assert set(losses) == {0, 1, 2, 3, 4, 5}
    assert chosen(result) == min(losses, key=lambda number: losses[number] or 0.0) > 0
    assert {epoch.validation_score for epoch in result.epochs} == {None}


def test_accuracy_on_the_samples_held_back_comes_first_where_they_have_labels() -> None:
    inputs = inputs_of("mlp", 128)
    labels = inputs[:, :5].argmax(1)
    training = {
        "loss": "cross_entropy",
        "epochs": 8,
        "learning_rate": 0.03,
        "optimizer": "adamw",
        "schedule": "constant",
        "validation": 0.25,
    }
    result = quantized(make("mlp"), recipe_of("qat", training=training), inputs, targets=labels)
    ranks = {epoch.number: (-(epoch.validation_score or 0.0), epoch.validation_loss) for epoch in result.epochs}
    assert chosen(result) == min(ranks, key=lambda number: ranks[number])
    assert ranks[chosen(result)][0] < ranks[0][0]


@pytest.mark.parametrize("rate", [10.0, 1e10])
def test_training_that_only_harms_leaves_the_calibrated_model_and_says_so(rate: float) -> None:
    inputs, training = inputs_of("mlp", 64), {"epochs": 2, "learning_rate": rate}
    result = quantized(make("mlp"), recipe_of("qat", training=training), inputs)
    assert chosen(result) == 0
    assert any("did not get better than calibration" in warning for warning in result.plan.warnings)
    calibrated = quantized(make("mlp"), recipe_of("static"), inputs)
    with torch.no_grad():
        torch.testing.assert_close(result.scripted(inputs), calibrated.scripted(inputs))


def test_without_samples_held_back_the_last_epoch_is_kept() -> None:
    inputs = inputs_of("mlp", 8)
    few = quantized(make("mlp"), recipe_of("qat", training={"epochs": 2}), inputs)
    assert chosen(few) == 2
    assert {epoch.validation_loss for epoch in few.epochs} == {None}
    assert any("too little data to hold any back" in warning for warning in few.plan.warnings)
    asked = quantized(make("mlp"), recipe_of("qat", training={"epochs": 2, "validation": 0}), inputs)
    assert chosen(asked) == 2
    assert asked.plan.warnings == ()


def test_nothing_is_learnt_from_what_is_held_back() -> None:
    samples = samples_of(torch.arange(40.0)[:, None])
    learnt, held_back = hold_back(samples, Training(validation=0.3, seed=5))
    assert held_back is not None
    assert (len(learnt), len(held_back)) == (28, 12)
    assert sorted([*learnt.rows, *held_back.rows]) == list(range(40))
    again = hold_back(samples, Training(validation=0.3, seed=5))[1]
    other = hold_back(samples, Training(validation=0.3, seed=6))[1]
    assert again is not None
    assert other is not None
    assert list(again.rows) == list(held_back.rows) != list(other.rows)


def test_not_even_a_range_is_learnt_from_what_is_held_back() -> None:
    inputs = inputs_of("mlp", 40)
    training = {"validation": 0.25, "freeze_observers": 1.0, "learning_rate": 1e-30, "epochs": 3}
    recipe = recipe_of("qat", training=training)
    learnt, held_back = hold_back(samples_of(inputs), recipe.training)
    assert held_back is not None
    inputs[held_back.rows] *= 1000.0
    calibration, samples = samples_of(inputs).take(learnt.rows), samples_of(inputs)
    with use_engine(recipe.engine):
        result = quantize_module(
            trace(make("mlp")),
            recipe,
            inputs=(inputs[:4],),
            calibration=calibration,
            training=samples,
            on_stage=lambda *_: None,
        )
    found = [buffer.abs().max().item() for name, buffer in result.observed.named_buffers() if name.endswith("max_val")]
    assert max(found) < 10


GROWING = {"epochs": 40, "learning_rate": 3.0, "clip_gradient": None, "schedule": "constant", "loss": "mse"}
"""Each step makes the error larger: its square is too large for float32 after some epochs."""


@pytest.mark.parametrize("validation", [0.1, 0.0])
def test_a_loss_that_diverges_later_ends_the_training_and_the_best_epoch_is_kept(validation: float) -> None:
    inputs = inputs_of("mlp", 64)
    recipe = recipe_of("qat", training={**GROWING, "validation": validation})
    result = quantized(make("mlp"), recipe, inputs, targets=inputs[:, :5].clone())
    assert 2 <= len(result.epochs) < 41
    (warning,) = [warning for warning in result.plan.warnings if "diverged" in warning]
    found = re.search(r"the (loss|gradient) became (inf|nan) in epoch (\d+) of 40\. The model of epoch (\d+)", warning)
    assert found is not None
    assert int(found[3]) == len(result.epochs)
    assert int(found[4]) == chosen(result)
    assert "learning_rate" in warning


def test_a_gradient_that_diverges_at_once_is_named() -> None:
    class Root(nn.Module):
        """The derivative of a root at 0 is infinite; the root is not."""

        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)
            nn.init.zeros_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(torch.sqrt(self.fc(x).abs()))

    torch.manual_seed(0)
    with pytest.raises(QuantizationFailedError, match=r"gradient became (nan|inf) in epoch 1 of 1"):
        quantized(Root().eval(), recipe_of("qat"), torch.randn(32, 4))
