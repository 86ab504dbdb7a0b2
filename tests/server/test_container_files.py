"""The Dockerfile and docker-compose.yml, as far as they can be tried without Docker: what the image holds is enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from server.cli import app

ROOT = Path(__file__).parents[2]
FINAL_STAGE = (ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def _copied(text: str) -> dict[str, str]:
    """What is copied from the checkout: source -> destination."""
    lines = [line.split()[1:] for line in re.findall(r"^COPY (?!--).*$", text, re.MULTILINE)]
    return {source: destination for *sources, destination in lines for source in sources}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder with just what the image's last stage copies."""
    for source, destination in _copied(FINAL_STAGE).items():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / destination)
    return tmp_path


def _run(image: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(image), **settings}
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=image,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_what_the_dockerfile_copies_is_there_and_reaches_the_build() -> None:
    copied = _copied((ROOT / "Dockerfile").read_text())
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    assert set(copied) == sent


def test_the_image_holds_what_a_migration_needs(image: Path, postgres: str) -> None:
    done = _run(image, "migrate", OCTET_DATABASE_URL=postgres)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if service.get("image") == "octet"])
def test_compose_starts_commands_that_exist(service: str) -> None:
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined] # a group's
    assert SERVICES[service]["command"][0] in commands
