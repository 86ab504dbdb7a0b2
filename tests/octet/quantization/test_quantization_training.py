"""Quantization-aware training."""

from __future__ import annotations

import pytest
import torch
from quantizing import quantized, recipe_of, sqnr_of
from tiny_models import inputs_of, make
from torch import nn

from octet.errors import QuantizationFailedError

COARSE = {
    "weights": {"granularity": "per_tensor", "power_of_two": True},
    "activations": {"power_of_two": True},
}
"""Scales that leave something to recover."""


def test_training_lowers_the_loss_and_recovers_what_coarse_scales_cost() -> None:
    model, inputs = make("residual"), inputs_of("residual", 64)
    static = recipe_of("static", **COARSE)
    qat = recipe_of("qat", training={"epochs": 6, "learning_rate": 3e-4, "optimizer": "adamw"}, **COARSE)
    trained = quantized(model, qat, inputs)
    losses = [epoch.loss for epoch in trained.epochs]
    assert [epoch.number for epoch in trained.epochs] == [0, 1, 2, 3, 4, 5, 6]
    assert losses[0] is None
    assert losses[-1] < losses[1]
    untrained = quantized(model, static, inputs)
    assert sqnr_of(model, trained, qat, inputs) > sqnr_of(model, untrained, static, inputs)


@pytest.mark.parametrize("family", ["residual", "conv-gru"])
def test_the_same_seed_gives_the_same_model(family: str) -> None:
    inputs = inputs_of(family)
    recipes = [recipe_of("qat", training={"seed": seed, "validation": 0}) for seed in (3, 3, 4)]
    runs = [quantized(make(family), recipe, inputs) for recipe in recipes]
    with torch.no_grad():
        first, again, other = (run.scripted(inputs) for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_labels_teach_a_classifier() -> None:
    inputs = inputs_of("mlp", 64)
    labels = inputs[:, :5].argmax(1)
    recipe = recipe_of(
        "qat", training={"loss": "cross_entropy", "epochs": 8, "learning_rate": 3e-2, "optimizer": "adamw"}
    )
    result = quantized(make("mlp"), recipe, inputs, targets=labels)
    with torch.no_grad():
        assert (result.scripted(inputs).argmax(1) == labels).float().mean() > 0.8


def test_values_teach_a_regressor() -> None:
    inputs = inputs_of("mlp", 64)
    recipe = recipe_of("qat", training={"loss": "mse", "epochs": 3})
    losses = [epoch.loss for epoch in quantized(make("mlp"), recipe, inputs, targets=inputs[:, :5].clone()).epochs]
    assert losses[-1] < losses[1]


def test_a_loss_that_diverges_at_once_is_named_with_its_epoch() -> None:
    recipe = recipe_of("qat", training={"learning_rate": 1e19, "epochs": 3})
    with pytest.raises(QuantizationFailedError, match=r"loss became (nan|inf) in epoch 1") as failure:
        quantized(make("mlp"), recipe, inputs_of("mlp"))
    assert "learning_rate" in str(failure.value.hint)


@pytest.mark.parametrize(("rate", "rises"), [(1e3, True), (1e-4, False)])
def test_a_loss_that_rises_is_told_where_no_validation_can(rate: float, rises: bool) -> None:
    recipe = recipe_of("qat", training={"learning_rate": rate, "epochs": 3, "validation": 0})
    result = quantized(make("mlp"), recipe, inputs_of("mlp", 64))
    assert any("The loss rose from" in warning for warning in result.plan.warnings) is rises


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("too_large", [{"learning_rate": 1e300}, {"weight_decay": 1e300}], ids=["rate", "decay"])
def test_a_step_too_large_for_float32_is_a_training_that_diverges(optimizer: str, too_large: dict[str, float]) -> None:
    recipe = recipe_of("qat", training={"optimizer": optimizer, "epochs": 2, **too_large})
    with pytest.raises(QuantizationFailedError, match=r"Training diverged: .* in epoch 1 of 2"):
        quantized(make("mlp"), recipe, inputs_of("mlp"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_and_absent_is_an_error() -> None:
    with pytest.raises(QuantizationFailedError, match="CUDA"):
        quantized(make("mlp"), recipe_of("qat", training={"device": "cuda"}), inputs_of("mlp"))


def test_distillation_does_not_learn_from_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 5)).eval()
    inputs, recipe = torch.randn(64, 16), recipe_of("qat", training={"epochs": 2, "learning_rate": 0.01})
    assert sqnr_of(model, quantized(model, recipe, inputs), recipe, inputs) > 28


class Rounded(nn.Module):
    """torch has no derivative for a floor division."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.floor_divide(self.fc(x), 0.01)


class Chosen(nn.Module):
    """Gives the number of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x).argmax(1)


class Doubled(nn.Module):
    """Gives its input twice, and what a layer makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, self.fc(x)


def test_a_model_learns_from_whichever_output_a_gradient_goes_through() -> None:
    result = quantized(Doubled().eval(), recipe_of("qat"), torch.randn(16, 8))
    assert [epoch.number for epoch in result.epochs] == [0, 1]


def test_a_loss_that_no_gradient_goes_through_is_named() -> None:
    recipe, inputs = recipe_of("qat", training={"loss": "mse"}), torch.randn(16, 8)
    result = quantized(Doubled().eval(), recipe, inputs, targets=inputs)
    assert result.epochs == ()
    assert any("no gradient goes through its outputs" in warning for warning in result.plan.warnings)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Rounded(), "floor_divide"),
        (nn.Sequential(nn.Hardtanh()), "it has no weights"),
        (Chosen(), "its first output is not of floats"),
    ],
)
def test_a_model_that_cannot_be_trained_is_calibrated_and_says_so(model: nn.Module, reason: str) -> None:
    result = quantized(model.eval(), recipe_of("qat"), torch.randn(16, 8))
    assert result.epochs == ()
    assert any("Nothing was trained" in warning and reason in warning for warning in result.plan.warnings)
