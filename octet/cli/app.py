"""The application: options that commands share, and the one place where an error becomes an exit status."""

# Typer reads annotations at run time, so this module and those with commands do not postpone them.

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import RenderableType
from typer.core import TyperGroup

from octet.cli import render
from octet.errors import OctetError
from octet.recipe import PRESETS, Recipe
from octet.report import Report
from octet.version import __version__

FAILED = 1
GATE_FAILED = 3  # 2 is wrong usage, which typer answers itself

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.pt2", exists=True, dir_okay=False, help="The model.")]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="A YAML or JSON file, or the name of a preset.", show_default="static")
]
MethodName = Annotated[
    str | None,
    typer.Option("--method", help="dynamic, static, qat, auto or simulate; goes before the recipe's."),
]
EngineName = Annotated[
    str | None, typer.Option("--engine", help="fbgemm, x86, onednn or qnnpack; goes before the recipe's.")
]
AllLayers = Annotated[bool, typer.Option("--layers", help="Also what became of each layer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to standard output.")]
Url = Annotated[
    str | None, typer.Option(envvar="OCTET_URL", help="Where the service is.", show_default="http://127.0.0.1:8000")
]
Key = Annotated[str | None, typer.Option(envvar="OCTET_API_KEY", help="An API key of the service.")]


class GateFailedError(OctetError):
    """The int8 model is there, but it does not reach what the recipe asks."""

    code = "gate_failed"


class Commands(TyperGroup):
    """Turns an error into one line, a hint, and the exit status of the process."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments name, and end the process."""
        try:
            return super().main(*args, **kwargs)
        except OctetError as error:
            _tell(error)
            sys.exit(GATE_FAILED if isinstance(error, GateFailedError) else FAILED)
        except OSError as error:  # a disk that is full, a directory that nobody may write to
            typer.echo(f"error: {error}", file=sys.stderr)
            sys.exit(FAILED)


app = typer.Typer(
    name="octet",
    cls=Commands,
    help="Turns a PyTorch model into an int8 one and proves what the change did.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 a gate failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"octet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")] = False,
) -> None:
    pass


def chosen_recipe(recipe: str | None, method: str | None, engine: str | None) -> Recipe:
    """The recipe of a file or a preset, with the method and the engine that were asked for beside it.

    Raises:
        InvalidRecipeError: If the file cannot be read, or what comes out is not a recipe.
    """
    named = recipe or "static"
    base = Recipe.preset(named) if named in PRESETS else Recipe.load(named)
    asked = {key: value for key, value in (("method", method), ("engine", engine)) if value is not None}
    return Recipe.parse(base.model_dump() | asked)


def answer(document: Any, table: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Write `document` as JSON, or what `table` makes of it for people."""
    if as_json:
        typer.echo(TypeAdapter(Any).dump_json(document, indent=2).decode())
    else:
        render.console().print(table())


def require_gates(report: Report) -> None:
    """Raise for the gates that failed, if any did."""
    failed = [render.gate(result) for result in report.gates if result.passed is False]
    if report.verdict == "fails":
        raise GateFailedError(
            f"The int8 model does not pass: {'; '.join(failed)}.",
            hint="It was kept. Try another method or engine, more calibration data, or the worst layers in float.",
        )


def _tell(error: OctetError) -> None:
    typer.echo(f"error: {error.message}", file=sys.stderr)
    if len(error.errors) > 1:  # a single one is what the message says already
        for field in error.errors:
            hint = f" {field.hint}" if field.hint else ""
            typer.echo(f"  at {field.pointer or '/'}: {field.message}.{hint}", file=sys.stderr)
    elif error.hint:
        typer.echo(f"hint: {error.hint}", file=sys.stderr)
