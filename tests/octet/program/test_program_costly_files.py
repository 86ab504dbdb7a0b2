"""Files that were made to cost too much to read, to build or to run: all of it stays bounded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from attacking import call_of, made
from pt2 import MODEL, Document, changed, entries, write

import octet
from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


GIB = 2**30


# What reading costs, in a process that may take 1 GiB and 20 seconds of CPU.

_READ = f"""
import resource, sys
import octet
resource.setrlimit(resource.RLIMIT_AS, ({GIB}, {GIB}))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    octet.load(sys.argv[1])
except octet.OctetError as error:
    print(error.code)
else:
    print("read")
"""


def read_with_limits(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def chain(count: int, target: Callable[[int], str], **metadata: str) -> Callable[[Document], None]:
    """A model of `count` calls, each of the result of the one before."""

    def change(document: Document) -> None:
        graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
        names = ["x", *(f"value_{number}" for number in range(count))]
        graph["nodes"] = [
            call_of(target(number), *names[number : number + 2], **{k: v.format(number) for k, v in metadata.items()})
            for number in range(count)
        ]
        graph["tensor_values"][names[-1]] = graph["tensor_values"]["x"]
        signature["output_specs"][0]["user_output"]["arg"] = {"as_tensor": {"name": names[-1]}}

    return change


def nested_regions(document: Document) -> None:
    graph = document["graph_module"]["graph"]
    inner: Document = {
        "inputs": [{"as_tensor": {"name": "inside"}}],
        "outputs": [{"as_tensor": {"name": "last"}}],
        "nodes": [call_of("torch.ops.aten.relu.default", "inside", "last")] * 1,
        "tensor_values": {},
    }
    filling = [call_of("torch.ops.aten.relu.default", "inside", f"filling_{number}") for number in range(2000)]
    for _ in range(20):
        region = call_of("torch.ops.higher_order.wrap_with_set_grad_enabled", "inside", "last")
        region["inputs"] = [
            {"name": "", "arg": argument, "kind": 1}
            for argument in ({"as_bool": False}, {"as_graph": {"graph": inner}}, {"as_tensor": {"name": "inside"}})
        ]
        inner = {**inner, "nodes": [*filling, region]}
    graph["nodes"] = [*filling[:1], inner["nodes"][-1]]
    graph["nodes"][0]["inputs"][0]["arg"]["as_tensor"]["name"] = "x"


def views_by_views(document: Document) -> None:
    """Views of one value, each in the form of the one before; the value is overwritten, then the last is read."""
    chain(5_000, lambda number: f"torch.ops.aten.{'relu_' if number == 4_998 else 'view_as'}.default")(document)
    *views, write, last = document["graph_module"]["graph"]["nodes"]
    for view in views[1:]:
        view["inputs"].append({"name": "other", "arg": view["inputs"][0]["arg"], "kind": 1})
        view["inputs"][0] = {"name": "self", "arg": {"as_tensor": {"name": "value_0"}}, "kind": 1}
    views[0]["target"] = last["target"] = "torch.ops.aten.neg.default"
    write["inputs"][0]["arg"] = {"as_tensor": {"name": "value_0"}}
    last["inputs"][0]["arg"] = {"as_tensor": {"name": "value_4997"}}


def many_paths(document: Document) -> None:
    path = ".".join(["a" * 8] * 32)
    document["graph_module"]["module_call_graph"] += [{"fqn": f"m{number}.{path}"[:290]} for number in range(49_000)]


COSTLY: dict[str, tuple[Callable[[Document], None], str]] = {
    "15,000 calls": (chain(15_000, lambda _: "torch.ops.aten.relu.default"), "read"),
    "15,000 calls that overwrite one value": (chain(15_000, lambda _: "torch.ops.aten.relu_.default"), "read"),
    "views of views": (chain(15_000, lambda _: "torch.ops.aten.alias.default"), "read"),
    "views, then writes": (
        chain(15_000, lambda number: f"torch.ops.aten.{'alias' if number < 7_000 else 'relu_'}.default"),
        "unsupported_operator",
    ),
    "views in the form of views": (views_by_views, "read"),
    "a container for each call": (
        chain(8_000, lambda _: "torch.ops.aten.relu.default", nn_module_stack="a,c{}.act,torch.nn.ReLU"),
        "read",
    ),
    "operators that nobody knows": (chain(15_000, lambda number: f"torch.ops.no.op{number}"), "unsupported_operator"),
    "regions in regions": (nested_regions, "invalid_model"),
    "paths of 49,000 modules": (many_paths, "read"),
}


@pytest.mark.parametrize("what", COSTLY)
def test_a_graph_made_to_be_slow_is_read_or_refused_in_bounded_time_and_memory(
    what: str, small: Path, tmp_path: Path
) -> None:
    change, outcome = COSTLY[what]
    assert read_with_limits(changed(small, tmp_path / "costly.pt2", MODEL, change)) == outcome


_HEAD = '{"schema_version": {"major": 8, "minor": 1}, "opset_version": {"aten": 10}, "graph_module": '
BOMBS = {
    "empty objects": "[" + "{}," * 20_000_000 + "1]",
    "numbers": "[" + "1," * 30_000_000 + "1]",
    "objects instead of calls": _HEAD
    + '{"graph": {"inputs": [], "outputs": [], "tensor_values": {}, "nodes": ['
    + "{}," * 1_400_000
    + '{}]}, "signature": {"input_specs": [], "output_specs": []}, "module_call_graph": []}}',
    "a million mistakes": '{"opset_version": {' + ",".join(f'"{number:x}":"a"' for number in range(1_400_000)) + "}}",
    "keys that nobody knows": "{" + ",".join(f'"{number:x}":1' for number in range(1_400_000)) + "}",
    "brackets": "[" * 60_000_000,
    "one long text": '{"graph_module": "' + "x" * 60_000_000 + '"}',
    "one long number": '{"schema_version": ' + "9" * 60_000_000 + "}",
}


@pytest.mark.parametrize("what", BOMBS)
def test_json_that_unfolds_is_refused_in_bounded_time_and_memory(what: str, small: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.pt2", {**entries(small), MODEL: BOMBS[what].encode()})
    assert read_with_limits(path) == "invalid_model"


# What a graph asks for when it is built, where it makes weights of weights.


def _weights_made(*calls: Document, result: str) -> Callable[[Document], None]:
    """The bias of the layer becomes the sum of what these calls make of the layer's weight, `p_layer_weight`."""

    def change(document: Document) -> None:
        graph = document["graph_module"]["graph"]
        total, spread = call_of("torch.ops.aten.sum.default", result, "total"), call_of("", "total", "spread")
        spread["target"] = "torch.ops.aten.expand.default"
        spread["inputs"].append({"name": "size", "arg": {"as_ints": [4]}, "kind": 1})
        layer = next(node for node in graph["nodes"] if "linear" in node["target"])
        next(a for a in layer["inputs"] if a["name"] == "bias")["arg"] = {"as_tensor": {"name": "spread"}}
        graph["nodes"] = [*calls, total, spread, *graph["nodes"]]
        bias, values = graph["tensor_values"]["p_layer_bias"], graph["tensor_values"]
        values.update({call["outputs"][0]["as_tensor"]["name"]: values["p_layer_weight"] for call in calls})
        values.update(total={**bias, "sizes": [], "strides": []}, spread=bias)

    return change


def _column_by_row(target: str) -> Callable[[Document], None]:
    """An operation of one column of a million elements with one row: a million times a million values in between."""
    million = {"as_ints": [10**6]}
    line = made("new_zeros.default", "p_layer_weight", "line", ("size", million))
    column = made("view.default", "line", "column", ("size", {"as_ints": [-1, 1]}))
    return _weights_made(
        line, column, made(target, "column", "made", ("other", {"as_tensor": {"name": "line"}})), result="made"
    )


_BIG = ("size", {"as_ints": [2000, 2000]})
WASTEFUL: dict[str, Callable[[Document], None]] = {
    "a distance between all and all": _column_by_row("dist.default"),
    "a loss over all and all": _column_by_row("mse_loss.default"),
    "a product of many matrices": _weights_made(
        made("new_zeros.default", "p_layer_weight", "matrix_0", _BIG),
        *(
            made("mm.default", f"matrix_{n}", f"matrix_{n + 1}", ("mat2", {"as_tensor": {"name": f"matrix_{n}"}}))
            for n in range(1000)
        ),
        result="matrix_1000",
    ),
    "a decomposition": _weights_made(
        made("new_zeros.default", "p_layer_weight", "matrix", _BIG),
        made("linalg_svdvals.default", "matrix", "made"),
        result="made",
    ),
    "a gamma function of many variables": _weights_made(
        made("mvlgamma.default", "p_layer_weight", "made", ("p", {"as_int": 10**9})), result="made"
    ),
    "pieces without end": _weights_made(
        made("tensor_split.sections", "p_layer_weight", "made", ("sections", {"as_int": 10**7})), result="made"
    ),
}


@pytest.mark.parametrize("what", WASTEFUL)
def test_weights_that_would_take_far_too_much_to_make_are_refused_before_they_are_made(
    what: str, small: Path, tmp_path: Path
) -> None:
    path = changed(small, tmp_path / "wasteful.pt2", MODEL, WASTEFUL[what])
    program = octet.load(path)
    with pytest.raises(InvalidModelError, match=r"computes weights (that take far more memory|in far more steps)"):
        program.module()
