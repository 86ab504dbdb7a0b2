"""What is foretold of each layer, held against what a job does with it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import product
from typing import TYPE_CHECKING

import pytest
import torch
from quantizing import recipe_of, samples_of
from torch import Tensor, nn
from torch.nn import functional
from zoo import ZOO, live

import octet
from octet.analysis.layers import layer_facts
from octet.engines import ENGINE_NAMES
from octet.quantization import quantize_module, use_engine

if TYPE_CHECKING:
    from pathlib import Path

    from octet.program import Program

PAIRS = list(product(("static", "dynamic"), ENGINE_NAMES))
WHOLE_MODELS = [*product(("static",), ENGINE_NAMES), ("dynamic", "x86")]


def layer_forms() -> dict[str, tuple[nn.Module, int]]:
    """Layers in all the forms that kernels tell apart, each with the rank of its input."""
    forms: dict[str, tuple[nn.Module, int]] = {
        "linear": (nn.Linear(8, 3), 2),
        "linear_of_sequences": (nn.Linear(8, 3), 3),
        "layer_norm": (nn.LayerNorm(8), 3),
        "rms_norm": (nn.RMSNorm(8), 3),
        "prelu": (nn.PReLU(), 3),
        "lstm": (nn.LSTM(8, 4), 3),
        "lstm_projected": (nn.LSTM(8, 4, proj_size=2), 3),
        "gru_without_bias": (nn.GRU(8, 4, bias=False), 3),
        "cell_without_bias": (nn.RNNCell(8, 4, bias=False), 2),
        "gru": (nn.GRU(8, 4), 3),
        "rnn": (nn.RNN(8, 4), 3),
        "gru_cell": (nn.GRUCell(8, 4), 2),
        "lstm_cell": (nn.LSTMCell(8, 4), 2),
        "rnn_cell": (nn.RNNCell(8, 4), 2),
    }
    for dims in (1, 2, 3):
        convolution, transposed = getattr(nn, f"Conv{dims}d"), getattr(nn, f"ConvTranspose{dims}d")
        forms |= {
            f"conv{dims}": (convolution(4, 6, 3), dims + 2),
            f"conv{dims}_without_batch": (convolution(4, 6, 3), dims + 1),
            f"conv{dims}_depthwise": (convolution(4, 4, 3, groups=4, padding=1), dims + 2),
            f"up{dims}": (transposed(4, 4, 3), dims + 2),
            f"up{dims}_wider": (transposed(4, 6, 2, 2), dims + 2),
            f"up{dims}_shifted": (transposed(4, 6, 3, 2, output_padding=1), dims + 2),
            f"up{dims}_folded": (
                nn.Sequential(transposed(4, 4, 3), getattr(nn, f"BatchNorm{dims}d")(4), nn.ReLU()),
                dims + 2,
            ),
            f"norm{dims}": (getattr(nn, f"BatchNorm{dims}d")(4), dims + 2),
            f"folded{dims}": (nn.Sequential(convolution(4, 6, 3), getattr(nn, f"BatchNorm{dims}d")(6)), dims + 2),
            f"late_norm{dims}": (
                nn.Sequential(convolution(4, 6, 3), nn.ReLU(), getattr(nn, f"BatchNorm{dims}d")(6)),
                dims + 2,
            ),
            f"instance_norm{dims}": (getattr(nn, f"InstanceNorm{dims}d")(4, affine=True), dims + 2),
            f"group_norm{dims}": (nn.GroupNorm(2, 4), dims + 2),
        }
    forms["folded_linear"] = (nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU()), 2)
    return forms


class EveryForm(nn.Module):
    """Each form of layer on an input of its own rank."""

    def __init__(self) -> None:
        super().__init__()
        forms = layer_forms()
        self.forms = nn.ModuleDict({name: layer for name, (layer, _) in forms.items()})
        self.ranks = {name: rank for name, (_, rank) in forms.items()}
        self.embedding, self.head = nn.Embedding(10, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        """`x`: [4, 4, 8], from which the other ranks are made."""
        shapes = {
            2: x[0],
            3: x,
            4: x.unsqueeze(-1).expand(-1, -1, -1, 6),
            5: x[..., None, None].expand(-1, -1, -1, 5, 4),
        }
        made = [layer(functional.relu(shapes[self.ranks[name]])) for name, layer in self.forms.items()]
        first = [value[0] if isinstance(value, tuple) else value for value in made]
        return (*first, self.head(self.embedding(ids)))


def program_of(name: str, folder: Path) -> tuple[Program, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    model = EveryForm() if name == "every form" else ZOO[name][0]()
    inputs = (torch.randn(4, 4, 8), torch.arange(4)) if name == "every form" else ZOO[name][1]()
    path = folder / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export's, about recurrent layers
        torch.export.save(torch.export.export(live(model).eval(), inputs, strict=False), path)
    return octet.load(path), inputs


def facts(program: Program, inputs: tuple[Tensor, ...], method: str, engine: str) -> dict[str, tuple[str, str | None]]:
    """What the report says of each layer."""
    recipe = recipe_of(method, engine, measure={"layers": False}, activations={"observer": "minmax"})
    samples = samples_of(*inputs)
    with use_engine(engine):
        result = quantize_module(
            program.module(),
            recipe,
            inputs=inputs,
            calibration=samples if recipe.needs_calibration else None,
            training=None,
            on_stage=lambda *_: None,
        )
        return {
            layer.name: (layer.method, layer.reason) for layer in layer_facts(program.spec, result, recipe, samples)
        }


@pytest.mark.parametrize("name", ["every form", *ZOO])
def test_what_inspect_foretells_is_what_the_report_says(name: str, tmp_path: Path) -> None:
    program, inputs = program_of(name, tmp_path)
    # Dynamic kernels do not differ by what is around a layer: one engine shows that for whole models.
    for method, engine in PAIRS if name == "every form" else WHOLE_MODELS:
        told = {layer: (outlook.runs, outlook.reason) for layer, outlook in program.outlook(method, engine).items()}
        found = facts(program, inputs, method, engine)
        assert {layer: told[layer] for layer in found} == found, (method, engine)


def test_it_is_foretold_without_torch(tmp_path: Path) -> None:
    program_of("unet", tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import octet; print(octet.load('model.pt2').outlook('static', 'fbgemm')['up'].reason)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "gives wrong results" in done.stdout
