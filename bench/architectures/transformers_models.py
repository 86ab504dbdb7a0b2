"""transformers' models, from the table in `transformers.yaml`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from architectures.architecture import MAKERS, Architecture

if TYPE_CHECKING:
    from torch import nn

TABLE = yaml.safe_load(Path(__file__).with_name("transformers.yaml").read_text(encoding="utf-8"))


def _make(name: str, options: dict[str, Any]) -> nn.Module:
    import transformers  # noqa: PLC0415 - seconds that only these rows need

    model = getattr(transformers, name)
    return model(model.config_class(**options))


def _row(group: str, name: str, inputs: dict[str, list[Any]], **options: Any) -> Architecture:
    makers = {argument: MAKERS[kind](*sizes) for argument, (kind, *sizes) in inputs.items()}
    return Architecture(name, f"transformers, {group}", partial(_make, name, options), makers)


ROWS = tuple(
    _row(group, name, **row) for group, rows in TABLE.items() if group != "shared" for name, row in rows.items()
)
