"""A training that was interrupted goes on, and ends as if nothing had happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import samples_of, trace
from safetensors import safe_open
from tiny_models import inputs_of, make

from octet.quantization import Checkpoint, Quantized, quantize_module, use_engine
from octet.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

COARSE = {"weights": {"granularity": "per_tensor", "power_of_two": True}, "activations": {"power_of_two": True}}
TRAINING = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01, "validation": 0.25}


class EndedError(Exception):
    """What stands for the end of the process."""


def train(
    path: Path | None, *, stop_at: str = "", family: str = "residual", job: str = "a", **training: Any
) -> Quantized:
    """QAT with its progress kept at `path`; it ends with an error at the first message that starts with `stop_at`."""

    def on_stage(stage: str, _: float, message: str) -> None:
        if stop_at and stage == "train" and message.startswith(stop_at):
            raise EndedError

    recipe = Recipe.parse({"method": "qat", "training": {**TRAINING, **training}, **COARSE})
    inputs = inputs_of(family, 40)
    samples = samples_of(inputs)
    with use_engine(recipe.engine):
        return quantize_module(
            trace(make(family)),
            recipe,
            inputs=(inputs[:4],),
            calibration=samples,
            training=samples,
            checkpoint=None if path is None else Checkpoint(path, job, on_saved=lambda: None),
            on_stage=on_stage,
        )


def interrupted(path: Path, stop_at: str = "epoch 3", **options: Any) -> None:
    with pytest.raises(EndedError):
        train(path, stop_at=stop_at, **options)


def outputs(result: Quantized, family: str = "residual") -> torch.Tensor:
    with use_engine("x86"), torch.no_grad():
        found: torch.Tensor = result.scripted(inputs_of(family, 40, seed=1))
    return found


@pytest.mark.parametrize(
    ("family", "training"),
    [
        ("residual", {}),
        ("residual", {"optimizer": "adamw", "freeze_batch_norm": 0.6, "schedule": "constant"}),
        ("conv-gru", {"optimizer": "adamw", "freeze_observers": 1.0}),
    ],
)
def test_a_training_that_was_interrupted_gives_the_same_model_to_the_bit(
    tmp_path: Path, family: str, training: dict[str, Any]
) -> None:
    whole = train(None, family=family, **training)
    interrupted(tmp_path / "c", "epoch 2", family=family, **training)  # twice, and each time with something new kept
    interrupted(tmp_path / "c", "epoch 4", family=family, **training)
    resumed = train(tmp_path / "c", family=family, **training)
    assert resumed.epochs == whole.epochs
    assert torch.equal(outputs(resumed, family), outputs(whole, family))
    assert "Training was interrupted; it went on after epoch 3 of 4." in resumed.plan.warnings


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    interrupted(tmp_path / "c")
    interrupted(tmp_path / "c", "epoch 3")  # it would have come to epoch 1 or 2 first
    with pytest.raises(EndedError):
        train(tmp_path / "c", stop_at="epoch")
    finished = train(tmp_path / "c")
    again = train(tmp_path / "c", stop_at="epoch")  # all four are over
    assert torch.equal(outputs(again), outputs(finished))


@pytest.mark.parametrize("change", [{"job": "b"}, {"family": "mlp"}])
def test_a_checkpoint_of_something_else_is_not_gone_on_from(tmp_path: Path, change: dict[str, Any]) -> None:
    interrupted(tmp_path / "c")
    result = train(tmp_path / "c", **change)
    assert any("checkpoint of another training" in warning for warning in result.plan.warnings)
    assert result.epochs == train(None, **change).epochs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("interrupted") / "c"
    interrupted(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda _: b"",
        lambda _: b"\x80\x02no pickle is read",
        lambda data: data.replace(b"epoch", b"epoxy", 1),
        lambda data: data.replace(b"true", b"gone", 1),
        lambda data: data.replace(b"optimizer/", b"pessimist/", 1),
    ],
)
def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path: Path, checkpoint: bytes, damage: Any) -> None:
    path = tmp_path / "c"
    path.write_bytes(damage(checkpoint))
    result = train(path)
    assert any("a damaged one" in warning for warning in result.plan.warnings)
    assert len(result.epochs) == 5


def test_a_checkpoint_is_one_whole_file_of_tensors_and_json(tmp_path: Path) -> None:
    interrupted(tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    with safe_open(tmp_path / "c", "pt") as file:
        assert set(file.metadata()) == {"fingerprint", "epochs"}
        assert {key.split("/")[0] for key in file.keys()} == {"model", "best", "optimizer"}  # noqa: SIM118


def test_where_no_checkpoint_can_be_written_the_training_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = train(tmp_path / "file" / "c")
    (warning,) = result.plan.warnings
    assert "could not be made safe against an interruption" in warning
    assert result.epochs == train(None).epochs
