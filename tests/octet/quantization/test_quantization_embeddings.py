"""Embeddings and embedding bags: 8- and 4-bit weights, and what stays in float."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn

import octet
from octet.engines import ENGINE_NAMES
from octet.quantization import weight_pairs


class Words(nn.Module):
    """A table of rows, their mean, a linear layer."""

    def __init__(self, width: int = 16, **options: Any) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(40, width, **options), nn.Linear(width, 8)

    def forward(self, ids: Tensor) -> Tensor:
        """`ids`: any number of dimensions."""
        return self.head(self.words(ids).mean(1))


class Bags(nn.Module):
    """A table of rows, summed."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(40, 16, **options), nn.Linear(16, 8)

    def forward(self, ids: Tensor) -> Tensor:
        """`ids`: [bags, words]."""
        return self.head(self.words(ids))


IDS = torch.arange(160).reshape(32, 5) * 7 % 40


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("model", [Words(), Bags(mode="sum")], ids=["embedding", "bag"])
def test_each_row_has_a_scale_and_an_offset_of_its_own(model: nn.Module, bits: int, method: str, engine: str) -> None:
    model.eval()
    recipe = recipe_of(method, engine, layers=[{"name": "words", "bits": bits}])
    result = quantized(model, recipe, IDS)
    assert methods_of(result)["words"] == "dynamic"
    ((before, after),) = weight_pairs(result.observed.get_submodule("words"), result.int8.get_submodule("words"))
    # Within a row, all is a step of the row's own range: it is off by half a step at most.
    step = (before.amax(1) - before.amin(1)) / (2**bits - 1)
    assert ((after - before).abs().amax(1) <= 0.51 * step).all()
    assert sqnr_of(model, result, recipe, IDS) > (20 if bits == 4 else 25)


FLOAT: dict[str, tuple[nn.Module, Tensor, int, str]] = {
    "mean": (Bags(), IDS, 8, "sums bags, whatever their mode; this one's is mean"),
    "max": (Bags(mode="max"), IDS, 8, "sums bags, whatever their mode; this one's is max"),
    "padding": (Bags(mode="sum", padding_idx=1), IDS, 8, "leaves no padding index out"),
    "odd rows": (Words(7), IDS, 4, "takes rows of an even length"),
    "three dimensions": (Words(), IDS[:, :, None], 8, "one or two dimensions of indices"),
}


@pytest.mark.parametrize("case", FLOAT)
def test_what_no_look_up_does_stays_in_float_with_the_reason(case: str) -> None:
    model, ids, bits, reason = FLOAT[case]
    result = quantized(model.eval(), recipe_of("dynamic", layers=[{"name": "words", "bits": bits}]), ids)
    assert methods_of(result)["words"] == "float"
    assert reason in result.plan.layers["words"].reason
    assert methods_of(result)["head"] == "dynamic"


def test_rows_of_a_padding_index_are_rows_like_others() -> None:
    model = Words(padding_idx=0).eval()
    recipe = recipe_of("static")
    result = quantized(model, recipe, IDS)
    assert methods_of(result)["words"] == "dynamic"
    assert sqnr_of(model, result, recipe, IDS) > 25


def test_a_rule_leaves_an_embedding_in_float() -> None:
    result = quantized(Words().eval(), recipe_of("static", layers=[{"type": "Embedding", "method": "float"}]), IDS)
    assert methods_of(result) | {"words": "float"} == methods_of(result)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_artifact_loads_in_a_fresh_process_and_the_report_says_the_bits(bits: int, tmp_path: Any) -> None:
    octet.export(Words().eval(), (IDS,), tmp_path / "model.pt2")
    rules = [{"type": "Embedding", "bits": bits}] if bits == 4 else []
    measure = {"seconds": 0.02, "threads": 1}
    result = octet.quantize(octet.load(tmp_path / "model.pt2"), recipe_of("dynamic", layers=rules, measure=measure))
    result.save(tmp_path / "artifact")
    assert result.report.verification.max_abs_difference <= result.report.verification.tolerance
    assert {layer.name: (layer.method, layer.bits) for layer in result.report.layers} == {
        "words": ("dynamic", bits),
        "head": ("dynamic", 8),
    }
