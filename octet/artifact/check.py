"""The check that a saved artifact can be used: loaded in a fresh process, it gives what it gave before saving."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from octet.errors import VerificationFailedError
from octet.manifest import Manifest, facts_of
from octet.report import Verification

VERIFY_TIMEOUT = 300.0
"""Seconds that loading and running the sample may take."""
_RELOAD = Path(__file__).with_name("reload.py")
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")


Reload = Callable[[Path, str, int], float]
"""Loads the model in a folder, in a process that has not seen it, with an engine and threads, and runs its sample.

It gives the largest absolute difference from the sample's outputs, or raises VerificationFailedError.
"""


def in_new_process(folder: Path, engine: str, threads: int) -> float:
    """A `Reload` in a process of its own, which has torch, the sample and no environment of ours.

    Raises:
        VerificationFailedError: If the model does not load or does not run.
    """
    command = [sys.executable, "-I", str(_RELOAD), str(folder.resolve()), engine, str(threads)]
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=VERIFY_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise VerificationFailedError(
            f"The saved model did not load and run within {VERIFY_TIMEOUT:.0f} seconds."
        ) from None
    if process.returncode != 0:
        said = (process.stderr.strip() or f"exit status {process.returncode}").splitlines()[-1]
        raise VerificationFailedError(f"The saved model does not load and run in a fresh process: {said}")
    return float(json.loads(process.stdout)["max_abs_difference"])


@dataclass(frozen=True)
class Check:
    """How a saved model is run again."""

    engine: str
    threads: int
    tolerance: float

    def run(self, folder: Path, reload: Reload = in_new_process) -> Verification:
        """Loads `folder` in a fresh process and compares.

        Raises:
            VerificationFailedError: If it does not load, does not run, or gives something else.
        """
        start = time.perf_counter()
        difference = reload(folder, self.engine, self.threads)
        # Not `>`: whatever is not a number has to fail.
        if not difference <= self.tolerance:
            raise VerificationFailedError(
                f"The saved model gives other outputs than before saving: they differ by {difference:.4g}, "
                f"and {self.tolerance:.4g} is allowed."
            )
        return Verification(
            max_abs_difference=difference, tolerance=self.tolerance, seconds=time.perf_counter() - start
        )


def verify(directory: str | Path) -> Verification:
    """Checks a saved artifact: every file against the manifest, and the model against its sample.

    Raises:
        VerificationFailedError: If a file is missing or changed, or the model does not give the sample's outputs.
    """
    folder = Path(directory)
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise VerificationFailedError(f"{folder} has no manifest that can be read: {error}") from error
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file() or facts_of(path) != facts:
            raise VerificationFailedError(f"{name} is missing, or not the file that was saved.")
    return Check(manifest.engine, manifest.threads, manifest.tolerance).run(folder)
