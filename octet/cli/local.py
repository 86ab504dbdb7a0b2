"""Commands that work on this machine, without the service."""

from pathlib import Path
from typing import Annotated

import typer

import octet
from octet.cli import bars, render
from octet.cli.app import (
    AllLayers,
    AsJson,
    EngineName,
    MethodName,
    ModelFile,
    RecipeName,
    answer,
    chosen_recipe,
    require_gates,
)
from octet.cli.source import example_inputs, load_module
from octet.engines import EngineName as Engine
from octet.recipe import Int8Method

CalibrationFile = Annotated[Path | None, typer.Option("--calibration", help="Data file that ranges are taken from.")]
EvaluationFile = Annotated[Path | None, typer.Option("--evaluation", help="Data file that accuracy is measured on.")]


def inspect(
    model: ModelFile,
    *,
    method: Annotated[Int8Method | None, typer.Option(help="Show this method only.", show_default="all")] = None,
    engine: Annotated[Engine | None, typer.Option(help="Show this engine only.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model takes, gives and is made of, and what of it will be int8. Nothing in the file is executed."""
    spec = octet.load(model).spec
    methods, engines = (method,) if method else (), (engine,) if engine else ()
    answer(spec, lambda: render.program(spec, title=str(model), methods=methods, engines=engines), as_json=as_json)


def export(
    source: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A module, or a function that makes one.")],
    example: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME:]SHAPE[:DTYPE]",
            help="An example input, such as 1x3x224x224 or ids:1xlength=128:int64; in order, or each with its name. "
            "The first axis is the batch; an axis with a name is open too.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", dir_okay=False, help="The `.pt2` to write.")],
    as_json: AsJson = False,
) -> None:
    """Make a `.pt2` of a model in your own code. This runs FILE.py, on this machine."""
    inputs, axes = example_inputs(example)
    octet.export(load_module(source), inputs, output, dynamic_axes=axes)
    inspect(output, as_json=as_json)


def quantize(
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", file_okay=False, help="Directory for the artifact.")],
    *,
    recipe: RecipeName = None,
    method: MethodName = None,
    engine: EngineName = None,
    calibration: CalibrationFile = None,
    evaluation: EvaluationFile = None,
    layers: AllLayers = False,
    as_json: AsJson = False,
) -> None:
    """Quantize a model on this machine, and prove what that did to it. Training that was interrupted goes on."""
    from octet.artifact import check_destination  # noqa: PLC0415 - commands that need no torch must not wait for it

    chosen = chosen_recipe(recipe, method, engine)
    program = octet.load(model)
    check_destination(output)
    whole = output.resolve()
    checkpoint = whole.with_name(f".{whole.name}.checkpoint")
    with bars.steps("quantize") as on_progress:
        result = octet.quantize(
            program,
            chosen,
            calibration=_data(calibration),
            evaluation=_data(evaluation),
            on_progress=on_progress,
            checkpoint=checkpoint,
        )
        result.save(output)
    checkpoint.unlink(missing_ok=True)
    report = result.report
    answer(report, lambda: render.result(report, layers=layers), as_json=as_json)
    if not as_json:
        typer.echo(f"saved in {output}")  # on one line, however long: it is there to be copied
    require_gates(report)


def analyze(
    model: ModelFile,
    *,
    recipe: RecipeName = None,
    method: MethodName = None,
    engine: EngineName = None,
    calibration: CalibrationFile = None,
    evaluation: EvaluationFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what quantizing costs layer by layer, and what leaving layers in float would win. Nothing is saved."""
    chosen = chosen_recipe(recipe, method, engine)
    measure = chosen.measure.model_copy(update={"layers": True, "sensitivity": True})
    program = octet.load(model)
    with bars.steps("analyze") as on_progress:
        report = octet.quantize(
            program,
            chosen.model_copy(update={"measure": measure}),
            calibration=_data(calibration),
            evaluation=_data(evaluation),
            on_progress=on_progress,
        ).report
    answer(report, lambda: render.analysis(report), as_json=as_json)


def _data(path: Path | None) -> octet.Dataset | None:
    return None if path is None else octet.read_dataset(path)
