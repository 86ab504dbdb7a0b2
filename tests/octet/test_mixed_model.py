"""One model of everything, with no change to its code: 3-D and 2-D convolutions, recurrent and linear layers, mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import octet
from octet.data.dataset import Dataset
from octet.engines import ENGINE_NAMES

if TYPE_CHECKING:
    from pathlib import Path


class Block(nn.Module):
    """A residual block with an addition in place, and one ReLU for both calls."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: [batch, channels, height, width]."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x
        return self.relu(y)


class Video(nn.Module):
    """What looks at short clips: a 3-D front, 2-D blocks per frame, a GRU over the frames, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d((1, 2, 2)))
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.lone = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, clip: Tensor) -> Tensor:
        """`clip`: [batch, 1, frames, height, width]."""
        x = self.front(clip)
        batch, channels, frames, height, width = x.shape
        x = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
        x = self.lone(self.blocks(x))
        gate = torch.zeros_like(x)
        gate.add_(x)
        gate.mul_(0.5)
        x = self.pool(x + gate).flatten(1)
        states, _ = self.gru(x.reshape(batch, frames, channels))
        return self.head(states[:, -1])


RULES = [
    {"name": "blocks.1.conv2", "method": "float"},
    {"name": "blocks.*", "method": "static"},
    {"name": "*", "type": "Linear", "method": "dynamic"},
    {"name": "head", "method": "float"},  # never reached: the rule before it matches first
]
STATIC = ("front.0", "front.1", "blocks.0.conv1", "blocks.0.bn1", "blocks.0.conv2", "blocks.1.conv1", "lone")
EXPECTED = {**dict.fromkeys(STATIC, "static"), "blocks.1.conv2": "float", "gru": "dynamic", "head": "dynamic"}
QNNPACK = dict.fromkeys(STATIC[:2], "float")  # which cannot be saved in 3-D


@pytest.fixture(scope="module")
def model() -> Video:
    torch.manual_seed(0)
    model = Video()
    for norm in model.modules():
        if isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def program(model: Video, tmp_path_factory: Any) -> octet.Program:
    path = tmp_path_factory.mktemp("mixed") / "model.pt2"
    octet.export(model, (clips()[:2],), path)
    return octet.load(path)


def clips() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(24, 1, 4, 8, 8)).astype(np.float32))


def result_of(program: octet.Program, engine: str, **sections: Any) -> Any:
    measure = {"seconds": 0.02, "threads": 1}
    recipe = octet.Recipe.parse({"engine": engine, "measure": measure, **sections})
    return octet.quantize(program, recipe, calibration=Dataset({"clip": clips().numpy()}))


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_one_model_is_static_dynamic_and_float_by_its_rules(
    program: octet.Program, model: Video, engine: str, tmp_path: Path
) -> None:
    result = result_of(program, engine, method="static", layers=RULES)
    report = result.report
    done = {layer.name: layer.method for layer in report.layers}
    expected = EXPECTED | (QNNPACK if engine == "qnnpack" else {})
    assert {name: done[name] for name in expected} == expected
    assert {layer.name: layer.reason for layer in report.layers}["blocks.1.conv2"] == "the recipe says so"
    assert [(norm.name, norm.type) for norm in report.lone_norms] == [("lone", "BatchNorm2d")]
    fusions = {fusion.name: fusion.kind for fusion in report.fusions}
    assert fusions["front.0"] == "Conv3d + BatchNorm3d" + " + ReLU" * (engine != "qnnpack")
    assert fusions["blocks.0.conv1"] == "Conv2d + BatchNorm2d + ReLU"
    assert fusions["blocks.0.conv2"] == "Conv2d + BatchNorm2d" + " + add + ReLU" * (engine == "onednn")
    assert fusions["blocks.1.conv2"] == "Conv2d + BatchNorm2d"
    assert report.fidelity.sqnr_db > 15
    with torch.no_grad():
        assert torch.allclose(program.module()(clips()), model(clips()), atol=1e-5)
    result.save(tmp_path / "artifact")
    assert result.report.verification.max_abs_difference <= result.report.verification.tolerance


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_the_recurrent_layer_is_dynamic_and_all_else_static_without_a_rule(program: octet.Program, engine: str) -> None:
    layers = {layer.name: layer.method for layer in result_of(program, engine, method="static").report.layers}
    assert layers.pop("gru") == "dynamic"
    assert {name for name, method in layers.items() if method != "static"} == set(
        QNNPACK if engine == "qnnpack" else ()
    )


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_a_dynamic_recipe_takes_static_layers_by_rule(program: octet.Program, engine: str) -> None:
    rules = [{"type": "Conv2d", "method": "static"}]
    layers = {layer.name: layer for layer in result_of(program, engine, method="dynamic", layers=rules).report.layers}
    assert {name: layers[name].method for name in ("blocks.0.conv1", "gru", "head", "front.0")} == {
        "blocks.0.conv1": "static",
        "gru": "dynamic",
        "head": "dynamic",
        "front.0": "float",
    }
    assert layers["front.0"].reason == "torch has no dynamic int8 kernel for Conv3d"
