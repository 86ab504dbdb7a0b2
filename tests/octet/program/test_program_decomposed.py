"""Models of the core ATen IR get their layers back, and open sizes stay open."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from exported import check_computes, error, reloaded, saved
from pt2 import MODEL, Document, changed
from torch import Tensor, nn
from torch.export import Dim

import octet

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
    # torch's own, in run_decompositions and in the saving of a program
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"),
]


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=2), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2, 2),
        )  # fmt: skip
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.log_softmax(self.head(self.layer(self.embedding(ids))), -1)


CORE: dict[str, tuple[type[nn.Module], Tensor, dict[str, str]]] = {
    "convolutional": (
        Convolutional,
        torch.randn(2, 3, 12, 12),
        {
            "body.0": "Conv2d",
            "body.1": "BatchNorm2d",
            "body.2": "ReLU",
            "body.4": "Conv2d",
            "body.5": "GroupNorm",
            "body.6": "ConvTranspose2d",
            "head": "Linear",
        },
    ),
    "attentive": (
        Attentive,
        torch.arange(10).reshape(2, 5),
        {
            "embedding": "Embedding",
            "layer.self_attn.out_proj": "Linear",
            "layer.norm1": "LayerNorm",
            "layer.linear1": "Linear",
            "layer.linear2": "Linear",
            "layer.norm2": "LayerNorm",
            "head": "Linear",
        },
    ),
}


@pytest.mark.parametrize("name", CORE)
def test_a_model_that_was_decomposed_gets_its_layers_back(name: str, tmp_path: Path) -> None:
    kind, x, layers = CORE[name]
    model = kind().eval()
    program = saved(model, (x,), tmp_path, shapes=({0: Dim("batch")},), decomposed=True)
    assert layers.items() <= {layer.name: layer.type for layer in program.layers}.items()
    check_computes(program, [x[:1]], model(x[:1]))


class OpenNorm(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        turned = x.transpose(0, 1)
        return nn.functional.layer_norm(turned, turned.shape[-1:]), x.sum(0, keepdim=True)[:, 0].view(())


def test_a_norm_over_an_open_size_and_a_view_of_no_size_are_rebuilt(tmp_path: Path) -> None:
    program = saved(OpenNorm(), (torch.randn(3, 4),), tmp_path, shapes=({0: Dim("batch")},))
    x, module = torch.randn(5, 4), program.module()
    torch.testing.assert_close(module(x), OpenNorm()(x))
    torch.testing.assert_close(reloaded(module)(x), OpenNorm()(x))


class NormOfItself(nn.Module):
    """Weights and statistics that an input has a part in: no module can own them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = x[0, :, 0]
        statistics = weight * 2, weight.abs() + 1
        return (
            nn.functional.batch_norm(x, *statistics, weight, weight),
            nn.functional.batch_norm(x, None, None, weight, weight, training=True),
        )


def test_a_batch_norm_that_was_decomposed_may_take_its_weights_from_the_input(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 5)
    module = saved(NormOfItself(), (x,), tmp_path, decomposed=True).module()
    torch.testing.assert_close(module(x), NormOfItself()(x))
    torch.testing.assert_close(reloaded(module)(x), NormOfItself()(x))


def test_a_batch_norm_does_not_read_past_its_statistics(tmp_path: Path) -> None:
    def shorten(document: Document) -> None:
        values = document["graph_module"]["graph"]["nodes"]
        norm = next(node for node in values if "no_training" in node["target"])
        mean, short = (next(a for a in norm["inputs"] if a["name"] == name) for name in ("running_mean", "bias"))
        first = {"target": "torch.ops.aten.slice.Tensor", "outputs": [{"as_tensor": {"name": "short"}}], "metadata": {}}
        numbers = [{"name": name, "arg": {"as_int": value}, "kind": 1} for name, value in (("start", 0), ("end", 1))]
        first["inputs"] = [{**mean, "name": "self"}, {"name": "dim", "arg": {"as_int": 0}, "kind": 1}, *numbers]
        short["arg"] = mean["arg"] = first["outputs"][0]
        values.insert(values.index(norm), first)

    x = torch.randn(3, 4, 5)
    program = saved(NormOfItself(), (x,), tmp_path, decomposed=True)
    module = octet.load(changed(program.path, tmp_path / "short.pt2", MODEL, shorten)).module()
    with pytest.raises(RuntimeError, match="should contain 4 elements not 1"):
        module(x)


def test_a_trained_batch_norm_that_was_decomposed_has_its_statistics(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).train(), torch.randn(4, 3, 8)
    model(x)
    program = saved(copy.deepcopy(model), (x,), tmp_path, decomposed=True)
    assert ["train mode" in note for note in program.spec.notes] == [True]  # and of no state
    check_computes(program, [x], model.eval()(x))


class Open(nn.Module):
    """Batch, height, width and length open."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.embedding, self.mix, self.out = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        picture = torch.relu(self.conv(image)).flatten(2).mT
        words = self.mix(self.embedding(ids)) + torch.arange(ids.shape[1])[:, None] / 10
        return self.out(torch.cat([picture, words], 1))


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_open_sizes_stay_open_in_the_int8_artifact(method: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch, model = Dim("batch"), Open().eval()
    example = (torch.randn(2, 3, 8, 8), torch.ones(2, 5, dtype=torch.long))
    shapes = ({0: batch, 2: Dim("height"), 3: Dim("width")}, {0: batch, 1: Dim("length")})
    program = saved(model, example, tmp_path, shapes=shapes)
    recipe = octet.Recipe.model_validate(
        {"method": method, "calibration": {"source": "synthetic", "samples": 16}, "measure": {"seconds": 0.1}}
    )
    result = octet.quantize(program, recipe)
    assert any(layer.method != "float" for layer in result.report.layers)
    result.save(tmp_path / "artifact")
    int8 = torch.jit.load(tmp_path / "artifact" / "model.pt")
    for rows, height, width, length in ((1, 6, 10, 3), (5, 12, 4, 9)):
        inputs = (torch.randn(rows, 3, height, width), torch.randint(0, 9, (rows, length)))
        assert error(int8(*inputs), model(*inputs)) < 0.25
