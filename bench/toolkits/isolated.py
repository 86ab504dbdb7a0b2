"""One toolkit on one architecture in a process of its own, so that a crash or a hang is a row and not the end."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CPU_SECONDS = 120
SECONDS = 600
"""For what waits without computing; on a busy machine what computes waits too."""
MEMORY = 8 * 2**30
"""Bytes."""
CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, by the server that the processes are forked from. Before Python 3.13 it does not get this path.
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
CONTEXT.set_forkserver_preload(["toolkits.warm"])


def run(toolkit: str, name: str) -> dict[str, Any]:
    """What became of it: the figures it got to, `errors` by stage, and the `seconds` it took."""
    facts: dict[str, Any] = {"errors": {}}
    receiving, sending = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_child, args=(toolkit, name, sending))
    start = time.monotonic()
    process.start()
    sending.close()
    timed_out = not _receive(receiving, facts, start + SECONDS)
    if timed_out:
        process.kill()
    process.join()
    stage = facts.pop("stage", "start")
    if timed_out:
        facts["errors"][stage] = f"took more than {SECONDS} s"
    elif stage != "done":
        facts["errors"][stage] = _how_it_ended(process.exitcode)
    facts["seconds"] = time.monotonic() - start
    return facts


def _how_it_ended(status: int | None) -> str:
    if status == -signal.SIGXCPU:
        return f"took more than {CPU_SECONDS} s of CPU time"
    return f"the process ended with status {status}"


def _receive(receiving: Connection, facts: dict[str, Any], deadline: float) -> bool:
    """Takes in what the process says until it closes the pipe; False if that is too late."""
    while receiving.poll(max(0.0, deadline - time.monotonic())):
        try:
            message = receiving.recv()
        except EOFError:
            return True
        error = message.pop("error", None)
        facts.update(message)
        if error is not None:
            stage, text = error
            facts["errors"][stage] = text
    return False


def _child(toolkit: str, name: str, sending: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a file number is what is needed
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # chatter of torch and transformers
    from toolkits.runner import run as take  # noqa: PLC0415 - it is there already, and the parent can do without torch

    take(toolkit, name, lambda **facts: sending.send(facts))
