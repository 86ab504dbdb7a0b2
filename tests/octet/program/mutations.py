"""Makes hostile archives out of good ones: what a file may say is changed at random, with values of all kinds."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from pt2 import CONSTANTS_CONFIG, MODEL, WEIGHTS_CONFIG, Document, nodes

from octet.program.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from octet.program import Program

CANARY = "octet-canary"
"""What every piece of code in here would make: a folder of this name, in the current directory."""
MAX_ELEMENTS = 2**22
"""Of an input that is made up."""
CODE = f"__import__('os').mkdir('{CANARY}')"

NUMBERS = (
    0, 1, -1, 2, 3, 7, 16, -(2**31), 2**31, 2**32, 10**6, 10**9, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400,
)  # fmt: skip
FLOATS = (0.0, -1.5, 1e-320, 1e308, float("inf"), float("nan"))
NAMES = (
    "", "x", "self", "torch", "input_1", "_0", "a.b", "a b", "class", "None", "forward", "training", "graph", "code",
    "_modules", "_parameters", "__class__", "__class__.__init__", "__dict__", "_weight_0", "getattr", "print", "é",
    "a\x00b", "\ud800", "../../etc/passwd", "a" * 5000, CODE, f"x={CODE}", f'a").b or {CODE} or ("',
    f"relu\n    {CODE}",
)  # fmt: skip
TARGETS = (
    "torch.os.system", "builtins.exec", "builtins.eval", "torch.ops.load_library", "torch.ops.aten.__class__",
    "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.ops.prim.Print.default",
    "torch.ops.higher_order.cond", "torch.ops.higher_order.wrap_with_autocast", "torch._C.abort", "_operator.call",
    "torch.sym_max", "aten.relu.default", "", ".", "torch.ops.aten.relu_.default", "octet.program.leaves.arange",
    "torch.ops.aten.set_.source_Storage", "torch.ops.aten.as_strided.default", "torch.ops.aten.empty.memory_format",
)  # fmt: skip
KINDS = (
    "as_none", "as_tensor", "as_tensors", "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools",
    "as_string", "as_strings", "as_sym_int", "as_sym_ints", "as_scalar_type", "as_memory_format", "as_layout",
    "as_device", "as_graph", "as_optional_tensor", "as_optional_tensors", "as_custom_obj", "as_operator", "as_complex",
    "as_nothing",
)  # fmt: skip


def made_up(program: Program) -> tuple[torch.Tensor, ...] | None:
    """Inputs of ones; None if what the file asks for is too large to make."""
    shapes = [[2 if isinstance(size, str) else size for size in spec.shape] for spec in program.inputs]
    if any(min(shape, default=0) < 0 or prod(max(size, 1) for size in shape) > MAX_ELEMENTS for shape in shapes):
        return None
    kinds = [getattr(torch, spec.dtype) for spec in program.inputs]
    return tuple(torch.ones(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))


def mutant(content: dict[str, bytes], random: Random) -> bytes:
    """The bytes of an archive with `content`, changed in one to three ways. The same `random`, the same bytes."""
    content = dict(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        entry = random.choice((MODEL, MODEL, MODEL, MODEL, WEIGHTS_CONFIG, CONSTANTS_CONFIG))
        try:
            document = json.loads(content[entry])
        except ValueError:  # an earlier change has made it no JSON
            continue
        changes = GRAPH_CHANGES if entry == MODEL else DOCUMENT_CHANGES
        with suppress(LookupError, TypeError, AttributeError, ValueError):  # an earlier one has left nothing to change
            random.choice(changes)(document, random)
        content[entry] = _repeat_a_key(json.dumps(document), random).encode()
    archive = _packed(content, random)
    return random.choice(ARCHIVE_CHANGES)(archive, random) if random.random() < 0.2 else archive


def _packed(content: dict[str, bytes], random: Random) -> bytes:
    compression = zipfile.ZIP_DEFLATED if random.random() < 0.01 else zipfile.ZIP_STORED
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)  # without the time of day
    return file.getvalue()


def _repeat_a_key(text: str, random: Random) -> str:
    """A document may say two things under one key."""
    if random.random() > 0.03:
        return text
    key = random.choice(('"target"', '"name"', '"arg"', '"sizes"', '"as_tensor"', '"graph"'))
    return text.replace(key + ":", f"{key}: {json.dumps(_odd(random))}, {key}:", random.choice((1, 5)))


# Changes of any document.


def _odd(random: Random) -> Any:
    """A value of any kind."""
    return random.choice(
        (
            None, True, False, "text", [], {}, [[]], {"as_int": 1}, {"as_none": True}, {"": None}, [None] * 70,
            random.choice(NUMBERS), random.choice(NUMBERS), random.choice(FLOATS), random.choice(NAMES),
            {random.choice(KINDS): random.choice((None, True, 1, "x", [], {}, {"name": "x"}, [{"name": "x"}]))},
            _deep(random.choice((20, 150, 300))),
        )
    )  # fmt: skip


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"as_graph": {"graph": value}} if depth % 20 == 0 else [value]
    return value


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _place(document: Document, random: Random) -> tuple[Any, Any]:
    """The owner and the key of a value; half of the time one of what a call takes or gives."""
    calls = _calls(document)
    if calls and random.random() < 0.5:
        document = {key: part for key, part in random.choice(calls).items() if key in {"target", "inputs", "outputs"}}
    *parents, last = random.choice(list(_places(document)))
    owner: Any = document
    for key in parents:
        owner = owner[key]
    return owner, last


def _texts(document: Document) -> list[tuple[Any, Any]]:
    """Where names, targets and other short texts are."""
    found = []
    for path in _places(document):
        owner: Any = document
        for key in path[:-1]:
            owner = owner[key]
        if isinstance(owner[path[-1]], str) and len(owner[path[-1]]) < 100:
            found.append((owner, path[-1]))
    return found


def _calls(document: Document) -> list[Any]:
    return [node for node in nodes(document) if isinstance(node, dict)] if "graph_module" in document else []


def _set(document: Document, random: Random) -> None:
    owner, key = _place(document, random)
    owner[key] = _odd(random)


def _set_number(document: Document, random: Random) -> None:
    for _ in range(50):
        owner, key = _place(document, random)
        if isinstance(owner[key], int | float):
            owner[key] = random.choice((*NUMBERS, *FLOATS))
            return


def _delete(document: Document, random: Random) -> None:
    owner, key = _place(document, random)
    del owner[key]


def _swap(document: Document, random: Random) -> None:
    (one, first), (other, second) = _place(document, random), _place(document, random)
    one[first], other[second] = copy.deepcopy(other[second]), copy.deepcopy(one[first])


def _duplicate(document: Document, random: Random) -> None:
    owner, key = _place(document, random)
    if isinstance(owner, list):
        owner[key:key] = [copy.deepcopy(owner[key]) for _ in range(random.choice((1, 1, 50)))]
    else:
        owner[random.choice(NAMES)] = copy.deepcopy(owner[key])


def _rename(document: Document, random: Random) -> None:
    """One text becomes another, here or everywhere."""
    texts = _texts(document)
    owner, key = random.choice(texts)
    other, other_key = random.choice(texts)
    old, new = owner[key], random.choice((other[other_key], random.choice(NAMES)))
    owner[key] = new
    if old and random.random() < 0.5:
        changed = json.loads(json.dumps(document).replace(json.dumps(old), json.dumps(new)))
        document.clear()
        document.update(changed)


# Changes of a graph.


def _retarget(document: Document, random: Random) -> None:
    random.choice(_calls(document))["target"] = random.choice((random.choice(TARGETS), _operator(random)))


def _operator(random: Random) -> str:
    name = random.choice(sorted(OPS))
    if not name.startswith("aten."):
        return name
    return f"torch.ops.{name}" if name.count(".") > 1 else f"torch.ops.{name}.default"


def _reorder(document: Document, random: Random) -> None:
    calls = nodes(document)
    at, to = random.randrange(len(calls)), random.randrange(len(calls))
    calls[at], calls[to] = calls[to], calls[at]


def _repeat_a_call(document: Document, random: Random) -> None:
    call = copy.deepcopy(random.choice(_calls(document)))
    calls = nodes(document)
    at = random.randrange(len(calls))
    for number in range(random.choice((1, 3, 300))):
        again = copy.deepcopy(call)
        for output in again["outputs"]:
            for body in output.values():
                if isinstance(body, dict) and "name" in body:
                    body["name"] += f"_again_{number}"
        calls.insert(at, again)


def _insert_a_call(document: Document, random: Random) -> None:
    """Any operator, with any arguments, its result in the place of another's or of the output."""
    graph = document["graph_module"]["graph"]
    at = random.randrange(len(graph["nodes"]) + 1)
    names = [name for node in graph["nodes"][:at] for name in _made(node)] + list(graph["tensor_values"])[:3]
    operator = _operator(random)
    inputs = [
        {"name": name, "arg": _argument(names, random), "kind": random.choice((1, 1, 2))}
        for name in random.sample(ARGUMENTS, random.randint(0, 4))
    ]
    if random.random() < 0.8:
        inputs.insert(0, {"name": random.choice(("self", "input")), "arg": _tensor(names, random), "kind": 1})
    made = random.choice((names[-1:] or ["x"])[0:1]) if random.random() < 0.1 else "inserted"
    call = {"target": operator, "inputs": inputs, "outputs": [{"as_tensor": {"name": made}}], "metadata": {}}
    graph["nodes"].insert(at, call)
    graph["tensor_values"][made] = copy.deepcopy(random.choice(list(graph["tensor_values"].values())))
    _use(document, made, at, random)


def _use(document: Document, made: str, at: int, random: Random) -> None:
    later = [
        argument for node in nodes(document)[at + 1 :] for argument in node["inputs"] if "as_tensor" in argument["arg"]
    ]
    if later and random.random() < 0.5:
        random.choice(later)["arg"]["as_tensor"]["name"] = made
    else:
        output = random.choice(document["graph_module"]["signature"]["output_specs"])
        output["user_output"]["arg"] = {"as_tensor": {"name": made}}


ARGUMENTS = (
    "dim", "size", "sizes", "shape", "repeats", "dtype", "other", "weight", "bias", "indices", "mask", "value", "pad",
    "kernel_size", "stride", "padding", "output_size", "scale_factors", "num_classes", "start", "end", "step", "index",
    "steps", "p", "k", "n", "equation", "tensors", "normalized_shape", "eps", "num_groups", "src", "mode", "dims",
    "fill_value",
)  # fmt: skip


def _argument(names: list[str], random: Random) -> Document:
    return random.choice(
        (
            {"as_int": random.choice(NUMBERS)}, {"as_int": random.randint(-3, 20)}, _tensor(names, random),
            {"as_ints": random.choices((*NUMBERS, *range(1, 20)), k=random.randint(0, 6))},
            {"as_float": random.choice(FLOATS)}, {"as_bool": random.random() < 0.5}, {"as_none": True},
            {"as_tensors": [_tensor(names, random)["as_tensor"]] * random.choice((0, 1, 2, 1000))},
            {"as_string": random.choice(("bilinear", "same", "reflect", "ij,jk->ik", *NAMES))},
            {"as_scalar_type": random.randint(0, 30)}, {"as_memory_format": random.randint(0, 9)},
            {"as_sym_ints": [{"as_name": random.choice(names or ["x"])}, {"as_int": random.choice(NUMBERS)}]},
        )
    )  # fmt: skip


def _tensor(names: list[str], random: Random) -> Document:
    return {"as_tensor": {"name": random.choice(names or ["x"])}}


def _made(node: Document) -> list[str]:
    return [output["as_tensor"]["name"] for output in node["outputs"] if "as_tensor" in output]


def _resize(document: Document, random: Random) -> None:
    """Another form of a tensor than the one it has."""
    metas = document["graph_module"]["graph"]["tensor_values"]
    meta = metas[random.choice(list(metas))]
    part = random.choice(("sizes", "strides", "storage_offset", "dtype", "layout"))
    if part in {"dtype", "layout"}:
        meta[part] = random.randint(0, 40)
    elif part == "storage_offset":
        meta[part] = {"as_int": random.choice(NUMBERS)}
    else:
        meta[part] = [
            random.choice(({"as_int": random.choice(NUMBERS)}, {"as_expr": {"expr_str": CODE}}, *meta[part]))
        ] * (random.randint(0, 8))


def _recontext(document: Document, random: Random) -> None:
    """Another structure of what is taken and given."""
    call = document["graph_module"]["module_call_graph"][0]
    text = random.choice(
        (CODE, "[1, {}]", "[" * 5000, '[1, {"type": "os.system", "context": "\\"", "children_spec": []}]')
    )
    call["signature"][random.choice(("in_spec", "out_spec"))] = text


DOCUMENT_CHANGES: tuple[Callable[[Document, Random], None], ...] = (
    _set, _set, _set_number, _set_number, _delete, _swap, _duplicate, _rename,
)  # fmt: skip
GRAPH_CHANGES: tuple[Callable[[Document, Random], None], ...] = (
    *DOCUMENT_CHANGES, _retarget, _reorder, _repeat_a_call, _insert_a_call, _insert_a_call, _resize, _recontext,
)  # fmt: skip


# Changes of an archive's bytes.


def _flip(archive: bytes, random: Random) -> bytes:
    data = bytearray(archive)
    for _ in range(random.choice((1, 4, 32))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def _cut(archive: bytes, random: Random) -> bytes:
    return archive[: random.randrange(len(archive))]


def _splice(archive: bytes, random: Random) -> bytes:
    """A piece of the archive again, somewhere in it: two ends, two directories, something before the start."""
    at, length = random.randrange(len(archive)), random.choice((4, 22, 100, 5000))
    to = random.choice((0, len(archive), random.randrange(len(archive))))
    return archive[:to] + archive[at : at + length] + archive[to:]


def _lie(archive: bytes, random: Random) -> bytes:
    """Another number in a header, in the directory or in the end record."""
    marks = [at for at in range(len(archive)) if archive[at : at + 4] in {b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"}]
    at = random.choice(marks) + random.randrange(4, 44, 2)
    form, most = random.choice((("<H", 0xFFFF), ("<I", 0xFFFFFFFF)))
    number = struct.pack(form, random.choice((0, 1, 8, 0x7FFF, most - 1, most, random.randint(0, most))))
    return archive[:at] + number + archive[at + len(number) :]


ARCHIVE_CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _splice, _lie, _lie)
