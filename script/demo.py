"""Starts the service, trains a digit recogniser, quantizes it three ways, shows what that did, and stops everything.

It ends with status 0 only if each job succeeded and passed its gates, the files that came back are those the service
made, torch alone gives the reported accuracy from one of them, and no process is left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
import torch
from sklearn.datasets import load_digits
from torch import nn

import octet
from octet.cli import bars, render
from octet.client import Client, ServiceUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octet.report import Report

OUTPUT = Path("demo-output")
LOGS = OUTPUT / "logs"
METHODS = ("dynamic", "static", "qat")
BATCH_SIZES = (1, 64)
LEAST_ACCURACY = 0.95
START_SECONDS = 60
STOP_SECONDS = 30
STARTED = time.monotonic()

# Run by a Python that knows nothing of this checkout: only torch, numpy and the files that came back.
USE_ALONE = """
import json, runpy, sys
import numpy, torch
model = runpy.run_path(sys.argv[1])["model"]
data = numpy.load(sys.argv[2])
found = model(torch.from_numpy(data["input_0"])).argmax(1).numpy()
print(json.dumps({"accuracy": float((found == data["label"]).mean()), "octet": "octet" in sys.modules}))
"""


class DemoError(Exception):
    """Something did not hold."""


class Digits(NamedTuple):
    """Images (float32, N x 1 x 8 x 8, 0 to 1) with labels (int64, N), in three parts that share no sample."""

    train: dict[str, np.ndarray]
    calibration: dict[str, np.ndarray]
    evaluation: dict[str, np.ndarray]


def main() -> None:
    """Run the demo."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(OUTPUT, ignore_errors=True)
    LOGS.mkdir(parents=True)
    try:
        demonstrate()
    except (DemoError, octet.OctetError) as error:
        sys.exit(f"\nThe demo failed: {error}\nWhat the service said is in {LOGS}.")
    say(f"Everything held. The artifacts are in {OUTPUT}/{{{','.join(METHODS)}}}.")


def demonstrate() -> None:
    """All of it, in order."""
    say("Training a small CNN on scikit-learn's handwritten digits")
    digits = split()
    model = train(digits)
    octet.export(model, (torch.from_numpy(digits.calibration["input_0"][:2]),), OUTPUT / "digits.pt2")
    for part in ("calibration", "evaluation"):
        np.savez(OUTPUT / f"{part}.npz", **getattr(digits, part))

    say("Starting the service: Postgres, Redis, API and worker")
    with service() as client:
        reports = quantize(client)
        print(flush=True)
        render.console().print(render.reports(reports.items()))
        print(flush=True)
    say("Stopped the service; no process is left")
    check(reports)


def split() -> Digits:
    """The digits, shuffled once and for all: 1100 to train, 200 to calibrate, 497 to evaluate."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(images))
    train, calibration, evaluation = (
        {"input_0": images[part], "label": labels[part].astype(np.int64)} for part in np.split(order, [1100, 1300])
    )
    return Digits(train, calibration, evaluation)


def train(digits: Digits) -> nn.Module:
    """A CNN of 375,000 parameters, trained for a few seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(
        1
    )  # so small a model gains nothing from more, and they would wait for each other on a busy machine
    model = nn.Sequential(
        block(1, 32), block(32, 64), nn.MaxPool2d(2), block(64, 128), block(128, 128), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip
    images, labels = torch.from_numpy(digits.train["input_0"]), torch.from_numpy(digits.train["label"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(4):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        found = model(torch.from_numpy(digits.evaluation["input_0"])).argmax(1).numpy()
    accuracy = float((found == digits.evaluation["label"]).mean())
    require(accuracy >= LEAST_ACCURACY, f"the fp32 model reached only {accuracy:.1%}")
    say(f"Trained: {accuracy:.2%} of {len(found)} unseen digits")
    return model


def block(inputs: int, outputs: int) -> nn.Module:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


@contextmanager
def service() -> Iterator[Client]:
    """The whole service on this machine, on a free port and with data of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="octet-demo-") as folder, (LOGS / "up.log").open("w") as log:
        port = free_port()
        command = [sys.executable, "-m", "server", "up", "--data-dir", folder, "--port", str(port)]
        # Its own Postgres and Redis, whatever the caller's environment names.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OCTET_")}
        server = psutil.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield connect(server, f"http://127.0.0.1:{port}", Path(folder) / "api-key")
        finally:
            try:
                stop(server)
            finally:
                shutil.copytree(Path(folder) / "logs", LOGS, dirs_exist_ok=True)


def connect(server: psutil.Popen, url: str, key_file: Path) -> Client:
    """A client of the service, once it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        require(server.poll() is None, f"the service ended with status {server.returncode} while starting")
        try:
            with Client(url) as nobody:
                ready = nobody.health().status == "ok"
        except ServiceUnreachableError:
            ready = False
        if ready:
            say(f"Ready at {url}")
            return Client(url, key_file.read_text().strip())
        time.sleep(0.2)
    raise DemoError(f"the service was not ready within {START_SECONDS} s")


def stop(server: psutil.Popen) -> None:
    """Stop the service as Ctrl-C does, and see that nothing of it is left."""
    if server.poll() is not None:
        raise DemoError(f"the service ended early, with status {server.returncode}")
    family = [server, *server.children(recursive=True)]
    server.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in left:
        process.kill()
    require(not left, f"these processes had to be killed: {', '.join(str(process.pid) for process in left)}")
    require(server.returncode == 0, f"the service stopped with status {server.returncode}")


def quantize(client: Client) -> dict[str, Report]:
    """A job for each method, its artifact in a directory of its own, and its report."""
    with bars.transfer("upload") as on_progress:
        model = client.upload_model(OUTPUT / "digits.pt2", on_progress=on_progress)
        calibration = client.upload_dataset(OUTPUT / "calibration.npz")
        evaluation = client.upload_dataset(OUTPUT / "evaluation.npz")
    reports = {}
    for method in METHODS:
        say(f"Quantizing: {method}")
        data = None if method == "dynamic" else calibration
        recipe = {"method": method, "measure": {"batch_sizes": BATCH_SIZES}}
        job = client.submit(model, recipe, calibration=data, evaluation=evaluation, name=f"digits {method}")
        with bars.job(method) as on_update:
            job.wait(on_update=on_update)
        with bars.transfer(f"download {method}") as on_progress:
            job.download(OUTPUT / method, on_progress=on_progress)
        reports[method] = job.report()
    return reports


def check(reports: dict[str, Report]) -> None:
    """Every gate held, and the static model gives its reported accuracy where only torch is known."""
    for method, report in reports.items():
        require(report.verdict == "passes", f"the {method} model does not pass its gates")
    say("Using the static model in a fresh Python with torch alone")
    with tempfile.TemporaryDirectory() as elsewhere:
        load, data = (OUTPUT / "static" / "load.py").resolve(), (OUTPUT / "evaluation.npz").resolve()
        command = [sys.executable, "-I", "-c", USE_ALONE, str(load), str(data)]
        answer = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    require(answer.returncode == 0, f"the static model could not be used alone:\n{answer.stderr}")
    alone = json.loads(answer.stdout.splitlines()[-1])
    reported = reports["static"].accuracy
    require(not alone["octet"], "loading the artifact imported octet")
    require(reported is not None and alone["accuracy"] == reported.int8, f"alone it reaches {alone}, not {reported}")
    say(f"It recognises {alone['accuracy']:.2%} of the evaluation digits, as reported")


def require(holds: bool, otherwise: str) -> None:
    """Raise DemoError if something does not hold."""
    if not holds:
        raise DemoError(otherwise)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(line: str) -> None:
    """Tell what is happening, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {line}", flush=True)


if __name__ == "__main__":
    main()
