"""A command that was killed while it trained, given again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import yaml
from typer.testing import CliRunner

from octet.cli.app import app
from octet.report import Report

EPOCHS = 80
TRAINED = {
    "method": "qat",
    "calibration": {"samples": 8},
    "training": {"epochs": EPOCHS, "batch_size": 1},
    "measure": {"seconds": 0.01, "threads": 1, "layers": False},
    "gates": {"max_accuracy_drop": None},
}


def test_the_same_command_goes_on_where_it_was_killed(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    (recipe := tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TRAINED))
    folder = tmp_path / "artifacts"
    arguments = ["quantize", tiny_model, "--recipe", recipe, "--calibration", tiny_data, "-o", folder / "out", "--json"]
    command = [str(argument) for argument in arguments]
    killed = subprocess.Popen([Path(sys.executable).with_name("octet"), *command], stderr=subprocess.DEVNULL)
    while not (folder / ".out.checkpoint").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    done = CliRunner().invoke(app, command)
    report = Report.model_validate(json.loads(done.stdout))
    (note,) = [warning for warning in report.warnings if "went on" in warning]
    assert re.search(rf"went on after epoch \d+ of {EPOCHS}\.", note)
    assert [epoch.number for epoch in report.training] == list(range(EPOCHS + 1))
    assert [path.name for path in folder.iterdir()] == ["out"]
