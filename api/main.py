"""What a server starts: `uvicorn --factory api.main:app`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.app import create_app
from store.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


def app() -> FastAPI:
    """The app, with its settings from the environment."""
    return create_app(Settings())
