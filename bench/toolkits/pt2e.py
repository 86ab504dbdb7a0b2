"""torchao's PT2E with its x86 quantizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.export import Dim, ExportedProgram
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from toolkits.multiply_adds import AnnotatedCount
from toolkits.outputs import BATCH, calibration, evaluation, sqnr

if TYPE_CHECKING:
    from architectures import Architecture
    from torch import nn

    from toolkits.runner import Say


def take(architecture: Architecture, say: Say) -> None:
    """Export, prepare, calibrate, convert, and run at two batch sizes if the export left the batch open."""
    say(stage="build")
    model, batches = architecture.build(), evaluation(architecture)
    with torch.no_grad():
        wanted = model(**batches[BATCH])
        say(stage="export")
        program, is_open = _export(model, architecture)
        if not is_open:
            del batches[min(batches)]
        say(stage="prepare")
        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(program.module(), quantizer)
        say(stage="calibrate")
        for batch in calibration(architecture):
            prepared(**batch)
        say(stage="convert")
        converted = convert_pt2e(prepared)
        say(stage="run")
        outputs = {size: converted(**batch) for size, batch in batches.items()}
        layers, macs = AnnotatedCount.of(converted, tuple(batches[BATCH].values()))
    say(static={"sqnr": sqnr(wanted, outputs[BATCH]), "layers": layers, "macs": macs})


def _export(model: nn.Module, architecture: Architecture) -> tuple[ExportedProgram, bool]:
    """What torch.export makes of the model, and whether the batch is open in it."""
    example = architecture.batch(BATCH, seed=1)
    torch.backends.mha.set_fastpath_enabled(False)  # its one kernel would hide the layers; octet.export does the same
    for batch in (Dim("batch"), Dim.AUTO):
        try:
            shapes = {name: {0: batch} for name in example}
            return torch.export.export(model, (), example, dynamic_shapes=shapes), True
        except Exception:  # noqa: BLE001, S112 - it may yet work with less left open; the last attempt's error counts
            continue
    return torch.export.export(model, (), example), False
