"""FX graph mode on the source code, with the qconfig that Octet's x86 recipe defaults to."""

# No `from __future__ import annotations`: FX copies forward's annotations into code that TorchScript compiles, and
# TorchScript does not read them as strings.
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.utils import _pytree as pytree

from toolkits.multiply_adds import Int8Count
from toolkits.outputs import BATCH, ENGINE, calibration, evaluation, sqnr

if TYPE_CHECKING:
    from architectures import Architecture

    from toolkits.runner import Say


def take(architecture: "Architecture", say: "Say") -> None:
    """Prepare, calibrate, convert, script and run at two batch sizes."""
    say(stage="build")
    torch.backends.quantized.engine = ENGINE
    model = traceable(architecture.build(), architecture)
    inputs = {size: tuple(batch.values()) for size, batch in evaluation(architecture).items()}
    with torch.no_grad():
        wanted = model(*inputs[BATCH])
        say(stage="prepare")
        prepared = prepare_fx(model, get_default_qconfig_mapping(ENGINE), inputs[BATCH])
        say(stage="calibrate")
        for batch in calibration(architecture):
            prepared(*batch.values())
        say(stage="convert")
        converted = convert_fx(prepared)
        say(stage="run")
        layers, macs = Int8Count.of(converted, inputs[BATCH])
        say(stage="script")
        scripted = torch.jit.script(converted)
        outputs = {size: scripted(*values) for size, values in inputs.items()}
    say(static={"sqnr": sqnr(wanted, outputs[BATCH]), "layers": layers, "macs": macs})


class _Traceable(nn.Module):
    """A model of keyword arguments and output classes in the form that FX can follow best: tensors in, a tuple out."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def call(self, *inputs: Any) -> tuple[Any, ...]:
        outputs = self.model(**dict(zip(self.names, inputs, strict=True)))
        return tuple(value for value in pytree.tree_leaves(outputs) if isinstance(value, (Tensor, fx.Proxy)))


# FX makes one input of `*inputs`, so there is a class for each number of them.
class _One(_Traceable):
    def forward(self, a):  # noqa: ANN001, ANN202 - FX would copy annotations into TorchScript
        return self.call(a)


class _Two(_Traceable):
    def forward(self, a, b):  # noqa: ANN001, ANN202
        return self.call(a, b)


class _Three(_Traceable):
    def forward(self, a, b, c):  # noqa: ANN001, ANN202
        return self.call(a, b, c)


class _Six(_Traceable):
    def forward(self, a, b, c, d, e, f):  # noqa: ANN001, ANN202, PLR0917
        return self.call(a, b, c, d, e, f)


def traceable(model: nn.Module, architecture: "Architecture") -> nn.Module:
    """The model itself if it takes positional tensors alone, as torchvision's do, else wrapped."""
    if architecture.group.startswith("torchvision"):
        return model
    names = list(architecture.inputs)
    return {1: _One, 2: _Two, 3: _Three, 6: _Six}[len(names)](model, names)
