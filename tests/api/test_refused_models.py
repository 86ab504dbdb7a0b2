"""Real files that are no model Octet can take: what each is answered, and that nothing of it stays."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from asking import left_behind, problem
from safetensors.numpy import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from store.database import Database

NET = torch.nn.Linear(4, 3)


@torch.library.custom_op("octet_api_tests::twist", mutates_args=())
def twist(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


twist.register_fake(torch.empty_like)


class _Unknown(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twist(x)


def _written(write: Callable[[io.BytesIO], object]) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        stream = io.BytesIO()
        write(stream)
        return stream.getvalue()

    return make


def _exported(model: torch.nn.Module) -> Callable[[Path], bytes]:
    """As torch writes it: `octet.export` would refuse to."""
    return _written(lambda stream: torch.export.save(torch.export.export(model, (torch.randn(2, 4),)), stream))


def _not_a_number(folder: Path) -> bytes:
    model = torch.nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    return _exported(model)(folder)


def _old_layout(stream: io.BytesIO) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript is deprecated, and this is about refusing it
@pytest.mark.parametrize(
    ("make", "status", "code", "words"),
    [
        (_written(_old_layout), 415, "unsupported_format", "layout of torch 2.7 or older"),
        (_written(lambda s: torch.jit.save(torch.jit.script(NET), s)), 415, "unsupported_format", "TorchScript"),
        (_written(lambda s: torch.save(NET, s)), 415, "unsupported_format", "pickle"),
        (_written(lambda s: torch.save(NET.state_dict(), s)), 415, "unsupported_format", "state dict"),
        (lambda _: save({"a": np.zeros(3)}), 415, "unsupported_format", "safetensors"),
        (_not_a_number, 422, "invalid_model", "NaN"),
        (_exported(_Unknown()), 422, "unsupported_operator", "octet_api_tests.twist"),
    ],
    ids=["old layout", "TorchScript", "pickled model", "state dict", "safetensors", "NaN weights", "unknown operator"],
)
def test_it_is_named_and_leaves_nothing(
    *,
    make: Callable[[Path], bytes],
    status: int,
    code: str,
    words: str,
    api: httpx.Client,
    database: Database,
    spool: Path,
    tmp_path: Path,
) -> None:
    answer = api.post("models", content=make(tmp_path))

    assert problem(answer) == (status, code)
    assert words in answer.json()["detail"]
    assert answer.json()["hint"]
    assert left_behind(database, spool) == []
