"""The real app behind a real port, a caller with a key, and what callers send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import structlog
import torch
from asking import Worker
from serving import serve

import octet
from api.app import create_app
from store import keys
from store.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from store.database import Database


# The default renderer writes to the terminal, and a traceback with every local variable.
structlog.configure(logger_factory=structlog.stdlib.LoggerFactory(), processors=[structlog.stdlib.render_to_log_kwargs])


@pytest.fixture(scope="session")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uploads wait while they are checked."""
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(autouse=True, scope="session")
def _patient_counting() -> Iterator[None]:
    """A machine that is busy with tests may take longer over Redis than a request should wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.rates._PATIENCE_SECONDS", 10.0)
        yield


@pytest.fixture(scope="session")
def url(postgres: str, redis_url: str, migrated_database: Database, spool: Path) -> Iterator[str]:  # noqa: ARG001 - migrated
    """Address of the service."""
    settings = Settings(database_url=postgres, redis_url=redis_url, spool_dir=spool, max_upload_bytes=2**20)
    with serve(create_app(settings)) as url:
        yield url


@pytest.fixture
def key(database: Database) -> str:
    """An API key."""
    with database.begin() as session:
        return keys.create(session, "test", scopes=keys.SCOPES)[1]


@pytest.fixture
def api(url: str, key: str) -> Iterator[httpx.Client]:
    """A caller."""
    with httpx.Client(base_url=f"{url}/v1/", headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A classifier of four numbers into three classes."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    return octet.export(model, torch.randn(2, 4), tmp_path_factory.mktemp("model") / "model.pt2").read_bytes()


@pytest.fixture
def data_file(npz: Callable[..., bytes]) -> bytes:
    """Sixteen labelled samples for it."""
    random = np.random.default_rng(0)
    return npz(input_0=random.normal(size=(16, 4)).astype(np.float32), label=random.integers(0, 3, 16))


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., bytes]:
    """Makes the bytes of an `.npz` out of arrays."""

    def make(**arrays: np.ndarray) -> bytes:
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path.read_bytes()

    return make


@pytest.fixture
def model(api: httpx.Client, model_file: bytes) -> str:
    """Id of an uploaded model."""
    return _created(api.post("models", params={"name": "tiny.pt2"}, content=model_file))


@pytest.fixture
def data(api: httpx.Client, data_file: bytes) -> str:
    """Id of an uploaded dataset."""
    return _created(api.post("datasets", params={"name": "tiny.npz"}, content=data_file))


@pytest.fixture
def job(api: httpx.Client, model: str) -> str:
    """Id of a queued job."""
    answer = api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def worker(database: Database) -> Worker:
    """Does what a worker does to a job, in the database."""
    return Worker(database)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium."""
    from browsing import chromium  # noqa: PLC0415 - other tests do without a browser

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, just opened, by somebody who has never been there."""
    from browsing import opened  # noqa: PLC0415 - as above

    with opened(browser, url) as page:
        yield page


@pytest.fixture
def signed_in(page: Page, key: str) -> Page:
    """The page, once somebody has signed in."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Quantize").wait_for()
    return page


def _created(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
