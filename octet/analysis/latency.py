"""Which share of a model's time each layer takes."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import Interpreter

from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.fx import GraphModule, Node

MOST_ROUNDS = 50


def latency_shares(
    models: tuple[GraphModule, ...], names: Mapping[str, str], inputs: tuple[Tensor, ...], seconds: float
) -> tuple[dict[str, float], ...]:
    """For each of `models` the share, 0 to 1, of its time that each layer takes; the models are run in turn.

    Each call in a graph is timed on its own, eager, and the median of its rounds is taken. A conversion counts for the
    layer that it is for: to int8 for the layer that reads it, to float for the layer whose output it reads. What lies
    between layers counts for none, so that shares add up to less than 1.

    Args:
        models: Graphs of the same layers. The caller sees to it that nobody else measures, and sets the threads.
        names: Path of each layer of interest -> the name to count it under.
        inputs: One batch.
        seconds: After which no further round is begun; there is one after the warm-up in any case.
    """
    timers = [_Timer(model) for model in models]
    with torch.inference_mode(), kept(*models):
        for timer in timers:
            timer.run(*inputs)
            timer.taken.clear()
        end = time.perf_counter() + seconds
        for number in range(MOST_ROUNDS):
            if number and time.perf_counter() > end:
                break
            for timer in timers:
                timer.run(*inputs)
    return tuple(_shares(timer.taken, names) for timer in timers)


class _Timer(Interpreter):
    """Runs a graph and times its calls.

    Attributes:
        taken: Seconds of each call, round by round.
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.taken: dict[Node, list[float]] = defaultdict(list)
        self._node: Node | None = None

    def run_node(self, n: Node) -> Any:
        self._node = n
        return super().run_node(n)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._timed(self.fetch_attr(target), args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._timed(target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._timed(getattr(args[0], target), args[1:], kwargs)

    def _timed(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        assert self._node is not None  # noqa: S101 -- `run_node` comes first
        start = time.perf_counter()
        output = call(*args, **kwargs)
        self.taken[self._node].append(time.perf_counter() - start)
        return output


def _shares(taken: Mapping[Node, list[float]], names: Mapping[str, str]) -> dict[str, float]:
    medians = {node: float(np.median(rounds)) for node, rounds in taken.items()}
    whole = sum(medians.values())
    shares: dict[str, float] = defaultdict(float)
    for node, median in medians.items():
        layer = _layer(node, names)
        if layer is not None:
            shares[layer] += median / whole
    return dict(shares)


def _layer(node: Node, names: Mapping[str, str]) -> str | None:
    """The layer that `node` counts for."""
    if node.target is torch.quantize_per_tensor:
        readers = [names.get(str(user.target)) for user in node.users if user.op == "call_module"]
        return next(filter(None, readers), None)
    if node.op == "call_method" and node.target == "dequantize":
        node = node.all_input_nodes[0]
    return names.get(str(node.target)) if node.op == "call_module" else None
