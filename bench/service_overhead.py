"""What the service adds: submit to succeeded, minus the same pipeline called as a library.

    .venv/bin/python bench/service_overhead.py [--pairs 7]

ResNet-18, static int8, a warm worker. Service and library runs take turns, and which goes first alternates. A job has a
process of its own, so the library runs in one too: fresh, warmed up as a worker's spare is, and timed from there on.
Between runs there is a pause, in which the worker warms its next spare. The bounds: at most 0.5 s, and at most 5 % of
the job.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import models
import numpy as np
from rich.console import Console
from rich.table import Table
from stack import running_service

from octet.recipe import Recipe

if TYPE_CHECKING:
    from uuid import UUID

    from octet.client import Client

RECIPE = Recipe.parse({"method": "static", "engine": "x86", "calibration": {"samples": 32, "batch_size": 8}})
MOST_SECONDS, MOST_SHARE = 0.5, 0.05


PAUSE_SECONDS = 6  # loading torch and warming up takes about half of that

LIBRARY_RUN = """
import sys, time
import octet, octet.pipeline
from worker.warmup import warm_up
warm_up()
model, data, recipe, folder = sys.argv[1:]
start = time.perf_counter()
result = octet.quantize(octet.load(model), octet.Recipe.load(recipe), calibration=octet.read_dataset(data))
result.save(folder)
print(time.perf_counter() - start)
"""


def by_library(model: Path, data: Path, recipe: Path, folder: Path) -> float:
    """Seconds of load, quantize, save and verify."""
    command = [sys.executable, "-c", LIBRARY_RUN, str(model), str(data), str(recipe), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return float(done.stdout)


def by_service(client: Client, model: UUID, data: UUID) -> float:
    """Seconds from submit until the client knows that the job has succeeded."""
    start = time.perf_counter()
    job = client.submit(model, RECIPE, calibration=data).wait()
    seconds = time.perf_counter() - start
    assert job.state == "succeeded", job.error
    return seconds


def main() -> None:
    """Print the table; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    seconds: dict[str, list[float]] = {"service": [], "library": []}
    with tempfile.TemporaryDirectory() as name, running_service() as (client, _):
        folder = Path(name)
        _, path = models.export("ResNet-18", folder)
        data, recipe = folder / "data.npz", folder / "recipe.json"
        np.savez(data, input_0=models.images(64, seed=3).numpy())
        recipe.write_text(RECIPE.canonical(), encoding="utf-8")
        model_id, data_id = client.upload_model(path).id, client.upload_dataset(data).id
        runs = {
            "service": lambda _: by_service(client, model_id, data_id),
            "library": lambda number: by_library(path, data, recipe, folder / str(number)),
        }
        for number in range(-1, pairs):  # the first pair warms the disk cache and is not counted
            for way in sorted(runs, reverse=number % 2 == 0):
                time.sleep(PAUSE_SECONDS)
                taken = runs[way](number)
                if number >= 0:
                    seconds[way].append(taken)
    added = median(a - b for a, b in zip(seconds["service"], seconds["library"], strict=True))
    share = added / median(seconds["service"])
    table = Table("", "median s", "all")
    for way, times in seconds.items():
        table.add_row(way, f"{median(times):.2f}", ", ".join(f"{taken:.2f}" for taken in times))
    table.add_row("added", f"{added:.2f}", f"{share:.1%} of the job (bounds: {MOST_SECONDS} s, {MOST_SHARE:.0%})")
    Console(width=110).print(table)
    raise SystemExit(added > MOST_SECONDS or share > MOST_SHARE)


if __name__ == "__main__":
    main()
