"""What a job's process cannot do, as root's worker and as an ordinary one's, and what it can."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cell import LACKING

from worker.sandbox import LAYERS
from worker.warmth import CHECKOUT

if sys.platform != "linux":
    pytest.skip("what is tried here is Linux's", allow_module_level=True)

HERE = Path(__file__).parent
ATTEMPTS = (HERE / "attempts.py").read_text(encoding="utf-8")
NAMES = [node.name for node in ast.parse(ATTEMPTS).body if isinstance(node, ast.FunctionDef) and "try_" in node.name]

LACKED = {f"syscall: {os.strerror(number)}" for number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)}
WORKERS = [("root", "unshare"), ("root", "none"), ("ordinary", "unshare"), ("ordinary", "none")]
OLDEST = ("ordinary", "none", "1")  # on a kernel that has the first version of Landlock


def in_cell(code: str, who: str, *how: str) -> dict[str, Any]:
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can play root's worker")
    with TemporaryDirectory(prefix="octet-cell-") as directory:  # not pytest's, which other users cannot reach
        Path(directory).chmod(0o777)
        environment = {"TMPDIR": directory, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, HERE / "cell.py", who, *how],
            input=code,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == LACKING:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module", params=[*WORKERS, OLDEST], ids="-".join)
def outcome(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How every attempt ended, in one process that made them all."""
    outcome = in_cell(ATTEMPTS, *request.param)
    for name in ("landlock", "seccomp"):
        holds, detail = outcome["layers"][name]
        if not holds and detail in LACKED:
            pytest.skip(f"this kernel has no {name}: {detail}")
    return outcome


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_process_is_refused(outcome: dict[str, Any], name: str) -> None:
    assert outcome["attempts"][name] is not None


def test_every_layer_holds_that_this_host_has(outcome: dict[str, Any], request: pytest.FixtureRequest) -> None:
    lacking = set() if "unshare" in request.node.name else {"namespaces"}
    assert {layer.name for layer in LAYERS} - {
        name for name, (holds, _) in outcome["layers"].items() if holds
    } == lacking


def test_what_a_job_needs_is_left_to_it() -> None:
    code = """
import json, os, socket, threading, time
def try_its_scratch():
    (scratch / "folder").mkdir()
    (scratch / "folder" / "file").write_text("x")
    (scratch / "folder").rename(scratch / "other")
    os.remove(scratch / "other" / "file")
def try_threads():
    started = [threading.Thread(target=time.sleep, args=(0,)) for _ in range(8)]
    [thread.start() for thread in started]
    [thread.join() for thread in started]
def try_a_pair_of_sockets():
    one, other = socket.socketpair()
    one.sendall(b"x")
    other.recv(1)
def try_importing():
    import decimal, sqlite3, torch.version
def try_the_processor():
    open("/proc/cpuinfo").read()
    open("/proc/self/status").read()
    os.cpu_count()
def try_random_numbers():
    open("/dev/urandom", "rb").read(8)
def try_the_lock_that_lets_one_measure():
    from octet.measuring import measuring_alone
    with measuring_alone(print):
        pass
"""
    for who, kind in WORKERS:
        if who == "ordinary" or os.geteuid() == 0:
            assert set(in_cell(code, who, kind)["attempts"].values()) == {None}
