"""The table of `octet inspect`: each layer, and what will become of it by method and engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from rich.console import Group, RenderableType
from rich.text import Text

from octet.cli.tables import Footnotes, Rows, figure, words
from octet.engines import EngineName
from octet.recipe import Int8Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.spec import Layer, Outlook


def layer_table(
    layers: Sequence[Layer], methods: Sequence[Int8Method], engines: Sequence[EngineName]
) -> RenderableType:
    """A column for each method; engines are named where they differ, and reasons stand below."""
    methods, engines = methods or get_args(Int8Method), engines or get_args(EngineName)
    columns = _columns(layers, methods)
    table = Rows(words("layer"), words("type"), figure("parameters"), *(words(", ".join(which)) for which in columns))
    footnotes = Footnotes()
    for layer in layers:
        cells = (_cell(layer, column[0], engines, footnotes) for column in columns)
        table.add(layer.name, layer.type, f"{layer.parameters:,}", *cells)
    if columns:
        shares = (_share(layers, column[0], engines) for column in columns)
        table.add(Text("weights in int8", style="dim"), "", "", *shares)
    return Group(table, *footnotes.lines())


def _columns(layers: Sequence[Layer], methods: Sequence[Int8Method]) -> list[list[Int8Method]]:
    """The methods, those under which every layer fares alike in one column."""
    columns: dict[tuple[object, ...], list[Int8Method]] = {}
    for method in methods:
        fares = tuple(
            (each.engines, each.reason, each.runs == method)
            for layer in layers
            for each in layer.outlook
            if each.method == method
        )
        if fares:
            columns.setdefault(fares, []).append(method)
    return list(columns.values())


def _cell(layer: Layer, method: Int8Method, engines: Sequence[EngineName], footnotes: Footnotes) -> Text | None:
    """What becomes of a layer, as `int8`, or `int8; onednn float [2]`."""
    if method == "dynamic" and not layer.parameters:
        return None  # dynamic is about weights
    fates = [(each, [engine for engine in engines if engine in each.engines]) for each in _of(layer, method)]
    told = sorted(((each, which) for each, which in fates if which), key=lambda fate: -len(fate[1]))
    parts = [
        ("" if len(which) == len(engines) or place == 0 else f"{', '.join(which)} ")
        + _word(each, method)
        + footnotes.mark(each.reason)
        for place, (each, which) in enumerate(told)
    ]
    return Text("; ".join(parts), style="yellow" if any(each.reason for each, _ in told) else "")


def _word(outlook: Outlook, method: Int8Method) -> str:
    if outlook.runs == "float":
        return "float"
    return "int8" if outlook.runs == method else f"int8, {outlook.runs}"


def _of(layer: Layer, method: Int8Method) -> list[Outlook]:
    return [each for each in layer.outlook if each.method == method]


def _share(layers: Sequence[Layer], method: Int8Method, engines: Sequence[EngineName]) -> Text:
    """The share of all weights that will be int8; engines are named where they differ."""
    whole = sum(layer.parameters for layer in layers) or 1
    shares: dict[str, list[EngineName]] = {}
    for engine in engines:
        int8 = sum(
            layer.parameters for layer in layers if (each := layer.under(method, engine)) and each.runs != "float"
        )
        shares.setdefault(f"{int8 / whole:.1%}", []).append(engine)
    if len(shares) == 1:
        return Text(next(iter(shares)), style="dim")
    return Text("; ".join(f"{', '.join(which)} {share}" for share, which in shares.items()), style="dim")
