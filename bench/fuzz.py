"""Thousands of hostile archives through the reader, the builder, one run and TorchScript, in processes with limits.

    .venv/bin/python bench/fuzz.py [--cases 6000] [--first 0] [--processes 2] [--keep FOLDER]

Each case is a small real model whose archive is changed at random (tests/octet/program/mutations.py); its number is the
seed, so a case can be repeated alone: `--first N --cases 1`. Bounds: no process dies, no case takes 10 s of CPU or 1 GB
of memory, nothing but an OctetError comes out, and nothing of a file is executed (an audit hook watches). Cases that
break a bound are kept as files. Exits 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import torch
from fuzz_child import CPU_SECONDS, bytes_of
from rich.console import Console
from rich.table import Table
from zoo import ZOO, live

import octet

SEEDS = (
    "resnet", "mobilenet_v3", "densenet", "inception", "encoder", "attention", "multi_head", "recurrent", "stateful",
    "mlp", "volume", "unet", "shared", "regions",
)  # fmt: skip
CHILD = Path(__file__).with_name("fuzz_child.py")
STALLED_SECONDS = 120  # without a word and without using its CPU time up: a deadlock


class Slot(threading.Thread):
    """Runs children one after the other, each over a share of the cases."""

    def __init__(
        self, folder: Path, names: list[str], shares: queue.SimpleQueue[range], results: dict[int, str]
    ) -> None:
        super().__init__()
        self._names = names
        self._folder = folder
        self._shares = shares
        self._results = results
        self.most_memory = 0

    def run(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                share = self._shares.get_nowait()
                while share:
                    share = self._part(share)

    def _part(self, share: range) -> range:
        """Do as much of a share as one child does; what is left."""
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, str(CHILD), str(self._folder), str(share.start), str(len(share)), *self._names]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=scratch)
            assert process.stdout is not None
            alarm = threading.Timer(STALLED_SECONDS, process.kill)
            alarm.start()
            at = share.start - 1
            for line in process.stdout:
                alarm.cancel()
                alarm = threading.Timer(STALLED_SECONDS, process.kill)
                alarm.start()
                word, number, *rest = line.split(" ", 2)
                at = int(number)
                if word == "done":
                    self._results[at] = rest[0].strip()
            alarm.cancel()
            errors = process.communicate()[1]
            status = process.returncode
            self.most_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        if at < share.start:
            raise SystemExit(f"a child could not begin: {errors[-2000:]}")
        if status == 0:
            return range(0)
        died = signal.Signals(-status).name if status < 0 else f"exit status {status}: {errors[-300:]!r}"
        what = {"SIGPROF": f"took {CPU_SECONDS} s of CPU", "SIGKILL": "stalled"}.get(died, f"died of {died}")
        self._results[at] = f"VIOLATION {what}"
        return range(at + 1, share.stop)


def write_seeds(folder: Path, names: list[str]) -> None:
    torch.manual_seed(0)
    for name in names:
        model, inputs = ZOO[name]
        octet.export(live(model()), inputs(), folder / f"{name}.pt2")


def keep(folder: Path, names: list[str], target: Path, failures: list[int]) -> None:
    target.mkdir(exist_ok=True)
    for number in failures:
        (target / f"{number}.pt2").write_bytes(bytes_of(folder, names, number))


def main() -> None:
    """Print the counts; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=6000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, which is its seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where bad cases are kept")
    parser.add_argument("--models", nargs="+", choices=SEEDS, default=list(SEEDS))
    options = parser.parse_args()
    results: dict[int, str] = {}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_seeds(folder, options.models)
        shares: queue.SimpleQueue[range] = queue.SimpleQueue()
        cases = range(options.first, options.first + options.cases)
        for at in range(cases.start, cases.stop, 250):
            shares.put(range(at, min(at + 250, cases.stop)))
        slots = [Slot(folder, options.models, shares, results) for _ in range(options.processes)]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        failures = sorted(number for number, result in results.items() if result.startswith("VIOLATION"))
        if failures:
            keep(folder, options.models, options.keep, failures)
    report(results, failures, time.monotonic() - start, max(slot.most_memory for slot in slots))
    raise SystemExit(bool(failures) or len(results) != options.cases)


def report(results: dict[int, str], failures: list[int], seconds: float, memory: int) -> None:
    table = Table("outcome", "cases")
    for outcome_, count in Counter(
        "VIOLATION" if number in failures else what for number, what in results.items()
    ).most_common():
        table.add_row(outcome_, str(count))
    Console(width=100).print(table)
    print(f"{len(results)} cases in {seconds:.0f} s; the largest process held {memory / 2**20:.0f} MiB")
    for number in failures:
        print(number, results[number])


if __name__ == "__main__":
    main()
