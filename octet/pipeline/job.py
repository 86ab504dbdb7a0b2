"""What every step of a job needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from octet import torchscript
from octet.quantization import Checkpoint, quantize_module, simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.pipeline.inputs import JobData
    from octet.pipeline.stages import Stages
    from octet.program import Program
    from octet.progress import Stage
    from octet.quantization import Quantized, Simulated
    from octet.recipe import Recipe

SAMPLE_SIZE = 4
"""Samples that kernels are tried with, and that are saved with the model."""


@dataclass(frozen=True)
class Job:
    """A model, what is to be done to it, and what with.

    Attributes:
        program: The model as it was read.
        recipe: What is to be done.
        data: What with.
        module: The float model.
        stages: Takes the progress.
        checkpoint: Where QAT keeps its progress, and what it goes on from.
        on_checkpoint: Called each time that file is complete.
    """

    program: Program
    recipe: Recipe
    data: JobData
    module: GraphModule
    stages: Stages
    checkpoint: Path | None
    on_checkpoint: Callable[[], None]

    @cached_property
    def scripted(self) -> torch.jit.ScriptModule:
        """The float model as TorchScript: what int8 is weighed and timed against."""
        return torchscript.script(self.module)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """A small batch, of the one size that the model takes if it takes only one."""
        samples = self.data.evaluation
        return samples.tiled(samples.fixed_batch or SAMPLE_SIZE)

    def quantized(self, on_stage: Callable[[Stage, float, str], None]) -> Quantized:
        """The model after the recipe; the engine must be set."""
        return quantize_module(
            self.module,
            self.recipe,
            inputs=self.inputs,
            calibration=self.data.calibration,
            training=self.data.training if self.recipe.method == "qat" else None,
            checkpoint=self._checkpoint(),
            on_stage=on_stage,
        )

    def simulated(self, on_stage: Callable[[Stage, float, str], None]) -> Simulated:
        """The model with the rounding of the recipe faked."""
        return simulate(
            self.module, self.recipe, inputs=self.inputs, calibration=self.data.calibration, on_stage=on_stage
        )

    def _checkpoint(self) -> Checkpoint | None:
        if self.checkpoint is None or self.data.training is None:
            return None
        facts = (self.program.sha256, self.recipe.canonical(), self.data.training.digest())
        return Checkpoint(self.checkpoint, job=" ".join(facts), on_saved=self.on_checkpoint)
