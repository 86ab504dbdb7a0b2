"""Large uploads go on where a line broke, and send nothing twice that has arrived."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from octet.client import Client, ServiceError, ServiceUnreachableError

if TYPE_CHECKING:
    from pathlib import Path

    from live_service import LiveService, Relay

    from octet.wire import Dataset

CHUNK = 2**20
HEADS = 10_000  # bytes of requests that are no file: more than all heads together


@pytest.fixture(scope="module")
def large_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve MiB of samples."""
    path = tmp_path_factory.mktemp("data") / "large.npz"
    np.savez(path, input_0=np.random.default_rng(0).normal(size=(3 * 2**20,)).astype(np.float32))
    return path


def _is_whole(data: Dataset, path: Path) -> bool:
    return data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_cut_costs_at_most_one_chunk(service: LiveService, relay: Relay, large_data: Path, share: float) -> None:
    size = large_data.stat().st_size
    relay.request_limits.append(int(share * size))
    with Client(relay.url, service.key) as client:
        data = client.upload_dataset(large_data)

    assert _is_whole(data, large_data)
    assert not relay.request_limits
    assert size < relay.carried < size + CHUNK + HEADS


def test_a_line_that_breaks_again_and_again_is_got_over(service: LiveService, relay: Relay, large_data: Path) -> None:
    size = large_data.stat().st_size
    relay.request_limits.extend([2 * CHUNK] * 5)
    seen: list[tuple[int, int]] = []
    with Client(relay.url, service.key) as client:
        data = client.upload_dataset(large_data, name="large", on_progress=lambda *step: seen.append(step))

    assert _is_whole(data, large_data)
    assert data.name == "large"
    assert seen[-1] == (size, size)
    assert relay.carried < size + 5 * CHUNK + HEADS


def test_answers_that_were_lost_are_asked_for(service: LiveService, relay: Relay, large_data: Path) -> None:
    relay.limits.extend([20, 200, 1200, 1200, 1600, 2000])  # to the beginning, to parts, to questions
    with Client(relay.url, service.key) as client:
        data = client.upload_dataset(large_data)

        assert _is_whole(data, large_data)
        assert [found.id for found in client.datasets()] == [data.id]
    assert relay.carried < large_data.stat().st_size + CHUNK + HEADS


def test_a_service_that_is_restarted_meanwhile_is_waited_for(service: LiveService, large_data: Path) -> None:
    restarted = threading.Event()

    def restart(sent: int, _: int) -> None:
        if sent >= 4 * CHUNK and not restarted.is_set():
            restarted.set()
            thread.start()

    thread = threading.Thread(target=lambda: (service.stop(), service.start()))
    with Client(service.url, service.key) as client:
        data = client.upload_dataset(large_data, on_progress=restart)
    thread.join()

    assert _is_whole(data, large_data)


def test_what_the_service_refuses_is_not_sent_again(service: LiveService, relay: Relay, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"PK\x03\x04" + bytes(6 * CHUNK))
    with Client(relay.url, service.key) as client, pytest.raises(ServiceError) as caught:
        client.upload_model(path)

    assert (caught.value.status, caught.value.code) == (422, "invalid_archive")
    assert relay.carried < path.stat().st_size + HEADS


def test_patience_ends(service: LiveService, relay: Relay, large_data: Path) -> None:
    relay.request_limits.extend([4 * CHUNK] + [0] * 100)
    with Client(relay.url, service.key, patience=0.5) as client, pytest.raises(ServiceUnreachableError):
        client.upload_dataset(large_data)
