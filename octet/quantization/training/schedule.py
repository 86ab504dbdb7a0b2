"""How weights are changed, and by how much at each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer

    from octet.recipe import Training

MOMENTUM = 0.9

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], Training], Optimizer]] = {
    "sgd": lambda parameters, training: SGD(
        parameters, lr=training.learning_rate, momentum=MOMENTUM, weight_decay=training.weight_decay
    ),
    "adamw": lambda parameters, training: AdamW(
        parameters, lr=training.learning_rate, weight_decay=training.weight_decay
    ),
}

SCHEDULES: dict[str, Callable[[float], float]] = {
    # Loshchilov and Hutter, "SGDR", arXiv 1608.03983, equation 5, without restarts.
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "constant": lambda _: 1.0,
}
"""Share of the steps after warm-up that are done -> share of the learning rate."""


def schedule(optimizer: Optimizer, training: Training, steps: int, done: int) -> LambdaLR:
    """The learning rate of each of `steps`, of which `done` were made before."""
    warm_up = int(training.warm_up * steps)
    shape = SCHEDULES[training.schedule]

    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return shape((step - warm_up) / max(1, steps - warm_up))

    for group in optimizer.param_groups:
        group["initial_lr"] = training.learning_rate  # what LambdaLR asks for where it does not start at step 0
    return LambdaLR(optimizer, share, last_epoch=done - 1)
