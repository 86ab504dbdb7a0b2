"""The browser page: one template, one style sheet, ES modules. It has no privileges: it calls the API with a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Request  # noqa: TC002 - FastAPI reads the page's signature
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from octet.version import __version__

if TYPE_CHECKING:
    from fastapi import FastAPI

_HERE = Path(__file__).parent
_templates = Jinja2Templates(_HERE / "templates")


def install(app: FastAPI) -> None:
    """Serve the page at `/` and what it needs under `/static`."""

    def page(request: Request) -> HTMLResponse:
        return _templates.TemplateResponse(request, "index.html", {"version": __version__})

    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False, response_class=HTMLResponse)
