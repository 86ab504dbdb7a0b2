"""Calls that were made to ask for too much, or for what there is not: each ends in one of our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from attacking import made
from pt2 import MODEL, Document, changed, nodes

import octet
from octet.errors import InvalidModelError, OctetError, OutOfMemoryError
from octet.pipeline.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _with_call(target: str, *arguments: tuple[str, Document]) -> Callable[[Document], None]:
    """The ReLU becomes another call of the same value."""

    def change(document: Document) -> None:
        call = next(node for node in nodes(document) if "relu" in node["target"])
        call["target"] = f"torch.ops.aten.{target}"
        call["inputs"] += [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments]

    return change


HUGE = 10**13
DEVOURING: dict[str, Callable[[Document], None]] = {
    "new_full": _with_call("new_full.default", ("size", {"as_ints": [HUGE]}), ("fill_value", {"as_float": 1.0})),
    "new_zeros": _with_call("new_zeros.default", ("size", {"as_ints": [HUGE]})),
    "repeat": _with_call("repeat.default", ("repeats", {"as_ints": [HUGE, 1]})),
    "pad": _with_call("pad.default", ("pad", {"as_ints": [HUGE, HUGE]})),
    "repeat_interleave": _with_call(
        "repeat_interleave.self_int", ("repeats", {"as_int": HUGE}), ("dim", {"as_int": 0})
    ),
}


@pytest.mark.parametrize("what", DEVOURING)
def test_a_call_that_asks_for_too_much_memory_is_named(what: str, small: Path, tmp_path: Path) -> None:
    path = changed(small, tmp_path / "devouring.pt2", MODEL, DEVOURING[what])
    module = octet.load(path).module()
    with pytest.raises(OutOfMemoryError, match=rf"aten\.{what}.*attacking\.py:\d+: return torch\.relu"):
        try_out(module, (torch.randn(2, 4),))


IMPOSSIBLE: dict[str, Callable[[Document], None]] = {
    "a size that overflows": _with_call("new_zeros.default", ("size", {"as_ints": [2**62, 2**62]})),
    "a negative size": _with_call("new_zeros.default", ("size", {"as_ints": [-5]})),
    "a number of 400 digits": _with_call("new_zeros.default", ("size", {"as_ints": [10**400]})),
    "a dimension that is not there": _with_call("softmax.int", ("dim", {"as_int": 2**62})),
    "a text for a dimension": _with_call("softmax.int", ("dim", {"as_string": "x"})),
    "a tensor for a dimension": _with_call("softmax.int", ("dim", {"as_tensor": {"name": "x"}})),
    "NaN for a slope": _with_call("leaky_relu.default", ("negative_slope", {"as_tensors": []})),
    "too many arguments": _with_call("neg.default", ("a", {"as_int": 1}), ("b", {"as_int": 1})),
    "an output beyond all": _with_call("adaptive_avg_pool1d.default", ("output_size", {"as_ints": [2**62]})),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_call_that_cannot_be_done_gives_one_of_our_errors(what: str, small: Path, tmp_path: Path) -> None:
    path = changed(small, tmp_path / "impossible.pt2", MODEL, IMPOSSIBLE[what])
    with pytest.raises(OctetError):
        try_out(octet.load(path).module(), (torch.randn(2, 4),))


def _numbers(*calls: tuple[str, Document, Document]) -> Callable[[Document], None]:
    """The ReLU gets calls of two numbers before it; of each the next one may name the result: `number_0`, …."""

    def change(document: Document) -> None:
        size = made("sym_size.int", "x", "size", ("dim", {"as_int": 0}))
        size["outputs"] = [{"as_sym_int": {"as_name": "size"}}]
        graph = document["graph_module"]["graph"]
        computed = [
            {
                "target": target,
                "inputs": [{"name": "a", "arg": one, "kind": 1}, {"name": "b", "arg": other, "kind": 1}],
                "outputs": [{"as_sym_int": {"as_name": f"number_{position}"}}],
                "metadata": {},
            }
            for position, (target, one, other) in enumerate(calls)
        ]
        graph["nodes"] = [size, *computed, *graph["nodes"]]

    return change


def _number(name: str) -> Document:
    return {"as_sym_int": {"as_name": name}}


ENDLESS: dict[str, Callable[[Document], None]] = {
    "a power of numbers": _numbers(("_operator.pow", {"as_int": 10}, {"as_int": 10**12})),
    "a power of a size": _numbers(("_operator.pow", _number("size"), {"as_int": 10**12})),
    "a power of powers": _numbers(
        *[("_operator.pow", _number("size"), _number("size"))] * 2,
        ("_operator.pow", _number("number_0"), _number("number_1")),
    ),
    "a shift": _numbers(("_operator.lshift", _number("size"), {"as_int": 10**12})),
    "a shift by a size": _numbers(("_operator.lshift", {"as_int": 1}, _number("size"))),
    "squares of squares": _numbers(
        ("_operator.add", _number("size"), {"as_int": 9}),
        *[("_operator.mul", _number(f"number_{position}"), _number(f"number_{position}")) for position in range(40)],
    ),
    "a text many times": _numbers(("_operator.mul", {"as_string": "text"}, {"as_int": 10**12})),
    "a list many times": _numbers(("_operator.mul", {"as_ints": [1]}, {"as_int": 10**12})),
    "a text of any width": _numbers(("_operator.mod", {"as_string": "%999999999999d"}, {"as_int": 1})),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_number_without_end_is_refused(what: str, small: Path, tmp_path: Path) -> None:
    path = changed(small, tmp_path / "endless.pt2", MODEL, ENDLESS[what])
    with pytest.raises(InvalidModelError, match=r"may have more than 10000 bits|something else than numbers"):
        octet.load(path)
