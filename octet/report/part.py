"""What every part of a report is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a report: it has no keys but these."""

    model_config = ConfigDict(extra="forbid")
