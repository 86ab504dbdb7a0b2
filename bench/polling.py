"""How long asking for a job's status takes while the service is busy, against a route that answers with a constant.

    .venv/bin/python bench/polling.py [--seconds 30] [--rounds 3] [--rate 200]

`GET /v1/jobs/{id}` of four jobs (two that run, one that waits, one that has ended) at 200 requests a second, open loop
(`bench/openloop.py`). Two jobs train all the while, with one thread each, and two clients upload models of 45 MB, each
no faster than 10 MB/s, which is a line of 80 Mbit/s; each model is deleted again, so that the next upload is checked
and stored in full. Then the same with 200 slow-loris sockets open: half never end their headers, half send a body a
byte at a time. The baseline is FastAPI with one route that returns a constant, asked in turns with Octet, under the
very same load.

The service and the baseline have two cores (the first two of the machine); on a machine with more, the load comes from
the others. Bounds: p99 under 25 ms, and under 100 ms with the sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch
import uvloop
from models import images
from openloop import Latencies, get, offer, trickle, upload_slowly
from rich.console import Console
from rich.table import Table
from stack import free_port, running_stack

import octet
from octet.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.client import JobHandle
    from octet.wire import Job

CORES = {0, 1}
LORISES, LORIS_SECONDS = 200, 0.5
UPLOAD_RATE = 10e6
WIDTH = 2370  # two square layers of float32: 45 MB
MOST_BUSY, MOST_BESIEGED = 0.025, 0.100
# Trains until it is cancelled, on data that is large enough to keep the cores busy.
ENDLESS = {"method": "qat", "engine": "x86", "training": {"epochs": 1000, "batch_size": 16}, "measure": {"seconds": 1}}
QUICK = {"method": "dynamic", "measure": {"seconds": 0.1, "layers": False}}

BARE = """
import sys, uvicorn, fastapi
app = fastapi.FastAPI()
@app.get("/constant")
async def constant():
    return {"state": "running", "progress": 0.5}
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
"""


def confine(cores: set[int]) -> None:
    """Use these cores, if the machine has them, from now on; processes that are started inherit it."""
    os.sched_setaffinity(0, cores & ALL_CORES or ALL_CORES)


ALL_CORES = os.sched_getaffinity(0)


@contextmanager
def bare_route() -> Iterator[str]:
    """FastAPI with one route that returns a constant; its URL."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/constant", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def found(jobs: list[JobHandle]) -> list[Job]:
    """The jobs as they are now; none may have ended."""
    now = [job.refresh() for job in jobs]
    assert not any(job.finished for job in now), [job.error for job in now]
    return now


def start_jobs(client: Client, folder: Path) -> list[str]:
    """Ids of two jobs that run, one that waits and one that has ended."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=4, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(32, 10),
    ).eval()  # fmt: skip
    model = client.upload_model(octet.export(network, (images(2, seed=0),), folder / "model.pt2"))
    np.savez(folder / "data.npz", input_0=images(64, seed=1).numpy(), label=np.arange(64) % 10)
    data = client.upload_dataset(folder / "data.npz")
    ended = client.submit(model, QUICK).wait()
    assert ended.state == "succeeded", ended.error
    jobs = [client.submit(model, ENDLESS, calibration=data) for _ in range(3)]
    while sum(job.stage == "train" for job in found(jobs)) < 2:
        time.sleep(0.2)
    return [str(ended.id), *(str(job.id) for job in jobs)]


def keep_uploading(url: str, key: str, number: int) -> None:
    """Upload one model after another, for ever: a process of its own."""
    confine(ALL_CORES - CORES)
    torch.manual_seed(number)
    layers = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH))
    with tempfile.TemporaryDirectory() as folder:
        content = octet.export(layers, (torch.randn(2, WIDTH),), Path(folder, "model.pt2")).read_bytes()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        while True:
            head = _upload_head(url, key, len(content))
            status, location = asyncio.run(upload_slowly(url, head, content, bytes_per_second=UPLOAD_RATE))
            assert status == httpx.codes.CREATED, status
            client.delete(location).raise_for_status()  # so that the next upload is a new one


def besiege(url: str, key: str) -> None:
    """Hold slow-loris sockets open, for ever: a process of its own."""
    confine(ALL_CORES - CORES)
    endless = f"GET /v1/jobs HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nX-Slow: ".encode() + b"a" * 10**6
    body = _upload_head(url, key, 10**6)

    async def hold() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(LORISES):
                tasks.create_task(trickle(url, (endless, body + b"a" * 10**6)[number % 2], LORIS_SECONDS))

    asyncio.run(hold())


def _upload_head(url: str, key: str, length: int) -> bytes:
    lines = ["POST /v1/models HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Authorization: Bearer {key}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


@contextmanager
def beside(target: object, *arguments: object) -> Iterator[None]:
    """A process that runs during the block."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
        assert process.is_alive(), "what should have run beside has ended"
    finally:
        process.kill()
        process.join()


def in_turns(
    ways: dict[str, tuple[str, list[bytes]]], rounds: int, seconds: float, rate: float
) -> dict[str, Latencies]:
    """Each way's latencies, asked in turns."""
    found = {way: Latencies() for way in ways}
    for number in range(rounds):
        for way in sorted(ways, reverse=number % 2 == 0):
            url, requests = ways[way]
            some = uvloop.run(offer(url, requests, rate=rate, seconds=seconds / rounds))
            found[way].seconds += some.seconds
            found[way].statuses += some.statuses
    return found


def main() -> None:
    """Print the table; exit 1 if a bound does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30, help="Of each way under each load.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200)
    asked = parser.parse_args()
    measured: dict[str, dict[str, Latencies]] = {}

    def measure(load: str) -> None:
        measured[load] = in_turns(ways, asked.rounds, asked.seconds, asked.rate)

    confine(CORES)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(OCTET_WORKER_SLOTS="2", OCTET_JOB_THREADS="1", OCTET_GRACE_SECONDS="0") as stack,
        Client(stack.url, stack.key) as client,
        bare_route() as bare,
    ):
        confine(ALL_CORES - CORES)
        url, key = stack.url, stack.key
        ways = {"Octet": (url, []), "bare route": (bare, [get(bare, "/constant")])}
        jobs = start_jobs(client, Path(folder))
        ways["Octet"][1].extend(get(url, f"/v1/jobs/{job}", Authorization=f"Bearer {key}") for job in jobs)
        measure("two jobs")
        with beside(keep_uploading, url, key, 1), beside(keep_uploading, url, key, 2):
            time.sleep(8)  # until both send
            measure("two jobs, two uploads")
            with beside(besiege, url, key):
                time.sleep(5)
                measure(f"and {LORISES} slow-loris sockets")
    raise SystemExit(not report(measured, asked.rate))


def report(measured: dict[str, dict[str, Latencies]], rate: float) -> bool:
    """Print the table; whether every bound holds."""
    table = Table("load", f"{rate:g} requests/s to", "p50 ms", "p90 ms", "p99 ms", "max ms", "answers")
    for load, ways in measured.items():
        for way, found in ways.items():
            figures = [f"{found.percentile(share) * 1e3:.1f}" for share in (0.5, 0.9, 0.99, 1.0)]
            answers = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
            table.add_row(load, way, *figures, answers)
        ratios = [ways["Octet"].percentile(share) / ways["bare route"].percentile(share) for share in (0.5, 0.9, 0.99)]
        table.add_row(load, "ratio", *(f"{ratio:.1f}" for ratio in ratios), "", "")
    Console(width=120).print(table)
    holds = True
    bounds = (MOST_BUSY, MOST_BUSY, MOST_BESIEGED)
    for (load, ways), bound in zip(measured.items(), bounds, strict=True):
        p99 = ways["Octet"].percentile(0.99)
        answered = set(ways["Octet"].statuses) == {httpx.codes.OK}
        print(f"{load}: p99 {p99 * 1e3:.1f} ms, bound {bound * 1e3:g} ms, {'all answered' if answered else 'FAILURES'}")
        holds &= p99 < bound and answered
    return holds


if __name__ == "__main__":
    main()
