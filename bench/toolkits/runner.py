"""Runs one toolkit on one architecture, in this process."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from architectures import ARCHITECTURES

from toolkits import TOOLKITS
from toolkits.outputs import reason

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[..., None]
    """Called with `stage=…` before what may fail, with `error=(stage, text)`, and with figures by name."""


def run(toolkit: str, name: str, say: Say) -> None:
    """One toolkit on one architecture; a failure is said, not raised. The last stage is `done`."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    stage = "start"

    def follow(**facts: Any) -> None:
        nonlocal stage
        stage = facts.get("stage", stage)
        say(**facts)

    try:
        import_module(TOOLKITS[toolkit]).take(ARCHITECTURES[name], follow)
    except Exception as error:  # noqa: BLE001 - any failure is a row of the table
        say(error=(stage, reason(error)))
    say(stage="done")
