"""Octet: from the `.pt2` alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import octet
from octet import torchscript
from octet.data.samples import Samples, from_dataset
from octet.errors import ExportFailedError
from octet.quantization import quantize_module, use_engine
from toolkits.multiply_adds import Int8Count, float_count
from toolkits.outputs import BATCH, ENGINE, calibration, difference, evaluation, reason, shapes, sqnr

if TYPE_CHECKING:
    from architectures import Architecture
    from torch import Tensor, nn

    from toolkits.runner import Say

TOLERANCE = 1e-4
"""Largest difference between float outputs, relative to the largest output."""
RECIPES = (
    octet.Recipe.parse({"method": "static", "engine": ENGINE, "calibration": {"batch_size": BATCH}}),
    octet.Recipe.parse({"method": "dynamic", "engine": ENGINE}),
)


def take(architecture: Architecture, say: Say) -> None:
    """Export, read, compare in float; then static and dynamic int8, each with an outcome of its own."""
    say(stage="build")
    model, batches = architecture.build(), evaluation(architecture)
    with torch.no_grad():
        wanted = {size: model(**batch) for size, batch in batches.items()}
    say(macs=float_count(model, batches[BATCH]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt2")
        say(stage="export")
        if not _export(model, architecture.batch(BATCH, seed=1), path):
            say(fixed_batch=True)
            del batches[min(batches)]
        say(stage="load")
        program = octet.load(path)
        inputs = {size: tuple(batch[spec.name] for spec in program.inputs) for size, batch in batches.items()}
        say(stage="float")
        with torch.no_grad():
            module = program.module()
            worst = max(difference(wanted[size], module(*values)) for size, values in inputs.items())
        say(difference=worst)
        assert worst <= TOLERANCE, f"the float outputs differ by {worst:.2g}"
        for recipe in RECIPES:
            say(stage=recipe.method)
            try:
                say(**{recipe.method: _quantize(program, recipe, _samples(architecture, program), inputs, wanted)})
            except Exception as error:  # noqa: BLE001 - any failure is a row of the table
                say(error=(recipe.method, reason(error)))


def _export(model: nn.Module, example: dict[str, Tensor], path: Path) -> bool:
    """Writes the `.pt2`, with the batch left open where the model's code allows it; whether it does."""
    inputs = example if len(example) > 1 else tuple(example.values())
    try:
        octet.export(model, inputs, path)
    except ExportFailedError:
        octet.export(model, inputs, path, dynamic_axes={name: {0: None} for name in example})
        return False
    return True


def _samples(architecture: Architecture, program: octet.Program) -> Samples:
    batches = calibration(architecture)
    arrays = {name: torch.cat([batch[name] for batch in batches]).numpy() for name in architecture.inputs}
    return from_dataset(octet.Dataset({spec.name: arrays[spec.name] for spec in program.inputs}), program.spec)


def _quantize(
    program: octet.Program, recipe: octet.Recipe, samples: Samples, inputs: Any, wanted: Any
) -> dict[str, Any]:
    """One int8 model, scripted, saved, loaded and run at every batch size; its figures."""
    with use_engine(ENGINE), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        quantized = quantize_module(
            program.module(),
            recipe,
            inputs=inputs[BATCH],
            calibration=samples if recipe.needs_calibration else None,
            training=None,
            on_stage=lambda *_: None,
        )
        path = Path(folder, "model.pt")
        torchscript.save(quantized.scripted, path)
        loaded = torch.jit.load(path)
        outputs = {size: loaded(*values) for size, values in inputs.items()}
        for size, output in outputs.items():
            assert shapes(output) == shapes(wanted[size]), "the int8 model gives other shapes"
        layers, macs = Int8Count.of(quantized.int8, inputs[BATCH])
    plan = quantized.plan
    reasons = [f"{name}: {layer.reason}" for name, layer in plan.layers.items() if layer.reason]
    return {
        "sqnr": sqnr(wanted[BATCH], outputs[BATCH]),
        "layers": layers,
        "macs": macs,
        "float": [*reasons, *plan.warnings],
    }
