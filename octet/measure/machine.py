"""The machine that figures are taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from octet.report import MachineFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octet.recipe import Measure

_CPUINFO = Path("/proc/cpuinfo")


def machine_facts() -> MachineFacts:
    """This machine, as the report names it."""
    return MachineFacts(
        cpu=_cpuinfo().get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=available_cores(),
        torch_version=torch.__version__,
    )


def available_cores() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of(measure: Measure) -> int:
    """The intra-op threads that `measure` asks for."""
    return available_cores() if measure.threads == "auto" else measure.threads


def cpu_features() -> frozenset[str]:
    """What this CPU has, in the kernel's words; empty where the system does not say."""
    return frozenset(_cpuinfo().get("flags", "").split())


def missing_cpu_flags(wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of `wanted` (`a|b`: either) that this CPU does not have; none where the system does not say."""
    features = cpu_features()
    return tuple(flag for flag in wanted if features and features.isdisjoint(flag.split("|")))


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields."""
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text(encoding="utf-8").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
