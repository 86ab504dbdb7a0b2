"""Inputs and outputs in containers that a `.pt2` can name: tuples, lists and dicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def simplify_containers(program: ExportedProgram) -> None:
    """Writes down each named tuple among the inputs and outputs as a dict.

    torch.export.save refuses classes that nobody has registered, and torch's own, such as that of `x.topk(3)`. Only
    what the file says of the containers changes: the tensors and their order stay.
    """
    signature = program.module_call_graph[0].signature
    if signature is not None:
        signature.in_spec, signature.out_spec = _simple(signature.in_spec), _simple(signature.out_spec)


def _simple(spec: TreeSpec) -> TreeSpec:
    if spec.is_leaf():
        return spec
    children = [_simple(child) for child in spec.children()]
    if pytree.is_namedtuple_class(spec.context):
        return TreeSpec(dict, list(spec.context._fields), children)
    if pytree.is_structseq_class(spec.type):
        return TreeSpec(dict, list(spec.type.__match_args__), children)
    return TreeSpec(spec.type, spec.context, children)
