"""Functions that stay one call when the graph is traced again: tracing into them would need sizes that are open."""

from __future__ import annotations

import math

import torch
from torch.fx.node import has_side_effect

Number = int | float


def _float(number: Number) -> float:
    """TorchScript has no type for what is either, but for this one line."""
    return float(number) if isinstance(number, int) else number


def as_strided(value: torch.Tensor, sizes: list[int], strides: list[int], offset: int) -> torch.Tensor:
    """`torch.as_strided` of a tensor whose memory lies as its sizes say."""
    return value.contiguous().as_strided(sizes, strides, offset)


def take_flat(value: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """`torch.take_along_dim` without a dimension, which takes no tensor that is not in one piece."""
    return value.take(indices.flatten())


def view_as_complex(value: torch.Tensor) -> torch.Tensor:
    """`torch.view_as_complex` of any layout: int8 convolutions give channels that lie last."""
    return torch.view_as_complex(value.contiguous())


def matrix_exp(value: torch.Tensor) -> torch.Tensor:
    """`torch.matrix_exp` of any layout."""
    return torch.matrix_exp(value.contiguous())


def fractional_max_pool2d(
    value: torch.Tensor, kernel: list[int], size: list[int], samples: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`torch.ops.aten.fractional_max_pool2d`, whose kernel reads past the tensor for samples outside of [0, 1]."""
    inside = samples.nan_to_num().clamp(0.0, 1.0)
    pooled, places = torch.ops.aten.fractional_max_pool2d(value, kernel, size, inside)
    return pooled, places


def fractional_max_pool3d(
    value: torch.Tensor, kernel: list[int], size: list[int], samples: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`torch.ops.aten.fractional_max_pool3d`, in the same way."""
    inside = samples.nan_to_num().clamp(0.0, 1.0)
    pooled, places = torch.ops.aten.fractional_max_pool3d(value, kernel, size, inside)
    return pooled, places


def batch_norm(  # noqa: PLR0917 - as torch takes them
    value: torch.Tensor,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor]:
    """`torch.nn.functional.batch_norm`, as the first of several results."""
    return (torch.batch_norm(value, weight, bias, mean, variance, training, momentum, eps, False),)


def linalg_eig(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`torch.linalg.eig`, whose kernel crashes on what is not finite."""
    values, vectors = torch.linalg.eig(value.nan_to_num())
    return values, vectors


def linalg_eigvals(value: torch.Tensor) -> torch.Tensor:
    """`torch.linalg.eigvals`, in the same way."""
    made: torch.Tensor = torch.linalg.eigvals(value.nan_to_num())
    return made


def divided(number: Number, by: torch.Tensor, rounding: str, dtype: torch.dtype) -> torch.Tensor:
    """`torch.div` of a number, which TorchScript does not take for the tensor that it is in torch."""
    return torch.div(torch.full([], _float(number), dtype=dtype, device=by.device), by, rounding_mode=rounding)


def fill_diagonal(value: torch.Tensor, fill: float, wrap: bool) -> torch.Tensor:
    """`torch.fill_diagonal_`, which has no form that leaves its argument as it is."""
    return value.clone().fill_diagonal_(fill, wrap)


# Tensors out of sizes, on the device of `beside`.


def arange(beside: torch.Tensor, start: int, end: int, step: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.arange`."""
    return torch.arange(start, end, step, dtype=dtype, device=beside.device)


def arange_of_floats(
    beside: torch.Tensor, start: Number, end: Number, step: Number, dtype: torch.dtype
) -> torch.Tensor:
    """The same, for bounds of which one is no integer."""
    return torch.arange(_float(start), _float(end), _float(step), dtype=dtype, device=beside.device)


def linspace(beside: torch.Tensor, start: Number, end: Number, steps: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.linspace`."""
    return torch.linspace(_float(start), _float(end), steps, dtype=dtype, device=beside.device)


def logspace(  # noqa: PLR0917 - as torch takes them
    beside: torch.Tensor, start: Number, end: Number, steps: int, base: float, dtype: torch.dtype
) -> torch.Tensor:
    """`torch.logspace`."""
    return torch.logspace(_float(start), _float(end), steps, base, dtype=dtype, device=beside.device)


def eye(beside: torch.Tensor, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.eye`."""
    return torch.eye(rows, columns, dtype=dtype, device=beside.device)


def tril_indices(beside: torch.Tensor, rows: int, columns: int, offset: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.tril_indices`."""
    return torch.tril_indices(rows, columns, offset, dtype=dtype, device=beside.device)


def triu_indices(beside: torch.Tensor, rows: int, columns: int, offset: int, dtype: torch.dtype) -> torch.Tensor:
    """`torch.triu_indices`."""
    return torch.triu_indices(rows, columns, offset, dtype=dtype, device=beside.device)


def hann_window(beside: torch.Tensor, length: int, periodic: bool, dtype: torch.dtype) -> torch.Tensor:
    """`torch.hann_window`."""
    return torch.hann_window(length, periodic, dtype=dtype, device=beside.device)


def bartlett_window(beside: torch.Tensor, length: int, periodic: bool, dtype: torch.dtype) -> torch.Tensor:
    """`torch.bartlett_window`."""
    return torch.bartlett_window(length, periodic, dtype=dtype, device=beside.device)


def blackman_window(beside: torch.Tensor, length: int, periodic: bool, dtype: torch.dtype) -> torch.Tensor:
    """`torch.blackman_window`."""
    return torch.blackman_window(length, periodic, dtype=dtype, device=beside.device)


def hamming_window(  # noqa: PLR0917 - as torch takes them
    beside: torch.Tensor, length: int, periodic: bool, alpha: float, beta: float, dtype: torch.dtype
) -> torch.Tensor:
    """`torch.hamming_window`."""
    return torch.hamming_window(length, periodic, alpha, beta, dtype=dtype, device=beside.device)


def kaiser_window(beside: torch.Tensor, length: int, periodic: bool, beta: float, dtype: torch.dtype) -> torch.Tensor:
    """`torch.kaiser_window`."""
    return torch.kaiser_window(length, periodic, beta, dtype=dtype, device=beside.device)


def fftfreq(beside: torch.Tensor, length: int, spacing: float, dtype: torch.dtype) -> torch.Tensor:
    """`torch.fft.fftfreq`."""
    made: torch.Tensor = torch.fft.fftfreq(length, spacing, dtype=dtype, device=beside.device)
    return made


def rfftfreq(beside: torch.Tensor, length: int, spacing: float, dtype: torch.dtype) -> torch.Tensor:
    """`torch.fft.rfftfreq`."""
    made: torch.Tensor = torch.fft.rfftfreq(length, spacing, dtype=dtype, device=beside.device)
    return made


# Numbers out of tensors.


def int_of(value: torch.Tensor) -> int:
    """`value.item()` of an integer."""
    return int(value.item())


def float_of(value: torch.Tensor) -> float:
    """`value.item()` of a float."""
    return float(value.item())


def bool_of(value: torch.Tensor) -> bool:
    """`value.item()` of a truth value."""
    return bool(value.item())


# Arithmetic on sizes that a trace would want to decide.


def larger(one: int, other: int) -> int:
    """`torch.sym_max`."""
    return max(one, other)


def smaller(one: int, other: int) -> int:
    """`torch.sym_min`."""
    return min(one, other)


def choice(condition: bool, one: int, other: int) -> int:
    """`torch.sym_ite`."""
    return one if condition else other


def negation(value: bool) -> bool:
    """`torch.sym_not`."""
    return not value


def as_int(value: float) -> int:
    """`torch.sym_int`, `math.trunc`."""
    return int(value)


def as_float(value: int) -> float:
    """`torch.sym_float`."""
    return float(value)


def square_root(value: float) -> float:
    """`torch.sym_sqrt`."""
    return math.sqrt(value)


def power(base: int, exponent: int) -> int:
    """`operator.pow` of integers, which TorchScript makes a float."""
    if exponent > 128:  # noqa: PLR2004 - lowering/numbers.py counts on it; TorchScript knows no names for numbers
        raise ValueError("a size to the power of more than 128")
    return int(base**exponent)


@has_side_effect
def update(state: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Keeps `value` in `state`, a buffer, for the next call."""
    return state.copy_(value.detach())
