"""The bits of activations, by the engine and the CPU that the model will run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from quantizing import quantized, recipe_of, sqnr_of
from tiny_models import inputs_of, make
from torch import Tensor, nn

from octet.engines import CPUS, ENGINES, VNNI
from octet.measure import missing_cpu_flags
from octet.quantization import reduces_range

FULL = {"vnni", "amx"}


@pytest.mark.parametrize("cpu", [*CPUS, "this"])
@pytest.mark.parametrize("engine", ENGINES)
def test_activations_have_7_bits_only_where_sums_would_overflow(engine: str, cpu: str) -> None:
    if (cpu == "arm") != (engine == "qnnpack") and cpu not in {"any", "this"}:
        pytest.skip("a recipe of this engine and CPU is refused")
    here = VNNI in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    eight = engine in {"onednn", "qnnpack"} or cpu in FULL or (cpu == "this" and here)
    recipe = recipe_of("static", engine, deploy_cpu=cpu)
    assert reduces_range(recipe) is not eight
    demands_vnni = VNNI in ENGINES[engine].flags_for(reduced=not eight)
    assert demands_vnni is (eight and engine in {"fbgemm", "x86"})


def test_what_the_recipe_says_of_the_range_comes_before_the_cpu() -> None:
    assert reduces_range(recipe_of("static", deploy_cpu="vnni", activations={"reduce_range": True}))
    assert not reduces_range(recipe_of("static", deploy_cpu="avx2", activations={"reduce_range": False}))


def test_a_flag_that_a_cpu_has_under_either_name_is_not_missing() -> None:
    assert missing_cpu_flags(("fpu|no-such-flag",)) == ()
    assert missing_cpu_flags(("no-such-flag|nor-this",)) == ("no-such-flag|nor-this",)


class Recurrent(nn.Module):
    """A recurrent layer of a kind, and a linear one."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer, self.head = kind(8, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


MODELS = {
    ("static", "convolutions"): (lambda: make("residual"), inputs_of("residual")),
    ("dynamic", "linear"): (lambda: make("mlp"), inputs_of("mlp")),
    ("dynamic", "gru"): (lambda: Recurrent(nn.GRU).eval(), torch.randn(16, 7, 8)),
    ("dynamic", "lstm"): (lambda: Recurrent(nn.LSTM).eval(), torch.randn(16, 7, 8)),
}


@pytest.mark.parametrize("engine", ["fbgemm", "x86"])
@pytest.mark.parametrize(("method", "family"), MODELS)
def test_8_bits_are_more_exact_than_7_on_a_cpu_with_vnni(method: str, family: str, engine: str) -> None:
    if missing_cpu_flags((VNNI,)):
        pytest.skip("this CPU's sums overflow")
    torch.manual_seed(0)
    build, inputs = MODELS[method, family]
    model = build()
    seven, eight = (
        sqnr_of(model, quantized(model, recipe, inputs), recipe, inputs)
        for recipe in (recipe_of(method, engine, deploy_cpu=cpu) for cpu in ("any", "vnni"))
    )
    assert eight > seven + 2


class Depthwise(nn.Module):
    """A depthwise convolution whose weights and inputs are as large as eight bits let them be."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        nn.init.uniform_(self.depthwise.weight, 0.9, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.depthwise(x)


@pytest.mark.parametrize(("engine", "channels", "bits"), [("fbgemm", 32, 7), ("x86", 128, 7), ("x86", 32, 8)])
def test_no_sum_of_a_depthwise_kernel_overflows(engine: str, channels: int, bits: int) -> None:
    if missing_cpu_flags((VNNI,)):
        pytest.skip("this CPU's sums overflow")
    torch.manual_seed(0)
    model, inputs = Depthwise(channels).eval(), 1 - 0.1 * torch.rand(8, channels, 8, 8)
    recipe: Any = recipe_of("static", engine, deploy_cpu="vnni")
    result = quantized(model, recipe, inputs)
    assert result.plan.layers["depthwise"].bits == bits
    assert sqnr_of(model, result, recipe, inputs) > 30
