"""Writes the files of an artifact; a directory appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from octet import torchscript
from octet.errors import DestinationExistsError
from octet.manifest import Manifest, facts_of
from octet.state import kept
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from octet.artifact.check import Check
    from octet.recipe import Recipe
    from octet.report import EngineFacts, Report
    from octet.spec import ProgramSpec, TensorSpec

TOLERANCE = 1 / 127
"""One int8 step of the largest output: float parts added up in another order may round a value the other way."""

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
    with torch.no_grad(), kept(scripted):
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
        files={path.name: facts_of(path) for path in sorted(folder.iterdir())},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _zeros(spec: TensorSpec, sample: Tensor) -> str:
    return f"torch.zeros({tuple(sample.shape)}, dtype=torch.{spec.dtype})"
