from __future__ import annotations

import hashlib
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from octet.client import (
    Client,
    DamagedDownloadError,
    JobCancelledError,
    JobFailedError,
    JobHandle,
    ServiceError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from store import leases, tables

if TYPE_CHECKING:
    from pathlib import Path

    from live_service import LiveService, Relay

    from octet.report import Report
    from octet.wire import Job

FILE_SIZE = 600_000


@pytest.fixture
def job(client: Client, tiny_model: Path) -> JobHandle:
    return client.submit(client.upload_model(tiny_model), {"method": "dynamic"}, name="tiny")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "made"
    folder.mkdir()
    paths = [folder / "model.pt", folder / "report.json"]
    paths[0].write_bytes(os.urandom(FILE_SIZE))
    paths[1].write_text("{}")
    return paths


@pytest.fixture
def done(service: LiveService, job: JobHandle, report: Report, files: list[Path]) -> JobHandle:
    service.succeed(job.id, report, *files)
    return job


def test_a_queued_job_says_where_it_stands(job: JobHandle) -> None:
    shown = job.refresh()
    assert (shown.state, shown.name, shown.queue_position, shown.finished) == ("queued", "tiny", 0, False)


def test_waiting_shows_each_change_and_ends_with_the_job(
    service: LiveService, job: JobHandle, report: Report, files: list[Path]
) -> None:
    seen: list[Job] = []

    def on_update(shown: Job) -> None:
        seen.append(shown)
        if len(seen) == 1:
            threading.Thread(target=service.succeed, args=(job.id, report, *files)).start()

    finished = job.wait(on_update=on_update)
    assert finished.state == "succeeded"
    assert seen[0].state == "queued"
    assert seen[-1] == finished
    assert len(seen) == len({shown.model_dump_json() for shown in seen})
    assert job.report() == report


def test_waiting_raises_what_the_job_failed_with(service: LiveService, job: JobHandle) -> None:
    service.fail(job.id, {"code": "quantization_failed", "message": "No int8 kernel.", "hint": "Try another engine."})
    with pytest.raises(JobFailedError) as caught:
        job.wait()
    error = caught.value
    assert (error.code, error.message, error.hint) == ("quantization_failed", "No int8 kernel.", "Try another engine.")
    assert error.job.state == "failed"


def test_a_cancelled_job_ends_the_waiting(job: JobHandle) -> None:
    assert job.cancel().state == "cancelled"
    with pytest.raises(JobCancelledError):
        job.wait()
    with pytest.raises(ServiceError) as caught:
        job.cancel()
    assert (caught.value.status, caught.value.code) == (409, "job_ended")


def test_waiting_gives_up_when_the_time_is_up_and_the_job_goes_on(job: JobHandle) -> None:
    with pytest.raises(WaitTimeoutError):
        job.wait(timeout=0.1)
    assert job.refresh().state == "queued"


def test_waiting_outlives_a_restart_of_the_service(
    service: LiveService, job: JobHandle, report: Report, files: list[Path]
) -> None:
    def restart() -> None:
        service.stop()
        service.succeed(job.id, report, *files)
        service.start()

    seen: list[Job] = []

    def on_update(shown: Job) -> None:
        seen.append(shown)
        if len(seen) == 1:
            restarting.start()

    restarting = threading.Thread(target=restart)
    assert job.wait(on_update=on_update).state == "succeeded"
    restarting.join()


def test_a_service_that_is_not_there_to_begin_with_is_not_waited_for(service: LiveService, job: JobHandle) -> None:
    service.stop()
    with pytest.raises(ServiceUnreachableError):
        job.wait()
    with pytest.raises(ServiceUnreachableError):
        next(job.events())


def test_a_job_that_does_not_exist_is_reported(client: Client) -> None:
    with pytest.raises(ServiceError) as caught:
        client.job(uuid4()).wait()
    assert caught.value.code == "not_found"


def test_events_come_as_they_happen_and_end_with_the_job(service: LiveService, job: JobHandle, report: Report) -> None:
    events = job.events()
    assert next(events).state == "queued"
    attempt = service.work(job.id)
    with service.database.begin() as session:
        leases.record_progress(session, job.id, attempt, "calibrate", 0.5, "batch 1 of 2")
        leases.succeed(session, job.id, attempt, report, [])
    rest = list(events)
    assert [(event.kind, event.state) for event in rest] == [
        ("state", "running"),
        ("progress", "running"),
        ("state", "succeeded"),
    ]
    assert (rest[1].stage, rest[1].message) == ("calibrate", "batch 1 of 2")
    assert list(job.events(after=rest[-1].id)) == []


def test_events_go_on_where_the_connection_broke_off(service: LiveService, relay: Relay, done: JobHandle) -> None:
    expected = list(done.events())
    with Client(relay.url, service.key) as client:
        relay.limits.append(700)  # enough for the head and an event
        events = list(client.job(done.id).events())
    assert not relay.limits
    assert events == expected


def test_a_report_is_refused_until_there_is_one(job: JobHandle) -> None:
    with pytest.raises(ServiceError) as caught:
        job.report()
    assert caught.value.status == 409


def test_a_download_is_whole_and_tells_how_far_it_is(done: JobHandle, files: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = done.download(tmp_path / "out", on_progress=lambda *step: seen.append(step))
    assert [path.name for path in paths] == ["model.pt", "report.json"]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in files]
    assert seen[-1] == (FILE_SIZE + 2, FILE_SIZE + 2)
    assert seen == sorted(seen)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.pt", "report.json"]


def test_only_what_is_named_is_downloaded(done: JobHandle, tmp_path: Path) -> None:
    assert [path.name for path in done.download(tmp_path / "out", ["report.json"])] == ["report.json"]
    with pytest.raises(UnexpectedAnswerError, match=r"no file 'model\.onnx'"):
        done.download(tmp_path / "out", ["model.onnx"])


def test_a_download_that_broke_off_goes_on_by_itself(
    service: LiveService, relay: Relay, done: JobHandle, files: list[Path], tmp_path: Path
) -> None:
    with Client(relay.url, service.key) as client:
        handle = client.job(done.id)
        relay.limits.extend([FILE_SIZE // 2, FILE_SIZE // 4])  # the list of files and the first half, then some more
        seen: list[int] = []
        paths = handle.download(tmp_path / "out", ["model.pt"], lambda there, _: seen.append(there))
    assert not relay.limits
    assert paths[0].read_bytes() == files[0].read_bytes()
    assert seen == sorted(seen)


def test_a_download_goes_on_where_an_earlier_one_was_killed(done: JobHandle, files: list[Path], tmp_path: Path) -> None:
    part = _part(files[0], tmp_path)
    part.write_bytes(files[0].read_bytes()[:1000])
    seen: list[int] = []
    paths = done.download(tmp_path, ["model.pt"], lambda there, _: seen.append(there))
    assert seen[0] == 1000
    assert paths[0].read_bytes() == files[0].read_bytes()
    assert not part.exists()


def test_a_damaged_part_is_noticed_and_thrown_away(done: JobHandle, files: list[Path], tmp_path: Path) -> None:
    _part(files[0], tmp_path).write_bytes(b"x" * 1000)
    with pytest.raises(DamagedDownloadError):
        done.download(tmp_path, ["model.pt"])
    assert not list(tmp_path.glob("*model.pt*"))
    assert done.download(tmp_path, ["model.pt"])[0].read_bytes() == files[0].read_bytes()


def test_a_file_that_is_there_already_is_not_fetched_again(
    service: LiveService, done: JobHandle, tmp_path: Path
) -> None:
    (path,) = done.download(tmp_path, ["model.pt"])
    before = path.stat()
    with service.database.begin() as session:  # there is nothing left to fetch it from
        session.query(tables.BlobChunk).delete()
    seen: list[tuple[int, int]] = []
    done.download(tmp_path, ["model.pt"], lambda *step: seen.append(step))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert seen[-1] == (FILE_SIZE, FILE_SIZE)


def test_a_service_that_stays_away_is_reported_and_the_part_is_kept(
    service: LiveService, relay: Relay, done: JobHandle, tmp_path: Path
) -> None:
    relay.limits.extend([100_000, 0, 0, 0])
    with Client(relay.url, service.key, patience=0) as client, pytest.raises(ServiceUnreachableError):
        client.job(done.id).download(tmp_path, ["model.pt"])
    (part,) = tmp_path.glob(".model.pt.*.part")
    assert 0 < part.stat().st_size < FILE_SIZE


def _part(file: Path, folder: Path) -> Path:
    return folder / f".{file.name}.{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}.part"


def test_a_job_is_purged_and_its_model_with_it(client: Client, done: JobHandle) -> None:
    model = done.refresh().model
    client.delete_job(done)
    with pytest.raises(ServiceError) as caught:
        done.refresh()
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    client.delete_model(model, purge=True)
    assert list(client.models()) == []


def test_a_job_and_an_upload_may_have_an_end(client: Client, tiny_model: Path) -> None:
    moment = datetime.now(UTC) + timedelta(days=1)
    model = client.upload_model(tiny_model, expires_at=moment)
    job = client.submit(model, {"method": "dynamic"}, expires_at=moment)
    assert model.expires_at == job.refresh().expires_at == moment
