"""Attention, and the softmax of attention that is written out. Both are functions whose operands FX observes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.program.ops.rows import Rebuild, function
from octet.program.steps import Expression, Function

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node, Value


def attention(node: Node, _: Graph) -> Expression:
    """`scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, *, scale, enable_gqa)`.

    Its dropout is left out, as that of modules in eval mode is: an export in train mode has one.
    """
    operands = (node.ref("query"), node.ref("key"), node.ref("value"))
    options: dict[str, Value] = {
        name: node.args[name] for name in ("attn_mask", "is_causal", "scale", "enable_gqa") if name in node.args
    }
    return Function("torch.nn.functional.scaled_dot_product_attention", operands, options)


OPS: dict[str, Rebuild] = {
    "scaled_dot_product_attention": attention,
    "softmax.int": function("torch.softmax"),
    "special_softmax": function("torch.softmax"),
    "log_softmax.int": function("torch.log_softmax"),
    "special_log_softmax": function("torch.log_softmax"),
}
