"""Runs a graph call by call on all of its data, so that a layer can be changed before anything reads what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Interpreter

from octet.kernels import WEIGHTED
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn
    from torch.fx import GraphModule

    from octet.data.samples import Samples

MOST_SAMPLES = 64
"""What is between two calls is kept in memory for all of them."""


def in_lockstep(
    module: GraphModule,
    samples: Samples,
    batch_size: int,
    visit: Callable[[str, nn.Module, list[Tensor]], None],
) -> None:
    """Runs `module` on at most `MOST_SAMPLES`; `visit` gets each layer with a weight as its turn comes.

    It gets the path of the call, the layer, and for each batch what the layer is about to read.
    """
    batches = [batch.inputs for batch in samples.take(slice(0, MOST_SAMPLES)).batches(batch_size)]
    runs = [_Run(module, inputs) for inputs in batches]
    with torch.no_grad(), kept(module):
        for node in module.graph.nodes:
            layer = weighted(module.get_submodule(str(node.target))) if node.op == "call_module" else None
            if layer is not None:
                visit(str(node.target), layer, [run.env[node.all_input_nodes[0]] for run in runs])
            for run in runs:
                run.step(node)


def weighted(called: nn.Module) -> Any:
    """The linear layer or convolution that a call of `called` starts with; None if it starts with something else."""
    # What trains is the layer itself, and yet a sequence to torch: of what fakes its rounding.
    if _is_weighted(called):
        return called
    return called[0] if isinstance(called, torch.nn.Sequential) and _is_weighted(called[0]) else None


def _is_weighted(called: nn.Module) -> bool:
    return any(kind.__name__ in WEIGHTED for kind in type(called).__mro__)


class _Run(Interpreter):
    """One batch on its way through a graph."""

    def __init__(self, module: GraphModule, inputs: tuple[Tensor, ...]) -> None:
        super().__init__(module)
        self.args_iter = iter(inputs)

    def step(self, node: Any) -> None:
        """Makes one call, and forgets what no later one reads."""
        self.env[node] = self.run_node(node)
        for done in self.user_to_last_uses.get(node, ()):
            del self.env[done]
