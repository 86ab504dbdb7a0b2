"""FX graph mode makes the same of the rebuilt module as of the source model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from zoo import MobileNet, ResNet, live

import octet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max to specify the range")


def _static_int8(module: nn.Module, data: Tensor) -> nn.Module:
    prepared = prepare_fx(module, get_default_qconfig_mapping("x86"), (data[:1],))
    with torch.no_grad():
        prepared(data)
    return convert_fx(prepared)


def _quantized_modules(module: nn.Module) -> dict[str, str]:
    kinds = ((name, type(child)) for name, child in module.named_modules())
    return {name: kind.__qualname__ for name, kind in kinds if "quantized" in kind.__module__}


def _sqnr_db(signal: Tensor, noisy: Tensor) -> float:
    return float(20 * torch.log10(signal.norm() / (signal - noisy).norm()))


@pytest.mark.parametrize(
    "make",
    [ResNet, lambda: MobileNet(torch.nn.ReLU6, squeeze=False), lambda: MobileNet(torch.nn.Hardswish, squeeze=True)],
    ids=["resnet", "mobilenet_v2", "mobilenet_v3"],
)
def test_static_int8_has_the_same_modules_and_the_same_error(make: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = live(make()).eval()
    data = torch.randn(16, 3, 32, 32)
    program = octet.load(octet.export(model, data[:1], tmp_path / "model.pt2"))
    theirs, ours = _static_int8(model, data), _static_int8(program.module(), data)
    assert _quantized_modules(ours) == _quantized_modules(theirs)
    with torch.no_grad():
        expected = model(data)
        assert _sqnr_db(expected, ours(data)) == pytest.approx(_sqnr_db(expected, theirs(data)), abs=0.1)
