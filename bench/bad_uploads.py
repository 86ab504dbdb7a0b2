"""Thousands of uploads that are none, over real HTTP: each is refused, none hangs, and nothing of them stays.

    .venv/bin/python bench/bad_uploads.py [--cases 2100] [--first 0] [--threads 4]

Each case takes a real model or real data, spoils it or replaces it (bench/spoiled/bodies.py), and sends it in a way
that is right or wrong (bench/spoiled/requests.py); its number is the seed, so that a case can be repeated alone. The
bounds: no 5xx; none accepted, but for a file that Octet's own reader takes and that is stored as it was sent; an
answer, or the end of the connection, within 30 s; a good upload goes through after every hundredth case; and at the end
there is neither a file where uploads wait, nor a row, nor a byte of what was refused.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save_file
from spoiled import BODIES, WAYS, Kind, Outcome, Sample, Service
from sqlalchemy import func, select
from stack import api_process, running_stack

import octet
from octet.errors import OctetError
from store import tables
from store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_SECONDS = 5  # of what arrives in parts and is not finished
GIVEN_UP_SECONDS = 90.0
KINDS: tuple[Kind, ...] = ("model", "dataset")
ROWS = {"model": tables.Model, "dataset": tables.Dataset}


class Case(NamedTuple):
    """One bad upload."""

    number: int
    kind: Kind
    body: str
    way: str


def cases(first: int, count: int) -> Iterator[Case]:
    """Every body in every way, in turn."""
    for number in range(first, first + count):
        yield Case(number, KINDS[number % 2], list(BODIES)[number // 2 % len(BODIES)], list(WAYS)[number % len(WAYS)])


def good_files(folder: Path) -> Sample:
    """A model, and data for it."""
    model = octet.export(torch.nn.Linear(4, 3), (torch.randn(2, 4),), folder / "model.pt2")
    arrays = {"input_0": np.zeros((8, 4), np.float32), "label": np.arange(8) % 3}
    np.savez(folder / "data.npz", **arrays)
    save_file(arrays, folder / "data.safetensors")
    return Sample(*(Path(path).read_bytes() for path in (model, folder / "data.npz", folder / "data.safetensors")))


def is_one(kind: Kind, content: bytes) -> bool:
    """Whether Octet's own reader takes it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            octet.load(file.name) if kind == "model" else octet.read_dataset(file.name)
        except OctetError:
            return False
    return True


class Run:
    """All cases against one service."""

    def __init__(self, service: Service, good: Sample) -> None:
        self._service = service
        self._good = good
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.slowest = 0.0
        self.accepted: dict[Kind, set[str]] = {"model": set(), "dataset": set()}
        self.violations: list[str] = []

    def do(self, case: Case) -> None:
        """One upload, judged."""
        random = Random(case.number)  # noqa: S311 - no secret
        body = BODIES[case.body](self._good.of(case.kind, random), random)
        start = time.monotonic()
        try:
            outcome = WAYS[case.way](self._service, case.kind, body, random)
        except httpx.TimeoutException:
            outcome = Outcome(-1)
        except httpx.TransportError:
            outcome = Outcome(0)
        self.slowest = max(self.slowest, time.monotonic() - start)
        self.statuses[case.way][outcome.status] += 1
        if outcome.status >= 500:
            self.violations.append(f"{case}: answered with {outcome.status}")
        if outcome.status < 0:
            self.violations.append(f"{case}: hung")
        if outcome.id is not None:
            self._judge(case, body, outcome)
        if case.number % 100 == 99:
            self.upload_good(random)

    def _judge(self, case: Case, body: bytes, outcome: Outcome) -> None:
        """What was accepted must be what it was taken for."""
        with self._service.client() as client:
            content = client.get(f"{case.kind}s/{outcome.id}/content").content
        if content not in body:
            self.violations.append(f"{case}: what is stored is not what was sent")
        if not is_one(case.kind, content):
            self.violations.append(f"{case}: accepted, and is none")
        self.accepted[case.kind].add(str(outcome.id))

    def upload_good(self, random: Random) -> None:
        """A real file in a right way."""
        for kind in KINDS:
            way = random.choice(("form", "in parts (tus)"))
            outcome = WAYS[way](self._service, kind, self._good.of(kind, random), random)
            if outcome.id is None:
                self.violations.append(f"a good {kind} ({way}) got {outcome.status}")
            else:
                self.accepted[kind].add(outcome.id)


def left_behind(data: Path, spool: Path, run: Run, api: int) -> Iterator[str]:
    """What should not be there, once uploads in parts have been given up."""
    database = Database((data / "database-url").read_text(encoding="utf-8").strip())
    end = time.monotonic() + GIVEN_UP_SECONDS
    count = dict.fromkeys((tables.PartialUpload, tables.PartialUploadChunk), -1)
    while any(count.values()) and time.monotonic() < end:
        with database.begin() as session:
            count = {table: session.scalar(select(func.count()).select_from(table)) or 0 for table in count}
        time.sleep(0.5)
    yield from (f"{rows} rows of {table.__tablename__}" for table, rows in count.items() if rows)
    with database.begin() as session:
        stored = {kind: set(map(str, session.scalars(select(row.id)))) for kind, row in ROWS.items()}
        kept = {row.sha256 for table in ROWS.values() for row in session.scalars(select(table))}
        blobs = set(session.scalars(select(tables.Blob.sha256)))
        chunks = set(session.scalars(select(tables.BlobChunk.sha256)))
    yield from (
        f"a {kind} that nobody was told of: {id_}" for kind in KINDS for id_ in stored[kind] - run.accepted[kind]
    )
    yield from (f"content that nothing refers to: {sha256}" for sha256 in (blobs | chunks) - kept)
    yield from (f"a file where uploads wait: {path}" for path in spool.iterdir())
    for descriptor in Path(f"/proc/{api}/fd").iterdir():
        if str(spool) in (opened := str(descriptor.readlink())):
            yield f"a file held open: {opened}"
    database.close()


def table_of(run: Run) -> Table:
    """How many got which answer, by way of sending."""
    statuses = sorted({status for counter in run.statuses.values() for status in counter})
    named = {0: "closed", -1: "hung"}
    table = Table("", *(named.get(status, str(status)) for status in statuses), title="Bad uploads by status")
    for way, counter in run.statuses.items():
        table.add_row(way, *(str(counter[status] or "") for status in statuses))
    total = sum(run.statuses.values(), Counter())
    table.add_row(f"all {total.total():,}", *(str(total[status]) for status in statuses))
    return table


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, spool = Path(name), Path(name, "spool")
        spool.mkdir()
        limits = {"OCTET_SPOOL_DIR": str(spool), "OCTET_PARTIAL_UPLOAD_SECONDS": str(KEPT_SECONDS)}
        with running_stack(**limits) as stack, ThreadPoolExecutor(arguments.threads) as threads:
            run = Run(Service(stack.url, stack.key), good_files(folder))
            list(threads.map(run.do, cases(arguments.first, arguments.cases)))
            run.upload_good(Random(0))  # noqa: S311 - likewise
            run.violations += left_behind(stack.data, spool, run, api_process(stack.url).pid)
    Console().print(table_of(run))
    accepted = sum(map(len, run.accepted.values()))
    print(f"slowest: {run.slowest:.1f} s; {accepted} different files were accepted, all of which are real")
    print(*run.violations, sep="\n")
    return bool(run.violations)


if __name__ == "__main__":
    raise SystemExit(main())
