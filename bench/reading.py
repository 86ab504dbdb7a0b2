"""Time and memory of reading a `.pt2`, next to torch.export.load of the same file.

    .venv/bin/python bench/reading.py [--rounds 5]

Three sizes of file: about 45 MB, 350 MB and 1 GB. Each reading is a fresh process; before the clock starts it has
imported what it needs and read a tiny file, since torch imports much of itself at its first use. Both readers take
turns, and every file is in the page cache. `load` checks the archive, the graph and each weight's bytes (Octet) or
builds the exported program (torch); `module` makes it callable.

Memory is the most that is resident at once (VmHWM, mapped pages of the file among them), less that of a process that
has read the tiny file alone. Bounds: octet.load and octet.load with .module() take less time than torch's, octet.load
at most 1.1 times the file, `octet inspect` of the largest file at most 100 MB in all. Exits 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import models as published
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import octet

MB = 10**6
MOST_OF_FILE = 1.1
MOST_FOR_INSPECT = 100 * MB

_PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
"""
READERS = {
    "octet without torch": ("octet", "octet.load(path)", "None"),
    "octet": ("octet, octet.program.building.build, torch.export", "octet.load(path)", "loaded.module()"),
    "torch": ("octet, octet.program.building.build, torch.export", "torch.export.load(path)", "loaded.module()"),
}


def read(tiny: Path, path: Path, reader: str) -> dict[str, float]:
    """Seconds of `load` and `module`, and the peak of resident bytes, of a fresh process that first reads `tiny`."""
    imports, load, module = READERS[reader]
    code = f"""import {imports}, json, sys, time, warnings
warnings.simplefilter("ignore")
{_PEAK}
def read(path):
    start = time.perf_counter()
    loaded = {load}
    middle = time.perf_counter()
    module = {module}
    return dict(load=middle - start, module=time.perf_counter() - middle, peak=peak())
read(sys.argv[1])
print(json.dumps(read(sys.argv[2])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny), str(path)], capture_output=True, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def peak_of_inspect(path: Path) -> int:
    """Resident bytes of `octet inspect`, all of them."""
    code = f"""import sys
from octet.cli import main
{_PEAK}
sys.argv = ["octet", "inspect", sys.argv[1], "--json"]
try:
    main()
finally:
    print(peak(), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1])


class Encoder(nn.Module):
    """`layers` of torch's own encoder layers, 12 heads each."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8000, width)
        layer = nn.TransformerEncoderLayer(width, 12, 4 * width, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embedding(ids)).mean(1))


def models() -> dict[str, Any]:
    """Modules and example inputs: a residual network, an encoder like BERT-base, and a wide encoder."""
    ids = torch.randint(0, 8000, (2, 16))
    return {
        "ResNet-18": (published.ResNet18(), published.images(2, seed=1)),
        "encoder 12 x 768": (Encoder(768, 12), ids),
        "encoder 20 x 1008": (Encoder(1008, 20), ids),
    }


def main() -> None:
    """Print the table; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times = Table("file", "MB", "load octet", "torch", "ratio", "load + module octet", "torch", "ratio")
    memory = Table("file", "MB", "octet.load", "of the file", "torch.export.load", "octet inspect, in all")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        tiny = octet.export(nn.Linear(2, 2), (torch.randn(2, 2),), Path(folder) / "tiny.pt2")
        for name, (model, inputs) in models().items():
            path = Path(octet.export(model, (inputs,), Path(folder) / "model.pt2"))
            size = path.stat().st_size
            pairs = [(read(tiny, path, "octet"), read(tiny, path, "torch")) for _ in range(rounds)]
            ours, theirs = zip(*pairs, strict=True)
            row = []
            for part in (("load",), ("load", "module")):
                a, b = ([sum(one[key] for key in part) for one in each] for each in (ours, theirs))
                ratio = median(x / y for x, y in zip(a, b, strict=True))
                failed |= ratio >= 1
                row += [f"{median(a):.3f} s", f"{median(b):.3f} s", f"{ratio:.2f}"]
            times.add_row(name, f"{size / MB:.0f}", *row)
            held = sum(
                sign * read(tiny, which, "octet without torch")["peak"] for sign, which in ((1, path), (-1, tiny))
            )
            held_by_torch = min(one["peak"] for one in theirs) - read(tiny, tiny, "torch")["peak"]
            inspected = peak_of_inspect(path)
            failed |= held > MOST_OF_FILE * size or inspected > MOST_FOR_INSPECT
            memory.add_row(
                name,
                f"{size / MB:.0f}",
                f"{held / MB:.1f} MB",
                f"{held / size:.3f}",
                f"{held_by_torch / MB:.0f} MB, {held_by_torch / size:.2f} of the file",
                f"{inspected / MB:.0f} MB",
            )
    for table in (times, memory):
        Console(width=110).print(table)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
