from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from octet.client import Client, ServiceError, ServiceUnreachableError, UnexpectedAnswerError
from octet.engines import ENGINE_NAMES
from octet.errors import OctetError
from octet.recipe import PRESETS, Recipe
from store import keys

if TYPE_CHECKING:
    from pathlib import Path

    from live_service import LiveService, Relay

DYNAMIC = Recipe(method="dynamic")


def test_an_upload_is_described_and_the_same_bytes_are_the_same_model(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    assert (model.name, model.size) == ("tiny.pt2", tiny_model.stat().st_size)
    assert [spec.dtype for spec in model.inputs] == ["float32"]
    assert client.upload_model(tiny_model, name="again") == model
    assert client.model(model.id) == model
    assert [layer.type for layer in client.layers(model)] == ["Linear", "ReLU", "Linear"]


def test_an_upload_tells_how_far_it_is(client: Client, tmp_path: Path) -> None:
    # No model, and 5 MiB of it: what it is shows in its first bytes, so most of it is never sent.
    path = tmp_path / "big.bin"
    path.write_bytes(b"\x80\x04" + os.urandom(5 * 2**20))
    seen: list[tuple[int, int]] = []
    with pytest.raises(ServiceError):
        client.upload_model(path, on_progress=lambda *step: seen.append(step))
    assert seen[0] == (2**20, path.stat().st_size)
    assert seen == sorted(seen)


def test_data_is_uploaded_listed_and_deleted(client: Client, tiny_data: Path) -> None:
    seen: list[tuple[int, int]] = []
    data = client.upload_dataset(tiny_data, name="sixteen", on_progress=lambda *step: seen.append(step))
    size = tiny_data.stat().st_size
    assert seen[-1] == (size, size)
    assert (data.name, data.samples) == ("sixteen", 16)
    assert [found.id for found in client.datasets()] == [data.id]
    client.delete_dataset(data)
    assert list(client.datasets()) == []
    with pytest.raises(ServiceError) as caught:
        client.dataset(data.id)
    assert (caught.value.status, caught.value.code) == (410, "dataset_deleted")


def test_a_model_is_kept_while_a_job_needs_it(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    job = client.submit(model, DYNAMIC)
    with pytest.raises(ServiceError) as caught:
        client.delete_model(model)
    assert (caught.value.status, caught.value.code) == (409, "in_use")
    job.cancel()
    client.delete_model(model)
    assert list(client.models()) == []


def test_lists_go_on_over_pages(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    handles = [client.submit(model, DYNAMIC) for _ in range(23)]
    assert [job.id for job in client.jobs()] == [handle.id for handle in reversed(handles)]
    assert list(client.jobs("running")) == []


def test_the_catalogue_is_typed(client: Client) -> None:
    assert [engine.name for engine in client.engines()] == list(ENGINE_NAMES)
    assert [preset.name for preset in client.recipes()] == list(PRESETS)
    assert client.workers() == []


def test_a_service_without_a_worker_is_degraded_and_says_why(client: Client) -> None:
    health = client.health()
    assert health.status == "degraded"
    assert health.checks["database"] == "ok"
    assert health.checks["workers"] != "ok"


def test_a_job_can_be_checked_without_being_queued(client: Client, service: LiveService, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    assert client.validate(model, {"method": "dynamic"}).recipe == DYNAMIC
    with pytest.raises(ServiceError) as caught:
        client.validate(model, {"method": "static"})
    assert caught.value.code == "invalid_dataset"
    assert service.count_jobs() == 0


def test_a_refusal_carries_sentence_hint_and_place(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    with pytest.raises(ServiceError) as caught:
        client.submit(model, {"metod": "dynamic"})
    error = caught.value
    assert (error.status, error.code) == (422, "invalid_recipe")
    assert error.message == "The recipe is not valid: unknown key 'metod' (at /recipe/metod)."
    assert error.hint == "Did you mean 'method'?"
    assert [field.pointer for field in error.errors] == ["/recipe/metod"]


@pytest.mark.parametrize("key", [None, "octet_wrong", "\N{SNOWMAN}"])
def test_a_bad_key_is_an_error_of_the_service(service: LiveService, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.delenv("OCTET_API_KEY", raising=False)
    with Client(service.url, key) as client, pytest.raises(ServiceError) as caught:
        list(client.models())
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")


def test_address_and_key_come_from_the_environment(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTET_URL", service.url + "/")
    monkeypatch.setenv("OCTET_API_KEY", service.key)
    with Client() as client:
        assert list(client.models()) == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Client(service.url, service.key) as client:
        assert list(client.models()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "http://127.0.0.1:99999"])
def test_a_service_that_is_not_there_is_reported_with_what_to_do(url: str) -> None:
    with pytest.raises(ServiceUnreachableError) as caught, Client(url) as client:
        client.health()
    assert url in caught.value.message
    assert caught.value.hint


def test_another_program_at_the_address_is_not_taken_for_the_service(service: LiveService) -> None:
    with Client(service.url + "/docs", service.key) as client, pytest.raises((UnexpectedAnswerError, ServiceError)):
        client.engines()


def test_a_file_that_is_not_there_is_reported(client: Client, tmp_path: Path) -> None:
    with pytest.raises(OctetError, match=r"absent\.pt2 cannot be read"):
        client.upload_model(tmp_path / "absent.pt2")


def test_a_submission_whose_answer_was_lost_is_repeated_and_makes_one_job(
    service: LiveService, relay: Relay, tiny_model: Path
) -> None:
    with Client(service.url, service.key) as direct:
        model = direct.upload_model(tiny_model)
    relay.limits.append(20)  # the service takes the job, and its answer breaks off
    with Client(relay.url, service.key) as client:
        handle = client.submit(model, DYNAMIC)
        assert handle.refresh().state == "queued"
    assert not relay.limits
    assert service.count_jobs() == 1


def test_an_upload_whose_answer_was_lost_is_repeated(service: LiveService, relay: Relay, tiny_model: Path) -> None:
    relay.limits.append(20)
    with Client(relay.url, service.key) as client:
        model = client.upload_model(tiny_model)
        assert [found.id for found in client.models()] == [model.id]
    assert not relay.limits


def test_a_cancellation_whose_answer_was_lost_is_repeated(service: LiveService, relay: Relay, tiny_model: Path) -> None:
    with Client(service.url, service.key) as direct:
        handle = direct.submit(direct.upload_model(tiny_model), DYNAMIC)
    relay.limits.append(20)
    with Client(relay.url, service.key) as client:
        assert client.job(handle.id).cancel().state == "cancelled"
    assert not relay.limits


def test_one_client_serves_several_threads(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    threads = [threading.Thread(target=client.submit, args=(model, DYNAMIC)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(client.jobs())) == 4


def test_a_repeated_idempotency_key_gives_the_same_job(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    key = str(uuid4())
    first, second = (client.submit(model, DYNAMIC, idempotency_key=key) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(ServiceError) as caught:
        client.submit(model, DYNAMIC, name="another", idempotency_key=key)
    assert caught.value.code == "idempotency_mismatch"


def test_a_key_tells_what_it_is_for(client: Client, tiny_model: Path) -> None:
    model = client.upload_model(tiny_model)
    info = client.key_info()
    assert (info.name, info.owner, info.scopes) == ("tests", "default", ["read", "submit"])
    assert info.stored_bytes == model.size


def test_what_a_key_is_not_for_is_refused(service: LiveService) -> None:
    with service.database.begin() as session:
        _, key = keys.create(session, "reader", scopes=["read"])
    with Client(service.url, key) as reader, pytest.raises(ServiceError) as caught:
        reader.submit(str(uuid4()), DYNAMIC)
    assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")


def test_a_limit_is_reported_when_patience_ends(service: LiveService, tiny_model: Path) -> None:
    with service.database.begin() as session:
        _, key = keys.create(session, "small", limits=keys.Limits(max_unfinished_jobs=1))
    with Client(service.url, key, patience=0.5) as client:
        model = client.upload_model(tiny_model)
        client.submit(model, DYNAMIC)
        with pytest.raises(ServiceError) as caught:
            client.submit(model, DYNAMIC)
    assert (caught.value.status, caught.value.code) == (429, "too_many_jobs")
    assert caught.value.retry_after > 0.5
