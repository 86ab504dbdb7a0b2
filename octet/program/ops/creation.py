"""Operators that make tensors out of nothing but sizes, where the program's input is.

torch.export notes a device with each of them; here they are made beside the first input. Those that take their sizes as
a list are methods of it, and the others leaves: a second trace could not see an open size in them otherwise.
"""

from __future__ import annotations

from octet.program.graph import Graph, Node, Ref, Value
from octet.program.ops.rows import Rebuild, function, operators, result_dtype
from octet.program.steps import Expression, Function, Method


def filled(value: float) -> Rebuild:
    """`zeros(size)`, `ones(size)`: a tensor of one value. What `empty` holds may be anything, so it is zeros too."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        return _full(node, graph, node.required("size"), value)

    return rebuild


def full(node: Node, graph: Graph) -> Expression:
    """`full(size, fill_value)`."""
    return _full(node, graph, node.required("size"), node.required("fill_value"))


def scalar(node: Node, graph: Graph) -> Expression:
    """`scalar_tensor(s)`."""
    return _full(node, graph, [], node.required("s"))


def arange(node: Node, graph: Graph) -> Expression:
    """`arange(start=0, end, step=1)`; TorchScript has no type for bounds of which only some are integers."""
    bounds = [node.args.get("start", 0), node.required("end"), node.args.get("step", 1)]
    if not any(isinstance(bound, float) for bound in bounds):
        return _leaf("arange", bounds, node, graph)
    return _leaf("arange_of_floats", [_float(bound) for bound in bounds], node, graph)


def spaced(name: str, *, base: bool) -> Rebuild:
    """`linspace(start, end, steps)`, `logspace(start, end, steps, base)`, of numbers."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        bounds = [_float(node.required("start")), _float(node.required("end"))]
        bases = [_float(node.args.get("base", 10.0))] if base else []
        return _leaf(name, [*bounds, node.required("steps"), *bases], node, graph)

    return rebuild


def eye(node: Node, graph: Graph) -> Expression:
    """`eye(n, m=n)`."""
    return _leaf("eye", [node.required("n"), node.args.get("m", node.required("n"))], node, graph)


def triangle(name: str) -> Rebuild:
    """`tril_indices(row, col, offset=0)`, `triu_indices`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        return _leaf(name, [node.required("row"), node.required("col"), node.args.get("offset", 0)], node, graph)

    return rebuild


def window(name: str, **options: float) -> Rebuild:
    """`hann_window(window_length, periodic=True)` and its kin, with what else they take."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        given = [_float(node.args.get(option, default)) for option, default in options.items()]
        return _leaf(name, [node.required("window_length"), node.args.get("periodic", True), *given], node, graph)

    return rebuild


def frequencies(name: str) -> Rebuild:
    """`fft_fftfreq(n, d=1)`, `fft_rfftfreq`."""

    def rebuild(node: Node, graph: Graph) -> Expression:
        return _leaf(name, [node.required("n"), _float(node.args.get("d", 1.0))], node, graph)

    return rebuild


def _leaf(name: str, values: list[Value], node: Node, graph: Graph) -> Expression:
    return Function(f"octet.program.leaves.{name}", (_beside(graph), *values, result_dtype(node, graph)))


def _full(node: Node, graph: Graph, size: Value, value: Value) -> Expression:
    return Method("new_full", (_beside(graph), size, value), {"dtype": result_dtype(node, graph)})


def _float(value: Value) -> Value:
    return float(value) if isinstance(value, int) else value


def _beside(graph: Graph) -> Ref:
    return Ref(graph.inputs[0])


OPS: dict[str, Rebuild] = {
    **dict.fromkeys(
        (
            "zeros",
            "new_zeros",
            "empty.memory_format",
            "new_empty",
            "empty_strided",
            "new_empty_strided",
            "empty_permuted",
        ),
        filled(0.0),
    ),
    **dict.fromkeys(("ones", "new_ones"), filled(1.0)),
    **dict.fromkeys(("full", "new_full"), full),
    "scalar_tensor": scalar,
    "zeros_like": function("torch.zeros_like"),
    "empty_like": function("torch.zeros_like"),
    "ones_like": function("torch.ones_like"),
    "full_like": function("torch.full_like"),
    **dict.fromkeys(("arange", "arange.start", "arange.start_step"), arange),
    "linspace": spaced("linspace", base=False),
    "logspace": spaced("logspace", base=True),
    "eye": eye,
    "eye.m": eye,
    "tril_indices": triangle("tril_indices"),
    "triu_indices": triangle("triu_indices"),
    **dict.fromkeys(("hann_window", "hann_window.periodic"), window("hann_window")),
    **dict.fromkeys(("bartlett_window", "bartlett_window.periodic"), window("bartlett_window")),
    **dict.fromkeys(("blackman_window", "blackman_window.periodic"), window("blackman_window")),
    **dict.fromkeys(
        (
            "hamming_window",
            "hamming_window.periodic",
            "hamming_window.periodic_alpha",
            "hamming_window.periodic_alpha_beta",
        ),
        window("hamming_window", alpha=0.54, beta=0.46),
    ),
    **dict.fromkeys(
        ("kaiser_window", "kaiser_window.periodic", "kaiser_window.beta"), window("kaiser_window", beta=12.0)
    ),
    "fft_fftfreq": frequencies("fftfreq"),
    "fft_rfftfreq": frequencies("rfftfreq"),
    **operators("linspace.Tensor_Tensor linspace.Tensor_Scalar linspace.Scalar_Tensor"),
}
