"""Names of nested inputs and outputs: the path of each value through the containers that the source keeps it in.

torch.export writes the containers as a pytree spec. A container's context is data here: its keys are read out of it as
JSON, and no type is ever looked up.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.pt2 import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_KEY = 100
"""A longer key is not worth a name; and a path holds one key for each container."""

_ARGUMENTS = 2  # positional and keyword


def input_names(signature: schema.CallSignature | None, count: int) -> list[str] | None:
    """The path of each of `count` inputs: `x`, `pair.0`, `batch.mask`; None if the file does not say."""
    if signature is None or not signature.in_spec:
        return None
    tree = _treespec(signature.in_spec, "input")
    if len(tree.children_spec) != _ARGUMENTS:
        return None
    positional, keyword = tree.children_spec
    keys = [*(signature.forward_arg_names or ())[: len(positional.children_spec)], *_keys(keyword)]
    children = (*positional.children_spec, *keyword.children_spec)
    if len(keys) != len(children) or not all(map(_is_key, keys)):
        return None
    paths = [path for key, child in zip(keys, children, strict=True) for path in _leaves(child, (key,))]
    return _unique(paths, "input") if len(paths) == count else None


def output_names(signature: schema.CallSignature | None, count: int) -> list[str]:
    """The path of each of `count` outputs: `logits`, `hidden_states.0`; `output` where the model returns just one."""
    paths = list(_leaves(_treespec(signature.out_spec, "output"), ())) if signature else []
    if len(paths) != count:
        paths = [(str(position),) for position in range(count)]
    return _unique(paths, "output")


def _unique(paths: Sequence[tuple[str, ...]], nameless: str) -> list[str]:
    """The paths as names, a further use of one numbered: a key may hold a dot."""
    names = [".".join(path) or nameless for path in paths]
    taken, seen = set(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        free = name
        while seen[name] > 1 and (free := f"{name}_{seen[name]}") in taken:
            seen[name] += 1
        taken.add(free)
        unique.append(free)
    return unique


def _treespec(text: str, what: str) -> schema.Treespec:
    version, tree = schema.parse(schema.TreespecFile, text, f"The model's {what} structure").root
    if version != schema.TREESPEC_VERSION:
        raise InvalidModelError(f"The model's {what} structure has version {version}, which Octet does not read.")
    return tree


def _leaves(tree: schema.Treespec, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if tree.type is None:
        yield path
    for key, child in zip(_keys(tree), tree.children_spec, strict=True):
        yield from _leaves(child, (*path, key))


def _keys(tree: schema.Treespec) -> list[str]:
    """The names of a container's children, or their positions where the context does not name each of them."""
    context = tree.context
    if isinstance(context, str):
        try:
            context = json.loads(context)
        except (ValueError, RecursionError):
            context = None
    for form in _CONTEXTS:
        keys = form(context)
        if isinstance(keys, list) and len(keys) == len(tree.children_spec) and all(map(_is_key, keys)):
            return [str(key) for key in keys]
    return [str(position) for position in range(len(tree.children_spec))]


def _is_key(key: Any) -> bool:
    return isinstance(key, str | int) and 0 < len(str(key)) <= MAX_KEY


_CONTEXTS: tuple[Callable[[Any], Any], ...] = (
    lambda context: context,  # dict, OrderedDict, transformers' ModelOutput: the keys
    lambda context: context[0] if isinstance(context, list) and context else None,  # dataclass: [fields, those None]
    lambda context: context.get("dict_context") if isinstance(context, dict) else None,  # defaultdict
    lambda context: context.get("fields") if isinstance(context, dict) else None,  # namedtuple, of torch before 2.9
)
