"""The process in which bench/fuzz.py does its cases: `fuzz_child.py FOLDER FIRST CASES MODEL…`.

It says "start N" before each case and "done N OUTCOME" after it; where it dies in between, that was the case.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

import torch

import octet
from octet import torchscript
from octet.errors import OctetError
from octet.pipeline.trial import try_out

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "octet" / "program"))
import mutations  # noqa: E402 - the tests change archives in the same ways
from pt2 import entries  # noqa: E402 - likewise

CPU_SECONDS = 10
MEMORY_BYTES = 2**30
MAX_MESSAGE = 5000

# What nothing in a process that reads models may do, once it has everything imported.
FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.putenv", "os.remove", "os.rename", "os.mkdir",
    "os.chmod", "os.symlink", "os.link", "os.kill", "subprocess.Popen", "pty.spawn", "socket.", "pickle.find_class",
    "ctypes.dlopen", "shutil.", "tempfile.", "urllib.", "code.__new__", "builtins.input",
)  # fmt: skip


class Watch:
    """An audit hook: what happens in this process that must not."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and self._is_foreign(event, args):
            self.seen.append(f"{event}{args!r}"[:300])

    @staticmethod
    def _is_foreign(event: str, args: tuple[Any, ...]) -> bool:
        if event == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if event == "import":  # torch imports parts of itself late
            return not args[0].startswith(("torch", "octet", "numpy", "sympy", "mpmath", "typing", "_", "encodings"))
        if event == "exec":  # the code that torch.fx writes, and modules that are imported
            name = args[0].co_filename
            return not name.startswith(
                ("<eval_with_key>", "<string>", "<frozen", sys.prefix, sys.base_prefix, str(REPOSITORY))
            )
        return event.startswith(FORBIDDEN)


def child(folder: Path, first: int, cases: int, names: list[str]) -> None:
    """Do the cases, one line before each and one after."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = Path(f"{os.getpid()}.pt2")
    for name in names:  # imports what is imported late
        outcome(folder / f"{name}.pt2")
    watch = Watch()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for number in range(first, first + cases):
        path.write_bytes(bytes_of(folder, names, number))
        print("start", number, flush=True)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # ends the process
        watch.on = True
        result = outcome(path)
        watch.on = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        if watch.seen or Path(mutations.CANARY).exists():
            result = f"VIOLATION executed: {watch.seen[:3]}"
            watch.seen.clear()
        print("done", number, result, flush=True)


def outcome(path: Path) -> str:
    """How far the file gets, and the code of the error that stops it."""
    stage = "load"
    try:
        program = octet.load(path)
        stage = "build"
        module = program.module()
        stage = "run"
        inputs = mutations.made_up(program)
        if inputs is None:
            return "accepted, its inputs are too large to make"
        try_out(module, inputs)
        stage = "script"
        torchscript.script(module)
    except OctetError as error:
        return (
            f"{stage}: {error.code}"
            if len(str(error)) < MAX_MESSAGE
            else f"VIOLATION {str(error)[:200]!r}… has {len(str(error))} characters"
        )
    except BaseException as error:  # noqa: BLE001 - that it is none of ours is the finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/octet/" in frame.filename][-1]
        return (
            f"VIOLATION {stage}: {type(error).__name__} {ours.filename.rsplit('/octet/')[-1]}:{ours.lineno} "
            f"{where.name}: {str(error)[:150]!r}"
        )
    return "accepted, run and scripted"


def bytes_of(folder: Path, names: list[str], number: int) -> bytes:
    """The archive of a case."""
    seed = entries(folder / f"{names[number % len(names)]}.pt2")
    return mutations.mutant(seed, Random(number))  # noqa: S311 - it only has to be the same again


if __name__ == "__main__":
    child(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
