"""Latency of fp32 and int8, side by side. Its caller sees to it that nobody else measures: `measuring_alone`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from octet import torchscript
from octet.report import Latency, Timing
from octet.state import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from torch.fx import GraphModule

LEAST_ROUNDS = 10  # fewer have no tenth percentile
MOST_ROUNDS = 5000
WARM_UP_ROUNDS = 3
LEAST_TRIAL_ROUNDS = 3
MOST_TRIAL_ROUNDS = 50
TRIAL_SECONDS = 0.5


@dataclass(frozen=True)
class Baseline:
    """fp32 in the best form that torch offers without quantization."""

    model: nn.Module
    form: str


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs the block with `count` intra-op threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_float_form(
    module: GraphModule, scripted: torch.jit.ScriptModule, inputs: tuple[Tensor, ...], thread_count: int
) -> Baseline:
    """The fastest of eager, frozen, and frozen and optimized, by a short trial on `inputs`.

    Args:
        module: The float model.
        scripted: The same as TorchScript.
        inputs: One batch.
        thread_count: Intra-op threads to run it with.

    A speed-up against plain eager code would flatter: scripting and freezing alone make small models faster.
    """
    with torch.inference_mode(), threads(thread_count), kept(module, scripted):
        forms = list(_forms(module, scripted, inputs))
        for form in forms:
            _call(form.model, inputs, WARM_UP_ROUNDS)
        taken = np.array(list(_trial(forms, inputs)))
    return forms[int(np.median(taken, axis=0).argmin())]


def _trial(forms: list[Baseline], inputs: tuple[Tensor, ...]) -> Iterator[list[float]]:
    """Rounds in which each form runs once: enough of them that a busy machine does not choose for us."""
    end = time.perf_counter() + TRIAL_SECONDS
    for number in range(MOST_TRIAL_ROUNDS):
        if number >= LEAST_TRIAL_ROUNDS and time.perf_counter() > end:
            return
        yield [_timed(form.model, inputs) for form in forms]


def _forms(module: GraphModule, scripted: torch.jit.ScriptModule, inputs: tuple[Tensor, ...]) -> Iterator[Baseline]:
    yield Baseline(module, "eager")
    try:
        frozen = torchscript.freeze(scripted)
        _call(frozen, inputs, 1)
        yield Baseline(frozen, "scripted, frozen")
        optimized = torchscript.optimize(frozen)
        _call(optimized, inputs, 1)
        yield Baseline(optimized, "scripted, frozen, optimized for inference")
    except RuntimeError:
        return  # torch cannot freeze or optimize this model: then that is not a form it offers


def measure_latency(
    baseline: Baseline,
    int8: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    thread_count: int,
    seconds: float,
    representative: bool,
) -> Latency:
    """Times both models in turn on `inputs`, each going first every other round, until `seconds` have passed.

    Ratios are taken per round, where both met the same state of the machine; their spread is in the report. It is
    `faster` or `slower` only if nine rounds of ten say so.
    """
    models = (baseline.model, int8)
    with torch.inference_mode(), threads(thread_count), kept(*models):
        for model in models:
            _call(model, inputs, WARM_UP_ROUNDS)
        taken = np.array(list(_rounds(models, inputs, seconds))) * 1e3
    ratios = taken[:, 0] / taken[:, 1]
    low, ratio, high = (float(value) for value in np.percentile(ratios, (10, 50, 90)))
    return Latency(
        batch_size=len(inputs[0]),
        threads=thread_count,
        fp32=_timing(taken[:, 0]),
        int8=_timing(taken[:, 1]),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        rounds=len(taken),
        baseline=baseline.form,
        representative=representative,
        verdict=_verdict(low, high),
    )


def _rounds(
    models: tuple[nn.Module, nn.Module], inputs: tuple[Tensor, ...], seconds: float
) -> Iterator[tuple[float, float]]:
    end = time.perf_counter() + seconds
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() > end:
            return
        if number % 2:
            second = _timed(models[1], inputs)
            yield _timed(models[0], inputs), second
        else:
            yield _timed(models[0], inputs), _timed(models[1], inputs)


def _timed(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    model(*inputs)
    return time.perf_counter() - start


def _call(model: nn.Module, inputs: tuple[Tensor, ...], times: int) -> None:
    for _ in range(times):
        model(*inputs)


def _timing(milliseconds: np.ndarray) -> Timing:
    return Timing(median=float(np.median(milliseconds)), p90=float(np.percentile(milliseconds, 90)))


def _verdict(low: float, high: float) -> Literal["faster", "same", "slower"]:
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "same"
