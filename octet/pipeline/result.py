"""What a job gives: an int8 model, its report, and the artifact they are saved as."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from octet import artifact
from octet.measure import threads_of
from octet.measure.latency import threads
from octet.quantization import use_engine

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from octet.pipeline.job import Job
    from octet.pipeline.stages import Stages
    from octet.progress import OnProgress
    from octet.report import Report
    from octet.spec import ProgramSpec


@dataclass
class Result:
    """An int8 model and its report.

    Attributes:
        module: The int8 model; it runs in this process.
        report: What was done, and what it did. `save` adds the verification.
    """

    module: GraphModule
    report: Report
    _scripted: torch.jit.ScriptModule = field(repr=False)
    _spec: ProgramSpec = field(repr=False)
    _inputs: tuple[Tensor, ...] = field(repr=False)
    _stages: Stages = field(repr=False)

    @classmethod
    def of(cls, job: Job, module: GraphModule, scripted: torch.jit.ScriptModule, report: Report) -> Result:
        """What came of `job`."""
        return cls(module, report, scripted, job.program.spec, job.inputs, job.stages)

    def save(
        self,
        directory: str | Path,
        *,
        on_progress: OnProgress | None = None,
        reload: artifact.Reload = artifact.in_new_process,
    ) -> Path:
        """Writes the artifact, and loads it in a fresh process to see that it gives the same outputs.

        Args:
            directory: New or empty. It appears once everything in it is written and verified, or not at all.
            on_progress: Instead of the listener that `quantize` was given.
            reload: What loads it in a fresh process; by default one is started, which costs the import of torch.

        Raises:
            DestinationExistsError: If there is something at `directory` already.
            VerificationFailedError: If the saved model is not the one that was measured.
        """
        directory = Path(directory)
        recipe, engine = self.report.recipe, self.report.engine
        stages = self._stages
        stages.on_progress = on_progress or stages.on_progress
        stages.at("save", 0.0, "writing the artifact")
        thread_count = threads_of(recipe.measure)
        with artifact.written_whole(directory) as folder, use_engine(engine.name), threads(thread_count):
            sample = artifact.run_sample(self._scripted, self._inputs)
            artifact.write_model(folder, self._scripted, sample, engine.name, self._spec)
            stages.at("verify", 0.0, "loading it in a fresh process")
            check = artifact.Check(engine.name, thread_count, sample.tolerance)
            verification = check.run(folder, reload)
            stages.stop()
            self.report = self.report.model_copy(update={"verification": verification, "seconds": dict(stages.seconds)})
            artifact.write_report(folder, self.report)
            artifact.write_manifest(folder, self._spec, recipe, engine, check)
        stages.at("verify", 1.0, "verified")
        return directory
