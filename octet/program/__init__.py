"""Reads a `.pt2` file without running anything that is in it.

`load` needs no torch: it takes the archive as JSON and raw bytes, and accepts or refuses the model. `Program.module`
then builds a graph of `nn` modules, which needs torch.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from octet.errors import MissingDependencyError
from octet.program.describe import describe
from octet.program.lowering.lower import lower
from octet.program.pt2.formats import MODEL, open_archive
from octet.program.pt2.schema import parse_document
from octet.program.reading.reader import read_graph
from octet.program.reading.weights import StoredTensor, check_finite, read_tensors

if TYPE_CHECKING:
    from torch import fx

    from octet.engines import EngineName
    from octet.program.pt2.archive import Archive
    from octet.program.steps import Plan
    from octet.recipe import Int8Method
    from octet.spec import Layer, Outlook, ProgramSpec, TensorSpec

MAX_JSON_BYTES = 64 * 2**20


class Program:
    """A model, read and found sound.

    Attributes:
        path: The file. It must stay as it is while the program or a module of it is used.
        spec: What the model takes, gives and is made of.
    """

    def __init__(self, archive: Archive, spec: ProgramSpec, plan: Plan, tensors: dict[str, StoredTensor]) -> None:
        self.path = archive.path
        self.spec = spec
        self._archive = archive
        self._plan = plan
        self._tensors = tensors

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors it takes, in order."""
        return self.spec.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors it gives, in order."""
        return self.spec.outputs

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The modules it is made of, in order of first use."""
        return self.spec.layers

    def outlook(self, method: Int8Method, engine: EngineName) -> dict[str, Outlook]:
        """What will become of each layer under a method with an engine, by module path, before any rule of a recipe.

        It goes by what torch's kernels are known to do; the report of a job says what came of it.
        """
        found = {layer.name: layer.under(method, engine) for layer in self.layers}
        return {name: outlook for name, outlook in found.items() if outlook is not None}

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def module(self) -> fx.GraphModule:
        """A fresh `torch.fx.GraphModule` of `nn` modules in eval mode, with the weights mapped from the file.

        It takes its inputs by position, in the order of `inputs`, and returns a tensor, or where there are several
        outputs a tuple of tensors in the order of `outputs`. Half-precision weights come as float32.

        Raises:
            MissingDependencyError: If torch is not installed.
            InvalidArchiveError: If the file is no longer the one that was read.
            InvalidModelError: If a module cannot be made of what the file says.
        """
        try:
            from octet.program.building.build import build  # noqa: PLC0415 - the only part of reading that needs torch
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingDependencyError(
                "Building the model needs torch, which is not installed.", hint="Run: pip install 'octet[engine]'"
            ) from None
        self._archive.check_unchanged()
        return build(self._plan, self._tensors, self.path)


def load(path: str | Path) -> Program:
    """Reads a `.pt2`, without torch, and checks all of it: archive, graph, operators, weights.

    Memory stays small whatever the size of the weights: they are read once, piece by piece.

    Raises:
        UnsupportedFormatError: If the file is something else; says what, and how to make a `.pt2`.
        InvalidArchiveError: If it is truncated or damaged.
        InvalidModelError: If the model in it cannot be used, NaN weights included.
        UnsupportedOperatorError: If it uses an operator that Octet cannot rebuild; says which, and where.
    """
    path = Path(path)
    archive = open_archive(path)
    document = parse_document(archive.read(MODEL, MAX_JSON_BYTES))
    graph = read_graph(document.graph_module)
    tensors = read_tensors(archive, graph, MAX_JSON_BYTES)
    plan = lower(graph, (call.fqn for call in document.graph_module.module_call_graph))
    spec = describe(document, graph, plan, tensors.values())
    check_finite(archive, tensors.values())
    return Program(archive, spec, plan, tensors)
