"""The modules that fake the rounding: calibration finds the range of each, and training may follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.ao.quantization import FakeQuantize

from octet.quantization.observers.of_torch import MovingAverageObserver, PerChannelMovingAverageObserver

if TYPE_CHECKING:
    from torch import Tensor, nn

    from octet.quantization.observers.scales import Scaled


class Fake(FakeQuantize):
    """torch's, with a scale that is looked for once: some observers search long for it, torch at every call.

    While the rounding is off it only observes; then `settle` takes the scale from that, and `follow` lets the range
    follow the tensor where training moves it.
    """

    activation_post_process: Scaled

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803 - torch's name
        """Gives `X` back, as it comes back from its integers if the rounding is on."""
        if self.fake_quant_enabled[0]:
            rounded: Tensor = super().forward(X)  # type: ignore[no-untyped-call] # torch does not annotate it
            return rounded
        if self.observer_enabled[0]:
            self.activation_post_process(X.detach())
        return X

    def settle(self) -> None:
        """Takes the scale from what was observed."""
        scale, zero_point = self.activation_post_process.calculate_qparams()
        self.scale.resize_(scale.shape).copy_(scale)
        self.zero_point.resize_(zero_point.shape).copy_(zero_point)

    def follow(self) -> None:
        """Lets a moving average of the extremes take over from the observer, from the range that it found."""
        found = self.activation_post_process
        if found.seen:
            follower = self._follower(found.power_of_two)
            for buffer, end in zip((follower.min_val, follower.max_val), found.kept_range(), strict=True):
                buffer.resize_(end.shape if self.is_per_channel else ()).copy_(end.reshape(buffer.shape))
            self.activation_post_process = follower.to(self.scale.device)

    def _follower(self, power_of_two: bool) -> Scaled:
        arguments: dict[str, Any] = {
            "dtype": self.dtype,
            "qscheme": self.qscheme,
            "quant_min": self.quant_min,
            "quant_max": self.quant_max,
            "power_of_two": power_of_two,
        }
        if self.is_per_channel:
            return PerChannelMovingAverageObserver(ch_axis=self.ch_axis, **arguments)
        return MovingAverageObserver(**arguments)


def fakes_of(observed: nn.Module) -> list[Fake]:
    """The modules of `observed` that fake the rounding. torch's own, of a range that is known, are not among them."""
    return [module for module in observed.modules() if isinstance(module, Fake)]
