"""What the service adds: submit to succeeded, minus the same pipeline called in this process.

    .venv/bin/python bench/service_overhead.py [--pairs 5]

ResNet-18, static int8, a warm worker; service and in-process runs take turns. The bounds: at most 0.5 s, and at most
5 % of the job.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import models
import numpy as np
from rich.console import Console
from rich.table import Table
from stack import running_service

import octet
from octet.recipe import Recipe

RECIPE = Recipe.parse({"method": "static", "engine": "x86", "calibration": {"samples": 32, "batch_size": 8}})
MOST_SECONDS, MOST_SHARE = 0.5, 0.05


def in_process(model: Path, data: Path, folder: Path) -> float:
    """Seconds of load, quantize, save and verify, called as a library."""
    start = time.perf_counter()
    result = octet.quantize(octet.load(model), RECIPE, calibration=octet.read_dataset(data))
    result.save(folder)
    return time.perf_counter() - start


def main() -> None:
    """Print the table; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    service_seconds: list[float] = []
    library_seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running_service() as (client, _):
        _, path = models.export("ResNet-18", Path(folder))
        data = Path(folder, "data.npz")
        np.savez(data, input_0=models.images(64, seed=3).numpy())
        model, dataset = client.upload_model(path), client.upload_dataset(data)
        in_process(path, data, Path(folder, "warm-up"))
        client.submit(model.id, RECIPE, calibration=dataset.id).wait()
        for number in range(pairs):
            start = time.perf_counter()
            job = client.submit(model.id, RECIPE, calibration=dataset.id).wait()
            service_seconds.append(time.perf_counter() - start)
            assert job.state == "succeeded", job.error
            library_seconds.append(in_process(path, data, Path(folder, str(number))))
    added = median(a - b for a, b in zip(service_seconds, library_seconds, strict=True))
    share = added / median(service_seconds)
    table = Table("", "median s", "all")
    table.add_row("service", f"{median(service_seconds):.2f}", ", ".join(f"{s:.2f}" for s in service_seconds))
    table.add_row("in process", f"{median(library_seconds):.2f}", ", ".join(f"{s:.2f}" for s in library_seconds))
    table.add_row("added", f"{added:.2f}", f"{share:.1%} of the job (bounds: {MOST_SECONDS} s, {MOST_SHARE:.0%})")
    Console(width=110).print(table)
    raise SystemExit(added > MOST_SECONDS or share > MOST_SHARE)


if __name__ == "__main__":
    main()
