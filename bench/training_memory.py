"""How long steps of a training take when malloc keeps the memory that they free, against when it does not.

    .venv/bin/python bench/training_memory.py [--steps 10] [--rounds 5]

A small convolutional network on images of 224 x 224, sixteen at a time, one thread; both ways in turns, each time in a
process of its own. Prints the medians of the rounds and of their ratios, and how many pages the kernel provided.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from models import images

from octet.quantization.allocator import keeping_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "keeping": keeping_freed_memory,
    "as glibc does": nullcontext,
}


def steps(count: int) -> None:
    """Make that many steps of SGD."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=4, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    batch, labels = images(16, seed=1), torch.arange(16) % 10
    for _ in range(count):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch), labels).backward()  # type: ignore[no-untyped-call] # torch has no annotation there
        optimizer.step()


def child(way: str, count: int) -> None:
    """Print the milliseconds and the page faults of a step."""
    torch.set_num_threads(1)
    with WAYS[way]():
        steps(2)  # so that what is kept is there
        faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        steps(count)
        seconds = time.perf_counter() - start
    print(seconds / count * 1e3, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / count)


def main() -> None:
    """Print both ways and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        child(asked.way, asked.steps)
        return
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(asked.rounds):
        for way in sorted(WAYS, reverse=number % 2 == 0):
            command = [sys.executable, __file__, "--way", way, "--steps", str(asked.steps)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            found[way].append((float(told[0]), float(told[1])))
    for way, rounds in found.items():
        milliseconds, faults = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"{way:14} {milliseconds:8.1f} ms and {faults:10,.0f} page faults a step")
    kept, given_back = found.values()
    ratios = [other[0] / one[0] for one, other in zip(kept, given_back, strict=True)]
    print(f"keeping is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
