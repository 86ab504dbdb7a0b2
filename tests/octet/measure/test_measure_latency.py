"""Timing two models against each other."""

from __future__ import annotations

import multiprocessing
import signal
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from octet import notices, torchscript
from octet.measure import best_float_form, measure_latency
from octet.measure.latency import Baseline, threads
from octet.measuring import measuring_alone

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from octet.report import Latency


class Counting(nn.Module):
    """Takes a given time, and remembers when it was called."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        super().__init__()
        self.name, self.seconds, self.log = name, seconds, log

    def forward(self, _: Tensor) -> None:
        self.log.append(self.name)
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass


def timed(fp32: nn.Module, int8: nn.Module, seconds: float = 0.0) -> Latency:
    return measure_latency(
        Baseline(fp32, "eager"), int8, (torch.zeros(3, 2),), thread_count=1, seconds=seconds, representative=True
    )


def test_a_model_that_takes_ten_times_as_long_is_slower() -> None:
    log: list[str] = []
    latency = timed(Counting("fp32", 0.01, log), Counting("int8", 0.001, log))
    assert latency.verdict == "faster"
    assert latency.ratio_low <= latency.ratio <= latency.ratio_high
    assert timed(Counting("fp32", 0.001, log), Counting("int8", 0.01, log)).verdict == "slower"


def test_the_models_take_turns_in_going_first() -> None:
    log: list[str] = []
    latency = timed(Counting("fp32", 0, log), Counting("int8", 0, log))
    rounds = log[-2 * latency.rounds :]
    assert rounds[:4] == ["fp32", "int8", "int8", "fp32"]
    assert (latency.rounds, latency.batch_size, latency.threads) == (10, 3, 1)


def test_the_same_model_twice_is_neither_faster_nor_slower() -> None:
    log: list[str] = []
    model = Counting("same", 0.0005, log)
    # The spread of equal models straddles 1, unless the machine stalls one side of nine rounds in ten.
    assert timed(model, model, seconds=0.1).verdict == "same"


def test_threads_are_set_for_the_measurement_and_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_baseline_is_one_of_the_forms_torch_offers() -> None:
    model = fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU())).eval()
    with notices.kept_back():
        baseline = best_float_form(model, torchscript.script(model), (torch.randn(2, 8),), 1)
    assert baseline.form in {"eager", "scripted, frozen", "scripted, frozen, optimized for inference"}
    with torch.no_grad():
        assert torch.allclose(baseline.model(torch.ones(2, 8)), model(torch.ones(2, 8)), atol=1e-6)


def _measure_until_killed(measuring: Event, waiting: Event) -> None:
    with measuring_alone(waiting.set):
        measuring.set()
        signal.pause()


def test_two_processes_never_measure_at_once_and_a_killed_one_holds_nobody_up() -> None:
    context = multiprocessing.get_context("spawn")
    events = [(context.Event(), context.Event()) for _ in range(2)]
    first, second = (context.Process(target=_measure_until_killed, args=pair) for pair in events)
    first.start()
    assert events[0][0].wait(60)
    second.start()
    assert events[1][1].wait(60)  # it says that it waits
    assert not events[1][0].is_set()
    first.kill()
    assert events[1][0].wait(60)
    second.kill()
    for process in (first, second):
        process.join()
