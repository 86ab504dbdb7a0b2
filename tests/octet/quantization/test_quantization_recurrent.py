"""Recurrent layers and cells: dynamic on every engine, LSTMs static too where a rule asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn

import octet
from octet.data.dataset import Dataset
from octet.engines import ENGINE_NAMES
from octet.quantization import weight_pairs

if TYPE_CHECKING:
    from pathlib import Path


class Sequences(nn.Module):
    """A recurrent layer over sequences, its last state, and a linear layer."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [batch, steps, 8], or [steps, batch, 8]."""
        return self.head(self.layer(x)[0])


class States(nn.Module):
    """An LSTM that is given its initial state, and gives its last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x`: [batch, steps, 8]; `h` and `c`: [batch, 6]."""
        y, (hidden, cell) = self.layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return y, hidden.transpose(0, 1), cell.transpose(0, 1)


class Steps(nn.Module):
    """A cell that is called twice."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = cell, nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [batch, 8]."""
        state = self.layer(x, self.layer(x))
        return self.head(state[0] if isinstance(self.layer, nn.LSTMCell) else state)


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "bidirectional": {"bidirectional": True},
    "two layers": {"num_layers": 2},
}
X = torch.randn(12, 16, 8, generator=torch.Generator().manual_seed(0))


def sequences(kind: str, form: str) -> nn.Module:
    torch.manual_seed(0)
    options = FORMS.get(form, {"bias": False})
    return Sequences(getattr(nn, kind)(8, 6, **options), 12 if form == "bidirectional" else 6).eval()


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_lstm_and_gru_are_dynamic_in_all_their_forms(kind: str, form: str, engine: str) -> None:
    model, recipe = sequences(kind, form), recipe_of("static", engine)
    result = quantized(model, recipe, X)
    assert methods_of(result)["layer"] == "dynamic"
    assert sqnr_of(model, result, recipe, X) > 20


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells_are_dynamic(kind: str, engine: str) -> None:
    torch.manual_seed(0)
    model, recipe = Steps(getattr(nn, kind)(8, 6)).eval(), recipe_of("static", engine)
    result = quantized(model, recipe, X[0])
    assert set(methods_of(result).values()) == {"dynamic", "static"}
    assert sqnr_of(model, result, recipe, X[0]) > 20


def test_a_plain_rnn_has_no_kernel() -> None:
    result = quantized(sequences("RNN", "plain"), recipe_of("dynamic"), X)
    assert methods_of(result)["layer"] == "float"
    assert result.plan.layers["layer"].reason == "torch has no dynamic int8 kernel for RNN"


STATIC = [{"type": "LSTM", "method": "static"}]


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("form", ["plain", "batch first", "no bias"])
def test_a_rule_makes_an_lstm_static(form: str, engine: str) -> None:
    model, recipe = sequences("LSTM", form), recipe_of("static", engine, layers=STATIC)
    result = quantized(model, recipe, X)
    assert methods_of(result)["layer"] == "static"
    assert sqnr_of(model, result, recipe, X) > 18
    pairs = weight_pairs(result.observed.get_submodule("layer"), result.int8.get_submodule("layer"))
    assert len(pairs) == 2
    assert all((before - after).abs().max() < 0.01 for before, after in pairs)


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_a_static_lstm_takes_every_observer_without_an_initial_state(observer: str) -> None:
    recipe = recipe_of("static", layers=STATIC, activations={"observer": observer})
    model = sequences("LSTM", "plain")
    result = quantized(model, recipe, X)
    assert methods_of(result)["layer"] == "static"
    assert sqnr_of(model, result, recipe, X) > 15


@pytest.mark.parametrize("form", ["bidirectional", "two layers"])
def test_an_lstm_whose_states_are_joined_is_not_static(form: str) -> None:
    result = quantized(sequences("LSTM", form), recipe_of("static", layers=STATIC), X)
    assert methods_of(result)["layer"] == "float"
    assert "joins states of different scales" in str(result.plan.layers["layer"].reason)


def test_a_static_lstm_is_given_its_state_too() -> None:
    torch.manual_seed(0)
    model, recipe = States().eval(), recipe_of("dynamic", layers=STATIC)
    inputs = (X, torch.rand(12, 6) - 0.5, torch.rand(12, 6) - 0.5)
    result = quantized(model, recipe, *inputs)
    assert methods_of(result)["layer"] == "static"
    for wanted, got in zip(model(*inputs), result.scripted(*inputs), strict=True):
        assert (wanted - got).abs().max() < 0.05


def test_qat_trains_no_static_lstm() -> None:
    result = quantized(sequences("LSTM", "plain"), recipe_of("qat", layers=[{"type": "LSTM", "method": "qat"}]), X)
    assert methods_of(result)["layer"] == "float"
    assert "trained" in str(result.plan.layers["layer"].reason)


def test_a_model_with_a_static_lstm_loads_in_a_fresh_process(tmp_path: Path) -> None:
    octet.export(sequences("LSTM", "batch first"), (X,), tmp_path / "model.pt2")
    program = octet.load(tmp_path / "model.pt2")
    recipe = recipe_of("static", layers=STATIC, measure={"seconds": 0.02, "threads": 1})
    result = octet.quantize(program, recipe, calibration=Dataset({"x": X.numpy()}))
    result.save(tmp_path / "artifact")
    assert result.report.verification.max_abs_difference <= result.report.verification.tolerance
    assert {layer.name: layer.method for layer in result.report.layers} == {"layer": "static", "head": "static"}
