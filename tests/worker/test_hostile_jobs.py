"""A job that means harm: what it may use up, and what it can reach."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from working import QUICK, Desk

import octet

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.process import Child
    from worker.runner import Runner

GIB = 2**30


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(40):
            x = torch.relu(x)
        return x


def rewritten(source: Path, path: Path, change: Callable[[dict[str, Any], int], None]) -> Path:
    """A `.pt2` in which each call was changed by hand, given its place; torch.export would have refused to make it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                document = json.loads(data)
                for at, node in enumerate(document["graph_module"]["graph"]["nodes"]):
                    change(node, at)
                data = json.dumps(document).encode()
            new.writestr(name, data)
    return path


def double(node: dict[str, Any], _: int) -> None:
    """Twice as large after each call: 16 GiB after 30 of them."""
    node["target"] = "torch.ops.aten.cat.default"
    value = node["inputs"][0]["arg"]["as_tensor"]
    node["inputs"] = [{"name": "tensors", "arg": {"as_tensors": [value, value]}, "kind": 1}]


def grow_and_multiply(node: dict[str, Any], at: int) -> None:
    """A matrix of 8192 x 8192, then its products with itself: minutes of work."""
    value = {"name": "self", "arg": node["inputs"][0]["arg"], "kind": 1}
    if at == 0:
        size = {"name": "size", "arg": {"as_ints": [8192, 8192]}, "kind": 1}
        fill = {"name": "fill_value", "arg": {"as_float": 1.0}, "kind": 1}
        node.update(target="torch.ops.aten.new_full.default", inputs=[value, size, fill])
    else:
        node.update(target="torch.ops.aten.matmul.default", inputs=[value, {**value, "name": "other"}])


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return octet.export(Loop(), (torch.randn(2, 16),), tmp_path / "calls.pt2")


def test_a_graph_that_devours_memory_fails_by_name_and_the_next_job_is_done(
    desk: Desk, model: Path, calls: Path, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with(job_memory_bytes=GIB)
    job_id = desk.submit(rewritten(calls, tmp_path / "bad.pt2", double), QUICK, hint=False)
    runner.run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "out_of_memory"
    assert "aten.cat" in job.error["message"]
    next_id = desk.submit(model, QUICK, hint=False)
    runner.run(next_id)
    assert desk.job(next_id).state == "succeeded"


def test_a_graph_that_computes_without_end_is_ended(
    desk: Desk, calls: Path, tmp_path: Path, runner_with: Callable[..., Runner]
) -> None:
    runner = runner_with(job_timeout_seconds=8.0)
    job_id = desk.submit(rewritten(calls, tmp_path / "bad.pt2", grow_and_multiply), QUICK, hint=False)
    runner.run(job_id)
    job = desk.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "timeout"


def test_a_jobs_process_has_nothing_open_and_may_open_nothing_to_the_outside(child: Child) -> None:
    process = Path(f"/proc/{child.pid}")
    opened = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
    assert {name for name in opened if not name.startswith("socket:")} == {"/dev/null", str(child.scratch / "log")}
    assert sum(name.startswith("socket:") for name in opened) == 2  # to the runner, and to the checker
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
