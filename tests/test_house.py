"""Who may import whom: docs/design.md, "Layout", as tests."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"octet", "store", "api", "worker", "server", "migrations"}

MAY_IMPORT = {
    "octet": {"octet"},
    "store": {"octet", "store"},
    "api": {"octet", "store", "api"},
    "worker": {"octet", "store", "worker"},
    "server": {"octet", "store", "api", "worker", "server"},
    "migrations": {"store"},
}

# A library that one place alone may import, and why.
KEPT_BEHIND = {
    "torch.ao": "octet/quantization",  # deprecated upstream: the seam where another backend would stand
    "sqlalchemy": "store",  # only the store writes SQL
    "psycopg": "store",
    "celery": "store/hints.py",  # one definition of the queue for API and worker
    "opentelemetry": "store/spans.py",  # loaded only where traces are wanted
    "pickle": None,
    "dill": None,
}
EXCEPTIONS = {
    ("migrations", "sqlalchemy"),  # migrations are the store's
    ("worker/", "celery"),  # a worker is a Celery worker; its definition of the queue is the store's
    ("server/embedded.py", "psycopg"),  # asks whether the server it started answers
}


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_those_below_it(folder: str) -> None:
    assert _sources(folder), f"{folder}/ has no sources"
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _sources(folder)
        for name in _imports(path)
        if name.split(".")[0] in OURS - MAY_IMPORT[folder]
    }
    assert not wrong


@pytest.mark.parametrize(("library", "place"), KEPT_BEHIND.items())
def test_a_library_stays_behind_its_seam(library: str, place: str | None) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in OURS
        for path in _sources(folder)
        if any(_within(name, library) for name in _imports(path))
    }
    allowed = {
        user for user in users for exception, what in EXCEPTIONS if what == library and user.startswith(exception)
    }
    strangers = {user for user in users - allowed if place is None or not user.startswith(place)}
    assert not strangers


@pytest.mark.parametrize("folder", ["store", "api", "server"])
def test_torch_is_imported_nowhere_in(folder: str) -> None:
    assert not [path for path in _sources(folder) if any(_within(name, "torch") for name in _imports(path))]


@pytest.mark.parametrize(
    "module", ["octet", "octet.client", "octet.cli", "api.main", "worker.app", "worker.main", "server.cli"]
)
def test_a_process_that_serves_or_forks_never_loads_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_client_needs_nothing_of_the_engine_or_the_server() -> None:
    allowed = {
        "octet.client",
        "octet.errors",
        "octet.wire",
        "octet.recipe",
        "octet.report",
        "octet.spec",
        "octet.version",
    }
    strangers = {
        f"{path.name} imports {name}"
        for path in _sources("octet/client")
        for name in _imports(path)
        if _within(name, "octet") and not any(_within(name, package) for package in allowed)
    }
    assert not strangers
