"""Archives changed at random: the reader answers with a model or with one of our errors, and executes nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import CANARY, made_up, mutant
from pt2 import entries
from zoo import ZOO, live

import octet
from octet import torchscript
from octet.errors import OctetError
from octet.pipeline.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FUZZ = Path(__file__).resolve().parents[3] / "bench" / "fuzz.py"
SEEDS = ("mlp", "shared", "stateful")


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """The records of a model's file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("seeds")
    made = {}
    for name in SEEDS:
        model, inputs = ZOO[name]
        made[name] = entries(octet.export(live(model()), inputs(), folder / f"{name}.pt2"))
    return lambda name: made[name]  # hypothesis shows what a test was called with, and a dictionary is long


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(CANARY).exists()


@pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations")
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(SEEDS), number=st.integers(0, 2**32))
def test_a_changed_archive_gives_a_model_or_one_of_our_errors(
    name: str, number: int, seed: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "changed.pt2"
    path.write_bytes(mutant(seed(name), Random(number)))  # noqa: S311 - it only has to be the same again
    with contextlib.suppress(OctetError):
        program = octet.load(path)
        module = program.module()
        inputs = made_up(program)
        if inputs is not None:
            try_out(module, inputs)
            torchscript.script(module)


def test_the_long_run_finds_nothing_in_its_first_cases(tmp_path: Path) -> None:
    """In processes of their own, with limits, and an audit hook that hears what is executed."""
    kept = str(tmp_path / "kept")
    command = [sys.executable, str(FUZZ), "--cases", "40", "--processes", "1", "--keep", kept, "--models", "mlp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
