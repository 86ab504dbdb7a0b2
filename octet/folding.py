"""Which batch norms become part of the layer before them: the rules that planning and `octet inspect` go by.

A batch norm scales and shifts each channel of what it reads. A layer can do that itself if what stands between the two
only moves the layer's values or averages values of one channel, and the norm's channels are still the layer's.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"})

NORM_CHANNEL = 1
"""The dimension that batch norms work along."""


@dataclass(frozen=True, slots=True)
class Move:
    """A call that gives on what one layer made.

    Attributes:
        name: Of the function, method or module type, without its package.
        args: What it is called with besides the tensor.
        kwargs: The same by name.
        before: Sizes of what it reads; anything that can be compared.
        after: Sizes of what it gives.
    """

    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    before: Sequence[Any] = ()
    after: Sequence[Any] = ()


def output_channel(type_name: str, rank: int) -> int:
    """The dimension that holds the channels of what a linear layer or a convolution gives."""
    return rank - 1 if type_name == "Linear" else rank - 1 - int(type_name[-2])


def is_move(name: str) -> bool:
    """Whether a scale per channel may be moved past calls of that name."""
    return name in _MOVES


def moved_channel(move: Move, channel: int) -> int | None:
    """Where dimension `channel` is after `move`; None if a scale per channel cannot be moved past it."""
    follow = _MOVES.get(move.name)
    return follow(move, channel) if follow and move.before and move.after else None


def _stays(_: Move, channel: int) -> int:
    return channel


def _transposed(move: Move, channel: int) -> int | None:
    if not _are_numbers(move.args):
        return None
    one, other = (int(dim) % len(move.before) for dim in move.args)
    return {one: other, other: one}.get(channel, channel)


def _permuted(move: Move, channel: int) -> int | None:
    dims = move.args[0] if len(move.args) == 1 and isinstance(move.args[0], (list, tuple)) else move.args
    return [dim % len(dims) for dim in dims].index(channel) if _are_numbers(dims) else None


def _reshaped(move: Move, channel: int) -> int | None:
    """Where the same size stands with all sizes before it, or all behind it, as they were: values keep their order."""
    before, after = tuple(move.before), tuple(move.after)
    for place, size in enumerate(after):
        alike = before[:channel] == after[:place] or before[channel + 1 :] == after[place + 1 :]
        if size == before[channel] and alike:
            return place
    return None


_PADDING, _DIVISOR = 2, 5


def _averaged(move: Move, channel: int) -> int | None:
    """An average of values that were all shifted alike is shifted alike, unless zeros of a padding are among them."""
    given = dict(enumerate(move.args))
    padding = move.kwargs.get("padding", given.get(_PADDING, 0))
    divisor = move.kwargs.get("divisor_override", given.get(_DIVISOR))
    return None if any(_each(padding)) or divisor is not None else channel


_MOVES: dict[str, Callable[[Move, int], int | None]] = {
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"), _stays),
    **dict.fromkeys(("Identity", "contiguous", "clone"), _stays),
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "Flatten"), _reshaped),
    "transpose": _transposed,
    "permute": _permuted,
    **{f"avg_pool{dims}d": _averaged for dims in (1, 2, 3)},
    **{f"adaptive_avg_pool{dims}d": _stays for dims in (1, 2, 3)},
}
"""What a scale per channel can be moved past; dropout does nothing in a model that is not trained."""


def _are_numbers(dims: Sequence[Any]) -> bool:
    return all(isinstance(dim, int) for dim in dims)


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)
