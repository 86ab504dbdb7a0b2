"""Calibration: the observed model sees data, and its observers find the ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization import disable_fake_quant, enable_fake_quant, enable_observer
from torch.fx import Interpreter

from octet.errors import QuantizationFailedError
from octet.quantization.graph_mode import is_observer, unit_of
from octet.quantization.training.fakes import fakes_of
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.fx import GraphModule, Node

    from octet.data.samples import Samples
    from octet.quantization.plan import Unit


def calibrate(
    observed: GraphModule, samples: Samples, batch_size: int, on_step: Callable[[int, int], None]
) -> frozenset[Unit]:
    """Runs all of `samples` through `observed`, with the rounding not yet faked; `on_step` gets (done, all) samples.

    Returns:
        The layers and calls that no value reached, or that gave none: there is no range for what they read or give.

    Raises:
        QuantizationFailedError: If a value that is observed is not finite.
    """
    observed.eval()
    observed.apply(enable_observer)
    observed.apply(disable_fake_quant)
    watch, done = _Watch(observed), 0
    with torch.no_grad(), kept(observed):
        for batch in samples.batches(batch_size):
            watch.run(*batch.inputs)
            done += batch.count
            on_step(done, len(samples))
    observed.apply(enable_fake_quant)
    for fake in fakes_of(observed):
        fake.settle()
    return watch.unreached()


class _Watch(Interpreter):
    """Runs an observed graph, and looks at what its observers get."""

    extra_traceback = False

    def __init__(self, observed: GraphModule) -> None:
        super().__init__(observed)
        self._observers = {node for node in observed.graph.nodes if is_observer(node, observed)}
        self._unreached = {node for node in self._observers if not self._is_dynamic(node)}

    def run_node(self, n: Node) -> Any:
        """Gives what the node gives."""
        if n in self._observers:
            self._look_at(n, self.env[n.all_input_nodes[0]])
        return super().run_node(n)

    def unreached(self) -> frozenset[Unit]:
        """What the observers that got nothing stand before or behind."""
        beside = [node for n in self._unreached for node in (n.all_input_nodes[0], *_layers_of(n.users))]
        return frozenset(unit for node in beside if (unit := unit_of(node)))

    def _is_dynamic(self, node: Node) -> bool:
        """Whether the range is found at every call, not here."""
        return bool(getattr(self.fetch_attr(str(node.target)), "is_dynamic", False))

    def _look_at(self, node: Node, value: Tensor) -> None:
        if not value.isfinite().all():
            source = node.all_input_nodes[0]
            what = f"layer {source.target!r}" if source.op == "call_module" else f"call {source.name!r}"
            raise QuantizationFailedError(
                f"On calibration data, the {what} gives values that are NaN or infinite: they have no range.",
                hint="Find out for which samples the float model does so, and leave them out.",
            )
        if value.numel():
            self._unreached.discard(node)


def _layers_of(users: Any) -> list[Node]:
    return [user for user in users if user.op == "call_module"]
