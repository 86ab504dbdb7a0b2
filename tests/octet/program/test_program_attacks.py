"""Files that were made to do harm: they cost little, touch nothing, and end in one of our errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pt2 import MODEL, WEIGHTS_CONFIG, Document, changed, entries, nodes, write

import octet
from octet.errors import InvalidArchiveError, InvalidModelError, OctetError, OutOfMemoryError
from octet.pipeline.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIB = 2**30


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.register_buffer("table", torch.zeros(4, dtype=torch.int32))
        self.scale = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x + self.table)) * self.scale


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One linear layer, one ReLU, one multiplication."""
    return octet.export(Small(), torch.randn(2, 4), tmp_path_factory.mktemp("small") / "small.pt2")


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


def _call(target: str, source: str, result: str, **metadata: str) -> Document:
    argument = {"name": "self", "arg": {"as_tensor": {"name": source}}, "kind": 1}
    return {"target": target, "inputs": [argument], "outputs": [{"as_tensor": {"name": result}}], "metadata": metadata}


def chain(count: int, target: Callable[[int], str], **metadata: str) -> Callable[[Document], None]:
    """A model of `count` calls, each of the result of the one before."""

    def change(document: Document) -> None:
        graph, signature = document["graph_module"]["graph"], document["graph_module"]["signature"]
        names = ["x", *(f"value_{number}" for number in range(count))]
        graph["nodes"] = [
            _call(target(number), *names[number : number + 2], **{k: v.format(number) for k, v in metadata.items()})
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
        "nodes": [_call("torch.ops.aten.relu.default", "inside", "last")] * 1,
        "tensor_values": {},
    }
    filling = [_call("torch.ops.aten.relu.default", "inside", f"filling_{number}") for number in range(2000)]
    for _ in range(20):
        region = _call("torch.ops.higher_order.wrap_with_set_grad_enabled", "inside", "last")
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


def _made(target: str, source: str, result: str, *arguments: tuple[str, Document]) -> Document:
    call = _call(f"torch.ops.aten.{target}", source, result)
    call["inputs"] += [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments]
    return call


# What a graph asks for when it runs.


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
    with pytest.raises(OutOfMemoryError, match=rf"aten\.{what}.*test_program_attacks\.py:\d+: return torch\.relu"):
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
        size = _made("sym_size.int", "x", "size", ("dim", {"as_int": 0}))
        size["outputs"] = [{"as_sym_int": {"as_name": "size"}}]
        graph = document["graph_module"]["graph"]
        made = [
            {
                "target": target,
                "inputs": [{"name": "a", "arg": one, "kind": 1}, {"name": "b", "arg": other, "kind": 1}],
                "outputs": [{"as_sym_int": {"as_name": f"number_{position}"}}],
                "metadata": {},
            }
            for position, (target, one, other) in enumerate(calls)
        ]
        graph["nodes"] = [size, *made, *graph["nodes"]]

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


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "graph", "code", "forward", "training", "_modules", "_parameters", "__class__", "__class__.__init__",
        "__dict__",
        "_weight_0", "_weight_0.a", "layer.weight", "eval", "T", "é", "a\x00b", "\ud800", "a" * 900, "0", "-1", "..",
        "",
    ],
)  # fmt: skip
def test_a_module_of_any_name_is_rebuilt_or_refused(name: str, small: Path, tmp_path: Path) -> None:
    def rename(document: Document) -> None:
        for node in nodes(document):
            node["metadata"]["nn_module_stack"] = f"a,{name},torch.nn.modules.activation.ReLU"

    inputs = torch.randn(2, 4)
    expected = octet.load(small).module()(inputs)
    path = changed(small, tmp_path / "named.pt2", MODEL, rename)
    try:
        module = octet.load(path).module()
    except OctetError:
        return
    assert torch.equal(module(inputs), expected)


@pytest.mark.parametrize("name", ["torch", "print", "getattr", "inf", "device", "relu", "layer", "_weight_0", "mul"])
def test_an_input_of_any_name_is_taken_or_refused(name: str, small: Path, tmp_path: Path) -> None:
    inputs = torch.randn(2, 4)
    expected = octet.load(small).module()(inputs)
    content = entries(small)
    content[MODEL] = content[MODEL].replace(b'"x"', json.dumps(name).encode())
    path = write(tmp_path / "named.pt2", content)
    try:
        module = octet.load(path).module()
    except OctetError:
        return
    assert torch.equal(module(inputs), expected)


def test_a_power_in_a_size_is_never_worked_out(small: Path, tmp_path: Path) -> None:
    content = entries(small)
    content[MODEL] = content[MODEL].replace(b"Symbol('s", b"10**10**10**10 + Symbol('s")
    assert b"10**10**10" in content[MODEL]
    assert octet.load(write(tmp_path / "power.pt2", content)).inputs[0].shape == ("batch", 4)


def test_an_object_of_a_class_is_refused(small: Path, tmp_path: Path) -> None:
    def add(document: Document) -> None:
        spec = {"custom_obj": {"arg": {"name": "o", "class_fqn": "os.system"}, "custom_obj_name": "o"}}
        document["graph_module"]["signature"]["input_specs"].append(spec)

    with pytest.raises(InvalidModelError, match="custom obj"):
        octet.load(changed(small, tmp_path / "object.pt2", MODEL, add))


# Weights.


def _weight(**parts: Any) -> Callable[[Document], None]:
    return lambda config: config["config"]["scale"]["tensor_meta"].update(parts)


@pytest.mark.parametrize(
    "sizes", [[2**62], [2**31, 2**31], [2**62, 2**62, 2**62], [0, 2**62, 2**62], [10**400], [-1], [10**9]]
)
def test_a_weight_that_repeats_itself_without_end_is_refused(sizes: list[int], small: Path, tmp_path: Path) -> None:
    form = {"sizes": [{"as_int": size} for size in sizes], "strides": [{"as_int": 0} for _ in sizes]}
    path = changed(small, tmp_path / "config.pt2", WEIGHTS_CONFIG, _weight(**form))

    def same(document: Document) -> None:
        specs = document["graph_module"]["signature"]["input_specs"]
        name = next(
            s["parameter"]["arg"]["name"] for s in specs if s.get("parameter", {}).get("parameter_name") == "scale"
        )
        document["graph_module"]["graph"]["tensor_values"][name].update(form)

    with pytest.raises(InvalidModelError):
        octet.load(changed(path, tmp_path / "both.pt2", MODEL, same)).module()


def test_bytes_that_are_integers_to_one_weight_are_still_checked_as_those_of_another(
    small: Path, tmp_path: Path
) -> None:
    content = entries(small)
    config = json.loads(content[WEIGHTS_CONFIG])
    path = config["config"]["scale"]["path_name"]
    config["config"]["table"]["path_name"] = path
    content[WEIGHTS_CONFIG] = json.dumps(config).encode()
    content[f"model/data/weights/{path}"] = b"\xff" * 16
    with pytest.raises(InvalidModelError, match="'scale' holds 4 NaN values"):
        octet.load(write(tmp_path / "nan.pt2", content))


@pytest.mark.parametrize("how", ["shorter", "replaced", "written to"])
def test_a_file_that_changed_since_it_was_read_is_not_mapped(how: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(small.read_bytes())
    program = octet.load(path)
    if how == "shorter":
        os.truncate(path, 1000)
    elif how == "replaced":
        path.unlink()
        path.write_bytes(small.read_bytes())
    else:
        status = path.stat()
        path.write_bytes(small.read_bytes())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(InvalidArchiveError, match="has changed since it was read"):
        program.module()


# The archive itself.


def _before(data: bytes) -> bytes:
    return b"#!/bin/sh\n" + data


def _end_in_the_comment(data: bytes) -> bytes:
    end = data[-22:]
    return data[:-22] + end[:20] + len(end).to_bytes(2, "little") + end


def _more_entries_than_there_are(data: bytes) -> bytes:
    return data[:-12] + b"\xfe\xff" + data[-10:]


def _directory_of_4_gib(data: bytes) -> bytes:
    return data[:-10] + b"\xfe\xff\xff\xff" + data[-6:]


def _lying_zip64(data: bytes) -> bytes:
    return data.replace(b"PK\x06\x06", b"PK\x05\x05")[:-10] + b"\xff" * 8 + data[-2:]


ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "bytes before the archive": _before,
    "more entries than there are": _more_entries_than_there_are,
    "a directory of 4 GiB": _directory_of_4_gib,
    "a 64-bit end that is not there": _lying_zip64,
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_lies_about_itself_is_refused(what: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "lie.pt2"
    path.write_bytes(ARCHIVES[what](small.read_bytes()))
    with pytest.raises(OctetError):
        octet.load(path)


def test_an_end_in_the_comment_of_the_end_cannot_smuggle_in_another_model(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "comment.pt2"
    path.write_bytes(_end_in_the_comment(small.read_bytes()))
    assert octet.load(path).spec == octet.load(small).spec


def test_a_link_in_the_archive_is_bytes_like_all_else(small: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "link.pt2", entries(small))
    link = zipfile.ZipInfo("model/data/weights/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("model/data/folder/", "")
    program = octet.load(path)
    program.module()
    assert program.spec == octet.load(small).spec


# What a graph asks for when it is built, where it makes weights of weights.


def _weights_made(*calls: Document, result: str) -> Callable[[Document], None]:
    """The bias of the layer becomes the sum of what these calls make of the layer's weight, `p_layer_weight`."""

    def change(document: Document) -> None:
        graph = document["graph_module"]["graph"]
        total, spread = _call("torch.ops.aten.sum.default", result, "total"), _call("", "total", "spread")
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
    line = _made("new_zeros.default", "p_layer_weight", "line", ("size", million))
    column = _made("view.default", "line", "column", ("size", {"as_ints": [-1, 1]}))
    return _weights_made(
        line, column, _made(target, "column", "made", ("other", {"as_tensor": {"name": "line"}})), result="made"
    )


_BIG = ("size", {"as_ints": [2000, 2000]})
WASTEFUL: dict[str, Callable[[Document], None]] = {
    "a distance between all and all": _column_by_row("dist.default"),
    "a loss over all and all": _column_by_row("mse_loss.default"),
    "a product of many matrices": _weights_made(
        _made("new_zeros.default", "p_layer_weight", "matrix_0", _BIG),
        *(
            _made("mm.default", f"matrix_{n}", f"matrix_{n + 1}", ("mat2", {"as_tensor": {"name": f"matrix_{n}"}}))
            for n in range(1000)
        ),
        result="matrix_1000",
    ),
    "a decomposition": _weights_made(
        _made("new_zeros.default", "p_layer_weight", "matrix", _BIG),
        _made("linalg_svdvals.default", "matrix", "made"),
        result="made",
    ),
    "a gamma function of many variables": _weights_made(
        _made("mvlgamma.default", "p_layer_weight", "made", ("p", {"as_int": 10**9})), result="made"
    ),
    "pieces without end": _weights_made(
        _made("tensor_split.sections", "p_layer_weight", "made", ("sections", {"as_int": 10**7})), result="made"
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
