"""The saved artifact: what is written, and the check that it can be used.

| file | holds |
|---|---|
| `model.pt` | the int8 model as TorchScript; torch alone loads it |
| `report.json` | what was done, and what it did |
| `manifest.json` | what the artifact holds and needs: hashes, versions, engine, CPU features, shapes, recipe |
| `sample.safetensors` | `input_0`, …, and the int8 model's `output_0`, … for them |
| `load.py` | how to use it |
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from octet import torchscript
from octet.errors import DestinationExistsError, VerificationFailedError
from octet.manifest import FileFacts, Manifest
from octet.report import Verification
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from octet.recipe import Recipe
    from octet.report import EngineFacts, Report
    from octet.spec import ProgramSpec, TensorSpec

TOLERANCE = 1 / 127
"""One int8 step of the largest output: float parts added up in another order may round a value the other way."""
VERIFY_TIMEOUT = 300.0
"""Seconds that loading and running the sample may take."""
_RELOAD = Path(__file__).with_name("reload.py")
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")

_LOAD = '''\
"""Loads the int8 model and runs it once. Needs torch {torch} and nothing else."""
from pathlib import Path
import torch
torch.backends.quantized.engine = "{engine}"
model = torch.jit.load(str(Path(__file__).with_name("model.pt")))
print(model({inputs}))
'''


@dataclass(frozen=True)
class Sample:
    """A few inputs, and what the int8 model gives for them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def tolerance(self) -> float:
        """Largest absolute difference between two runs that is not a fault."""
        largest = max((output.abs().nan_to_num().max().item() for output in self.outputs if output.numel()), default=0)
        return float(largest) * TOLERANCE


def run_sample(scripted: torch.jit.ScriptModule, inputs: tuple[Tensor, ...]) -> Sample:
    """What `scripted` gives for `inputs`; its engine must be set."""
    with torch.no_grad():
        outputs = scripted(*inputs)
    return Sample(inputs, outputs if isinstance(outputs, tuple) else (outputs,))


def check_destination(directory: Path) -> None:
    """Raises where an artifact cannot be saved, before the work for it is done.

    Raises:
        DestinationExistsError: If there is something at `directory` already.
    """
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise DestinationExistsError(
            f"There is something at {directory} already.", hint="Choose a directory that is new or empty."
        )


@contextmanager
def written_whole(directory: Path) -> Iterator[Path]:
    """A temporary sibling of `directory` that takes its name when the block ends well and vanishes when it does not.

    Raises:
        DestinationExistsError: If there is something at `directory` already.
    """
    check_destination(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's is 0o700
        folder.rename(directory)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_model(folder: Path, scripted: torch.jit.ScriptModule, sample: Sample, engine: str, spec: ProgramSpec) -> None:
    """Writes everything but the report and the manifest."""
    torchscript.save(scripted, folder / "model.pt")
    save_sample(folder, sample)
    inputs = ", ".join(_zeros(tensor, own) for tensor, own in zip(spec.inputs, sample.inputs, strict=True))
    text = _LOAD.format(torch=torch.__version__, engine=engine, inputs=inputs)
    (folder / "load.py").write_text(text, encoding="utf-8")


def save_sample(folder: Path, sample: Sample) -> None:
    """Writes `sample.safetensors`."""
    tensors = {f"input_{position}": tensor for position, tensor in enumerate(sample.inputs)}
    tensors |= {f"output_{position}": tensor for position, tensor in enumerate(sample.outputs)}
    # safetensors takes no two names for one memory, which an output that passes an input through would be.
    own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / "sample.safetensors")
    (folder / "sample.safetensors").chmod(0o644)  # it writes 0o600


def write_report(folder: Path, report: Report) -> None:
    """Writes `report.json`."""
    (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_manifest(folder: Path, spec: ProgramSpec, recipe: Recipe, engine: EngineFacts, check: Check) -> None:
    """Writes `manifest.json` about the files that are in `folder`; comes last."""
    manifest = Manifest(
        octet_version=__version__,
        torch_version=torch.__version__,
        engine=engine.name,
        reduce_range=engine.reduce_range,
        cpu_flags=engine.cpu_flags,
        threads=check.threads,
        tolerance=check.tolerance,
        inputs=spec.inputs,
        outputs=spec.outputs,
        recipe=recipe,
        files={path.name: _facts(path) for path in sorted(folder.iterdir())},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Check:
    """How a saved model is run again."""

    engine: str
    threads: int
    tolerance: float

    def run(self, folder: Path) -> Verification:
        """Loads `folder` in a fresh process that has torch, the sample and no environment of ours, and compares.

        Raises:
            VerificationFailedError: If it does not load, does not run, or gives something else.
        """
        start = time.perf_counter()
        command = [sys.executable, "-I", str(_RELOAD), str(folder.resolve()), self.engine, str(self.threads)]
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
        difference = json.loads(process.stdout)["max_abs_difference"]
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
        if not path.is_file() or _facts(path) != facts:
            raise VerificationFailedError(f"{name} is missing, or not the file that was saved.")
    return Check(manifest.engine, manifest.threads, manifest.tolerance).run(folder)


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileFacts(sha256=digest, size=path.stat().st_size)


def _zeros(spec: TensorSpec, sample: Tensor) -> str:
    return f"torch.zeros({tuple(sample.shape)}, dtype=torch.{spec.dtype})"
