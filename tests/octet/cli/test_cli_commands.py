"""Commands on this machine: standard output, standard error, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from octet.cli.app import app
from octet.report import Report
from octet.spec import ProgramSpec
from octet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

OCTET = Path(sys.executable).with_name("octet")

QUICK = """
octet: 1
method: {method}
engine: fbgemm
calibration: {{samples: 8, batch_size: 4}}
measure: {{seconds: 0.01, threads: 1}}
gates: {{max_accuracy_drop: null, min_sqnr_db: {min_sqnr_db}}}
"""

SCRIPT = """
import torch
import sibling

def make_model():
    return torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Flatten(), torch.nn.Linear(4 * sibling.WORDS, 2))

not_a_model = 3
"""


def octet(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run([OCTET, *arguments], capture_output=True, text=True, check=False, timeout=120)


def octet_here(*arguments: str | Path) -> Result:
    """The command in this process, which has loaded torch already."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(QUICK.format(method="static", min_sqnr_db=5))
    return path


def test_a_model_is_quantized_on_this_machine(tiny_model: Path, tiny_data: Path, recipe: Path, tmp_path: Path) -> None:
    data = ("--calibration", tiny_data, "--evaluation", tiny_data)
    done = octet("quantize", tiny_model, "--recipe", recipe, *data, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = Report.model_validate_json(done.stdout)
    assert report.recipe.method == "static"
    assert report.accuracy is not None
    assert report.verification is not None
    assert {"model.pt", "report.json", "manifest.json", "load.py"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_gate_that_fails_is_told_by_the_status_and_the_model_is_kept(
    tiny_model: Path, recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(QUICK.format(method="dynamic", min_sqnr_db=500))
    done = octet("quantize", tiny_model, "--recipe", recipe, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "fails" in done.stdout
    assert done.stdout.splitlines()[-1] == f"saved in {tmp_path / 'out'}"
    assert done.stderr.startswith("error: The int8 model does not pass: min_sqnr_db is 500, measured ")
    assert (tmp_path / "out" / "model.pt").exists()


def test_a_directory_with_something_in_it_is_refused_before_the_work(
    tiny_model: Path, recipe: Path, tmp_path: Path
) -> None:
    done = octet_here("quantize", tiny_model, "--recipe", recipe, "--method", "dynamic", "-o", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: There is something at {tmp_path} already.")


def test_method_and_engine_go_before_the_recipe(tiny_model: Path, recipe: Path, tmp_path: Path) -> None:
    own = ("--method", "dynamic", "--engine", "onednn")
    done = octet_here("quantize", tiny_model, "--recipe", recipe, *own, "-o", tmp_path / "out", "--json")
    asked = Report.model_validate_json(done.stdout).recipe
    assert (asked.method, asked.engine, asked.calibration.samples) == ("dynamic", "onednn", 8)


def test_a_model_is_described(tiny_model: Path) -> None:
    done = octet("inspect", tiny_model)
    assert done.returncode == 0
    assert "float32 [batch, 4]" in done.stdout
    assert "Linear" in done.stdout
    spec = ProgramSpec.model_validate_json(octet_here("inspect", tiny_model, "--json").stdout)
    assert spec.parameters == 67


def test_what_will_be_int8_is_said_beforehand(tiny_model: Path) -> None:
    shown = octet_here("inspect", tiny_model).stdout
    assert "static, qat" in shown
    assert "weights in int8" in shown
    assert "static, qat" not in octet_here("inspect", tiny_model, "--method", "static", "--engine", "onednn").stdout
    assert octet("inspect", tiny_model, "--engine", "tpu").returncode == 2


def test_a_model_is_exported_from_the_users_own_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    (tmp_path / "sibling.py").write_text("WORDS = 6")
    done = octet("export", f"{tmp_path}/mine.py:make_model", "--example", "2x6:int64", "-o", tmp_path / "mine.pt2")
    assert done.returncode == 0, done.stderr
    assert "int64 [batch, 6]" in done.stdout


FORWARD = """
import torch

class Scale(torch.nn.Module):
    def forward(self, x, scale):
        return torch.relu(x) * scale
"""


def test_axes_with_a_name_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "scaled.py").write_text(FORWARD)
    examples = ("--example", "scale:2x1", "--example", "x:2xwidth=8")
    done = octet_here("export", f"{tmp_path}/scaled.py:Scale", *examples, "-o", tmp_path / "out.pt2", "--json")
    assert done.exit_code == 0, done.stderr
    inputs = ProgramSpec.model_validate_json(done.stdout).inputs
    assert [(tensor.name, tensor.shape[0]) for tensor in inputs] == [("x", "batch"), ("scale", "batch")]
    assert [tensor.shape[1] == 1 for tensor in inputs] == [False, True]
    assert isinstance(inputs[0].shape[1], str)


@pytest.mark.parametrize(
    ("source", "example", "sentence"),
    [
        ("absent.py:make_model", "1x3", "There is no file 'absent.py'."),
        ("mine.py:not_a_model", "1x3", "not_a_model in mine.py is neither a module nor a function that makes one."),
        ("mine.py:absent", "1x3", "absent in mine.py is neither a module nor a function that makes one."),
        ("mine.py:make_model", "1,3", "'1,3' is not an example input."),
        ("mine.py:make_model", "1x3:int63", "'1x3:int63' is not an example input."),
        ("mine.py:make_model", "ids:1x=3", "'ids:1x=3' is not an example input."),
    ],
)
def test_what_cannot_be_exported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, example: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine.py").write_text(SCRIPT)
    Path("sibling.py").write_text("WORDS = 6")
    done = octet_here("export", source, "--example", example, "-o", "mine.pt2")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == f"error: {sentence}"
    assert not Path("mine.pt2").exists()


def test_the_version_is_told() -> None:
    assert octet("--version").stdout == f"octet {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nothing",),
        ("inspect",),
        ("inspect", "absent.pt2"),
        ("quantize", "absent.pt2"),
        ("show", "no-id"),
        ("jobs", "--status", "gone"),
        ("jobs", "--limit", "0"),
    ],
)
def test_wrong_usage_has_a_status_of_its_own(arguments: Sequence[str]) -> None:
    assert octet_here(*arguments).exit_code == 2


def test_a_service_that_is_not_there_is_told_in_a_line_and_a_hint() -> None:
    done = octet("jobs", "--url", "http://127.0.0.1:1", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: There is no service at http://127.0.0.1:1.",
        "hint: Start it with `octet-server up`, or say where it is with --url or OCTET_URL.",
    ]


def test_a_disk_that_is_full_is_told_in_a_line(tiny_model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [OCTET, "inspect", tiny_model, "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_every_fault_of_a_recipe_is_listed_with_its_place(tiny_model: Path, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(json.dumps({"metod": "static", "measure": {"seconds": -1}}))
    done = octet_here("quantize", tiny_model, "--recipe", recipe, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "  at /metod: unknown key 'metod'. Did you mean 'method'?" in done.stderr.splitlines()
    assert "  at /measure/seconds: Input should be greater than 0." in done.stderr.splitlines()
