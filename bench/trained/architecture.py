"""What one row of `bench/accuracy.py` is: a model, and how it is trained. The same seed gives the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import octet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trained.task import Task

BATCH = 64


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: Its row.
        make: Builds the model, with random weights.
        task: What it is trained for.
        epochs: How often it sees the training samples.
        learning_rate: The highest of a one-cycle schedule of AdamW.
        finish: What is done to the trained model.
    """

    name: str
    make: Callable[[], nn.Module]
    task: Callable[[], Task]
    epochs: int
    learning_rate: float = 4e-3
    finish: Callable[[nn.Module], None] = lambda _: None

    def trained(self, folder: Path) -> Path:
        """The `.pt2` of the trained model in `folder`; trains it if it is not there."""
        path = folder / f"{self.name}.pt2"
        if not path.exists():
            model = self._train()
            self.finish(model)
            octet.export(model, (self.task().training.inputs[:2].clone(),), path)
        return path

    def _train(self) -> nn.Module:
        torch.manual_seed(0)
        model, samples = self.make().train(), self.task().training
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        steps = self.epochs * (len(samples.labels) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps)
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(samples.labels)).split(BATCH)[: steps // self.epochs]:
                optimizer.zero_grad()
                functional.cross_entropy(model(samples.inputs[chosen]), samples.labels[chosen]).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        return model.eval()
