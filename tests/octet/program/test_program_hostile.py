"""Nothing of an upload is executed, and whatever it says, the answer is one of our errors."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pt2 import CONSTANTS_CONFIG, MODEL, WEIGHTS_CONFIG, Document, changed, entries, nodes, write

import octet
from octet.errors import InvalidArchiveError, InvalidModelError, OctetError, UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Canary:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def _load_and_build(path: Path) -> None:
    octet.load(path).module()


def test_pickles_in_the_archive_are_never_opened(resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    payload = pickle.dumps(Canary(canary))
    extra = {
        "model/data/sample_inputs/model.pt": payload,
        "model/data/constants/custom_obj_0": payload,
        "model/data/constants/opaque_obj_0": payload,
        "model/data/aotinductor/model/model.so": payload,
        "model/extra/notes": payload,
    }
    _load_and_build(write(tmp_path / "canary.pt2", {**entries(resnet_pt2), **extra}))
    assert not canary.exists()


@pytest.mark.parametrize("entry", [WEIGHTS_CONFIG, CONSTANTS_CONFIG])
def test_a_weight_kept_as_a_pickle_is_refused(entry: str, resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    content = entries(resnet_pt2)
    config = json.loads(content[WEIGHTS_CONFIG])
    payload = {"path_name": "pickled", "is_param": True, "use_pickle": True, "tensor_meta": None}
    if entry == CONSTANTS_CONFIG:
        del config["config"]["fc.weight"]
        content[CONSTANTS_CONFIG] = json.dumps({"config": {"fc.weight": payload}}).encode()
    else:
        config["config"]["fc.weight"] = payload
    content[WEIGHTS_CONFIG] = json.dumps(config).encode()
    content[entry.rsplit("/", 1)[0] + "/pickled"] = pickle.dumps(Canary(canary))
    with pytest.raises(InvalidModelError, match=r"'fc\.weight' is stored as a pickle"):
        _load_and_build(write(tmp_path / "pickled.pt2", content))
    assert not canary.exists()


@pytest.mark.parametrize("target", ["torch.os.system", "torch.ops.aten.system.default", "os.system", "builtins.eval"])
def test_a_target_outside_the_table_is_never_looked_up(target: str, resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"

    def call(document: Document) -> None:
        node = nodes(document)[3]
        node["target"] = target
        node["inputs"] = [{"name": "command", "arg": {"as_string": f"touch {canary}"}, "kind": 1}]

    with pytest.raises(UnsupportedOperatorError, match=target.removeprefix("torch.ops.")):
        _load_and_build(changed(resnet_pt2, tmp_path / "target.pt2", MODEL, call))
    assert not canary.exists()


def test_a_symbolic_size_is_never_evaluated(resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    code = f"__import__('os').mkdir({str(canary)!r})"
    content = entries(resnet_pt2)
    content[MODEL] = content[MODEL].replace(b"Symbol('s", code.encode() + b" or Symbol('s")
    path = write(tmp_path / "symbol.pt2", content)
    assert code.encode() in content[MODEL]
    _load_and_build(path)
    assert octet.load(path).inputs[0].shape[0] == "batch"
    assert not canary.exists()


def test_a_name_cannot_smuggle_code_into_the_generated_module(resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    name = f"x=__import__('os').mkdir({str(canary)!r})"
    content = entries(resnet_pt2)
    content[MODEL] = content[MODEL].replace(b'{"name": "x"}', json.dumps({"name": name}).encode())
    content[MODEL] = content[MODEL].replace(b'"x": {"dtype"', json.dumps(name).encode() + b': {"dtype"')
    with pytest.raises(InvalidModelError, match="cannot name an argument"):
        _load_and_build(write(tmp_path / "input.pt2", content))
    assert not canary.exists()


def test_a_module_path_cannot_smuggle_code_into_the_generated_module(resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    path = f'a").b or __import__("os").mkdir("{canary}") or ("'
    content = entries(resnet_pt2)
    content[MODEL] = content[MODEL].replace(b",layer1.0,", b"," + json.dumps(path).encode()[1:-1] + b",")
    content[MODEL] = content[MODEL].replace(b"layer1.0.conv1", json.dumps(path).encode()[1:-1])
    content[WEIGHTS_CONFIG] = content[WEIGHTS_CONFIG].replace(b"layer1.0.conv1", json.dumps(path).encode()[1:-1])
    module = octet.load(write(tmp_path / "path.pt2", content)).module()
    module(torch.randn(1, 3, 16, 16))
    assert not canary.exists()


def _drop_first_node(document: Document) -> None:
    nodes(document).pop(0)


def _make_twice(document: Document) -> None:
    nodes(document).append(copy.deepcopy(nodes(document)[-1]))


def _reverse(document: Document) -> None:
    nodes(document).reverse()


def _return_nothing_made(document: Document) -> None:
    document["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"] = {"as_tensor": {"name": "nobody"}}


def _return_a_number(document: Document) -> None:
    document["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"] = {"as_int": 1}


def _lack_an_argument(document: Document) -> None:
    conv = next(node for node in nodes(document) if "conv2d" in node["target"])
    conv["inputs"] = conv["inputs"][1:]


def _newer_schema(document: Document) -> None:
    document["schema_version"]["major"] = 9


def _older_opset(document: Document) -> None:
    document["opset_version"]["aten"] = 3


BROKEN: dict[str, tuple[Callable[[Document], None], str]] = {
    "a dangling name": (_drop_first_node, "before anything makes it"),
    "a name made twice": (_make_twice, "twice"),
    "a name used before it is made": (_reverse, "before anything makes it"),
    "an output that nothing makes": (_return_nothing_made, "which nothing makes"),
    "an output that is a number": (_return_a_number, "not a tensor"),
    "a missing argument": (_lack_an_argument, "lacks"),
    "a newer schema": (_newer_schema, "schema 9"),
    "another opset": (_older_opset, "opset 3"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_graph_with_something_wrong_is_refused(what: str, resnet_pt2: Path, tmp_path: Path) -> None:
    change, message = BROKEN[what]
    with pytest.raises(InvalidModelError, match=message):
        _load_and_build(changed(resnet_pt2, tmp_path / "broken.pt2", MODEL, change))


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"null", b'{"a": 1e999999}', b"\xff\xfe", b"9" * 10_000])
def test_json_that_is_no_model_is_refused(text: bytes, resnet_pt2: Path, tmp_path: Path) -> None:
    with pytest.raises(OctetError):
        _load_and_build(write(tmp_path / "json.pt2", {**entries(resnet_pt2), MODEL: text}))


def _stride_past_the_end(meta: Document) -> None:
    meta["strides"][0] = {"as_int": 10**9}


def _offset_past_the_end(meta: Document) -> None:
    meta["storage_offset"] = {"as_int": 1}


def _negative_stride(meta: Document) -> None:
    meta["strides"][0] = {"as_int": -1}


def _huge_shape(meta: Document) -> None:
    meta["sizes"] = [{"as_int": 2**40}, {"as_int": 2**40}]


def _other_dtype(meta: Document) -> None:
    meta["dtype"] = 8


@pytest.mark.parametrize(
    "change", [_stride_past_the_end, _offset_past_the_end, _negative_stride, _huge_shape, _other_dtype]
)
def test_a_weight_that_does_not_fit_its_bytes_is_refused(
    change: Callable[[Document], None], resnet_pt2: Path, tmp_path: Path
) -> None:
    def change_meta(config: Document) -> None:
        change(config["config"]["fc.weight"]["tensor_meta"])

    with pytest.raises(InvalidModelError, match=r"fc\.weight"):
        _load_and_build(changed(resnet_pt2, tmp_path / "meta.pt2", WEIGHTS_CONFIG, change_meta))


def test_a_payload_outside_its_folder_is_not_reached(resnet_pt2: Path, tmp_path: Path) -> None:
    def escape(config: Document) -> None:
        config["config"]["fc.weight"]["path_name"] = "../../../../../etc/passwd"

    with pytest.raises(InvalidArchiveError, match="no record"):
        _load_and_build(changed(resnet_pt2, tmp_path / "escape.pt2", WEIGHTS_CONFIG, escape))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


ODD = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    "",
    "x",
    "a.b",
    [],
    [[]],
    {},
    {"as_int": 1},
    {"as_tensor": {"name": "x"}},
    {"": None},
]


@pytest.mark.parametrize("entry", [MODEL, WEIGHTS_CONFIG])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_another_kind_gives_one_of_our_errors(
    entry: str, resnet_pt2: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = entries(resnet_pt2)
    document = json.loads(content[entry])
    places = [place for place in _places(document) if place]
    *parents, last = places[data.draw(st.integers(0, len(places) - 1))]
    owner = document
    for key in parents:
        owner = owner[key]
    owner[last] = data.draw(st.sampled_from(ODD))
    content[entry] = json.dumps(document).encode()
    path = write(tmp_path / "odd.pt2", content)
    with contextlib.suppress(OctetError):
        _load_and_build(path)


@pytest.mark.timeout(40)  # it took minutes while each call was numbered from 1 anew
def test_calls_without_number_in_one_module_are_named_in_no_time(resnet_pt2: Path, tmp_path: Path) -> None:
    def multiply(document: Document) -> None:
        relu = next(node for node in nodes(document) if "relu" in node["target"])
        metadata = {"nn_module_stack": "block,block,Block"}
        graph, value = document["graph_module"]["graph"], "x"
        for number in range(30_000):
            source = {"name": "self", "arg": {"as_tensor": {"name": value}}, "kind": 1}
            value = f"relu_more_{number}"
            result = {"as_tensor": {"name": value}}
            graph["nodes"].append(
                {**relu, "target": "torch.ops.aten.relu.default", "inputs": [source], "outputs": [result]}
                | {"metadata": metadata}
            )
        document["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"]["as_tensor"]["name"] = value
        meta = next(iter(graph["tensor_values"].values()))
        graph["tensor_values"][value] = meta

    program = octet.load(changed(resnet_pt2, tmp_path / "many.pt2", MODEL, multiply))
    assert len({layer.name for layer in program.layers}) == 30_000


def test_a_path_through_thousands_of_containers_is_cut_short(resnet_pt2: Path, tmp_path: Path) -> None:
    def deepen(document: Document) -> None:
        for node in nodes(document):
            node["metadata"]["nn_module_stack"] = f"a,{'.'.join('a' * 480)},Block"

    program = octet.load(changed(resnet_pt2, tmp_path / "deep.pt2", MODEL, deepen))
    assert max(layer.name.count(".") for layer in program.layers) <= 33


@pytest.mark.parametrize("name", ["", "a b", "class", "stride=__import__('os').mkdir(CANARY), stride", "é"])
def test_the_name_of_an_argument_never_becomes_code(name: str, resnet_pt2: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"

    def rename(document: Document) -> None:
        pool = next(node for node in nodes(document) if "max_pool2d" in node["target"])
        pool["inputs"][1]["name"] = name.replace("CANARY", repr(str(canary)))

    path = changed(resnet_pt2, tmp_path / "named.pt2", MODEL, rename)
    with pytest.raises(InvalidModelError, match="cannot name an argument"):
        octet.load(path).module()(torch.randn(1, 3, 32, 32))
    assert not canary.exists()


@pytest.mark.parametrize("path", ["layer1.class.relu", "lambda"])
def test_a_module_may_be_named_after_a_word_of_python(path: str, resnet_pt2: Path, tmp_path: Path) -> None:
    def rename(document: Document) -> None:
        for node in nodes(document):
            if "relu" in node["target"]:
                node["metadata"]["nn_module_stack"] = f"a,{path},torch.nn.modules.activation.ReLU"

    module = octet.load(changed(resnet_pt2, tmp_path / "named.pt2", MODEL, rename)).module()
    assert module(torch.randn(1, 3, 32, 32)).shape == (1, 5)
