"""Recurrent layers and their cells: each becomes the `nn` module, for which engines have dynamic int8 kernels.

An initial state of zeros is left out: the module makes it itself, for any batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octet.errors import InvalidModelError
from octet.program.ops.operands import integer, shape_of, tensors_of, weights_of
from octet.program.ops.rows import operator
from octet.program.steps import Expression, Module

if TYPE_CHECKING:
    from octet.program.graph import Graph, Node, Value
    from octet.program.ops.rows import Rebuild

ZEROS = frozenset({"aten.zeros.default", "aten.new_zeros.default", "aten.zeros_like.default"})


def recurrent(name: str, kind: str, gates: int, **fixed: Any) -> Rebuild:
    """`lstm.input`, `gru.input`, `rnn_*.input`: (input, hx, params, has_biases, num_layers, dropout, …).

    The graph returns (output, h, c) flat, an LSTM module (output, (h, c)).
    """

    def rebuild(node: Node, graph: Graph) -> Expression:
        params = tensors_of(node, "params")
        if not all(graph.weight(ref) for ref in params):
            return operator(name)(node, graph)
        biased, layers = bool(node.required("has_biases")), integer(node, "num_layers", 1)
        bidirectional = bool(node.required("bidirectional"))
        directions = 1 + bidirectional
        each, rest = divmod(len(params), layers * directions)
        projected = each == (5 if biased else 3)
        if rest or each != 2 + 2 * biased + projected:
            raise InvalidModelError(f"{node} has weights that are not an {kind}'s.")
        rows, inputs = shape_of(graph, params[0], 2)
        options = {
            "input_size": inputs,
            "hidden_size": rows // gates,
            "num_layers": layers,
            "bias": biased,
            "batch_first": node.required("batch_first"),
            "dropout": node.required("dropout"),
            "bidirectional": bidirectional,
            **fixed,
        }
        if projected:
            options["proj_size"] = shape_of(graph, params[1], 2)[1]
        names = _weight_names(layers, directions, biased, projected)
        results: tuple[tuple[int, ...], ...] = ((0,), (1, 0), (1, 1)) if kind == "LSTM" else ((0,), (1,))
        state = _initial_state(node, graph)
        return Module(kind, options, dict(zip(names, params, strict=True)), (node.ref("input"), *state), results)

    return rebuild


def cell(name: str, kind: str, gates: int, **fixed: Any) -> Rebuild:
    """`lstm_cell`, `gru_cell`, `rnn_*_cell`: (input, hx, w_ih[gates * hidden, input], w_hh, b_ih, b_hh)."""
    attributes = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}

    def rebuild(node: Node, graph: Graph) -> Expression:
        weights = weights_of(node, graph, *attributes)
        if weights is None or len(weights) not in {2, 4}:
            return operator(name)(node, graph)
        rows, inputs = shape_of(graph, weights["w_ih"], 2)
        options = {"input_size": inputs, "hidden_size": rows // gates, "bias": "b_ih" in weights, **fixed}
        owned = {attributes[argument]: ref for argument, ref in weights.items()}
        results: tuple[tuple[int, ...], ...] = ((0,), (1,)) if kind == "LSTMCell" else ((),)
        return Module(kind, options, owned, (node.ref("input"), *_initial_state(node, graph)), results)

    return rebuild


def _weight_names(layers: int, directions: int, biased: bool, projected: bool) -> list[str]:
    stems = [
        "weight_ih",
        "weight_hh",
        *(["bias_ih", "bias_hh"] if biased else []),
        *(["weight_hr"] if projected else []),
    ]
    suffixes = [f"_l{layer}{way}" for layer in range(layers) for way in ("", "_reverse")[:directions]]
    return [stem + suffix for suffix in suffixes for stem in stems]


def _initial_state(node: Node, graph: Graph) -> tuple[Value, ...]:
    hidden = node.required("hx")
    states = tensors_of(node, "hx") if isinstance(hidden, list) else [node.ref("hx")]
    makers = [graph.producer(state) for state in states]
    if all(maker is not None and maker.target in ZEROS for maker in makers):
        return ()
    return (tuple(states),) if isinstance(hidden, list) else (states[0],)


OPS: dict[str, Rebuild] = {
    "lstm.input": recurrent("lstm", "LSTM", gates=4),
    "gru.input": recurrent("gru", "GRU", gates=3),
    "rnn_tanh.input": recurrent("rnn_tanh", "RNN", gates=1, nonlinearity="tanh"),
    "rnn_relu.input": recurrent("rnn_relu", "RNN", gates=1, nonlinearity="relu"),
    "lstm_cell": cell("lstm_cell", "LSTMCell", gates=4),
    "gru_cell": cell("gru_cell", "GRUCell", gates=3),
    "rnn_tanh_cell": cell("rnn_tanh_cell", "RNNCell", gates=1, nonlinearity="tanh"),
    "rnn_relu_cell": cell("rnn_relu_cell", "RNNCell", gates=1, nonlinearity="relu"),
}
