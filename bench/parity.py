"""Static int8 through Octet against FX graph mode on the source model, side by side.

    .venv/bin/python bench/parity.py [--rounds 60]

FX graph mode needs the model's code; Octet has only the `.pt2`. With the same calibration data they should end up with
the same model: the same SQNR against fp32 and the same latency.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import models
import torch
from rich.console import Console
from rich.table import Table
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import octet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

ENGINES = ("x86", "fbgemm")  # their default qconfigs are FX's own; onednn adds Octet's backend config
CALIBRATION = 32


def fx_on_source(model: nn.Module, engine: str, data: Tensor) -> nn.Module:
    """What PyTorch's FX guide does with the source code, in TorchScript."""
    torch.backends.quantized.engine = engine
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping(engine), (data[:2],))
    with torch.no_grad():
        for batch in data.split(8):
            prepared(batch)
    return torch.jit.script(convert_fx(prepared))


def octet_on_pt2(path: Path, engine: str, data: Tensor) -> nn.Module:
    """What Octet does with the `.pt2` alone, in TorchScript."""
    recipe = octet.Recipe.parse(
        {
            "method": "static",
            "engine": engine,
            "calibration": {"samples": CALIBRATION, "batch_size": 8},
            "measure": {"seconds": 0.2, "layers": False},
        }
    )
    result = octet.quantize(octet.load(path), recipe, calibration=octet.Dataset({"input_0": data.numpy()}))
    return torch.jit.script(result.module)


def sqnr(reference: Tensor, approximation: Tensor) -> float:
    """10 log10 of signal power over error power, in decibels."""
    return float(20 * torch.log10(reference.norm() / (reference - approximation).norm()))


def quantized_modules(module: nn.Module) -> int:
    """Number of modules that hold packed int8 weights."""
    return sum("Packed" in part.original_name for part in module.modules() if hasattr(part, "original_name"))


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median milliseconds of each, and the median of the per-round ratios first / second."""
    times: list[tuple[float, float]] = []
    for round_number in range(rounds + 5):
        pair = []
        # The order alternates, so that neither always runs on the other's warm caches.
        for call in (first, second) if round_number % 2 else (second, first):
            start = time.perf_counter()
            call()
            pair.append((time.perf_counter() - start) * 1000)
        if round_number >= 5:
            times.append((pair[0], pair[1]) if round_number % 2 else (pair[1], pair[0]))
    return median(a for a, _ in times), median(b for _, b in times), median(a / b for a, b in times)


def main() -> None:
    """Print the table; exit 1 if a bound of docs/benchmarks.md does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")  # FX on the source warns of all that Octet keeps behind its seam
    torch.set_num_threads(2)
    table = Table("model", "engine", "SQNR FX", "SQNR Octet", "difference", "ms FX", "ms Octet", "Octet / FX")
    failed = False
    evaluation = models.images(16, seed=4)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name in models.MODELS:
            source, path = models.export(name, Path(folder))
            data = models.images(CALIBRATION, seed=3)
            reference = source(evaluation)
            for engine in ENGINES:
                theirs, ours = fx_on_source(source, engine, data), octet_on_pt2(path, engine, data)
                torch.backends.quantized.engine = engine
                a, b = sqnr(reference, theirs(evaluation)), sqnr(reference, ours(evaluation))
                one = evaluation[:1]
                ms_a, ms_b, ratio = interleaved(lambda: theirs(one), lambda: ours(one), rounds)  # noqa: B023 - called at once
                failed |= abs(a - b) > 0.1 or 1 / ratio > 1.05
                table.add_row(
                    name,
                    engine,
                    f"{a:.2f} dB",
                    f"{b:.2f} dB",
                    f"{b - a:+.2f}",
                    f"{ms_a:.2f}",
                    f"{ms_b:.2f}",
                    f"{1 / ratio:.3f}",
                )
    Console(width=110).print(table)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
