"""Requests that meet: whoever comes first, all of them get an answer that is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asking import left_behind, problem, together
from sqlalchemy import func, select

from store.tables import Job, Model

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from store.database import Database

ROUNDS = 5


def test_the_same_bytes_at_once_are_one_model(api: httpx.Client, model_file: bytes, database: Database) -> None:
    answers = together(*[lambda: api.post("models", content=model_file)] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    (identity,) = {answer.json()["id"] for answer in answers}
    assert api.get(f"models/{identity}/content").content == model_file
    with database.begin() as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1


def test_an_upload_at_the_moment_its_model_is_deleted_is_kept_or_deleted_as_a_whole(
    api: httpx.Client, model_file: bytes, database: Database, spool: Path
) -> None:
    for _ in range(ROUNDS):
        old = api.post("models", content=model_file).json()["id"]
        deleted, uploaded = together(
            lambda old=old: api.delete(f"models/{old}"), lambda: api.post("models", content=model_file)
        )
        assert deleted.status_code == 204
        new = uploaded.json()["id"]
        assert uploaded.status_code == (200 if new == old else 201)
        content = api.get(f"models/{new}/content")
        if new == old:  # the upload came first: it found its bytes there, and they were deleted afterwards
            assert problem(content) == (410, "model_deleted")
        else:
            assert content.content == model_file
            api.delete(f"models/{new}")
    assert set(left_behind(database, spool)) == {"models"}  # rows alone; the bytes are gone


def test_a_job_at_the_moment_its_model_is_deleted_keeps_it_or_is_refused(
    api: httpx.Client, model_file: bytes, database: Database
) -> None:
    for _ in range(ROUNDS):
        model = api.post("models", content=model_file).json()["id"]
        deleted, queued = together(
            lambda model=model: api.delete(f"models/{model}"),
            lambda model=model: api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}}),
        )
        if deleted.status_code == 204:
            assert problem(queued) == (410, "model_deleted")
        else:
            assert (problem(deleted), queued.status_code) == ((409, "in_use"), 202)
            api.post(f"jobs/{queued.json()['id']}/cancel")
    with database.begin() as session:
        assert session.scalar(select(func.count()).where(Job.state == "queued")) == 0


def test_the_same_idempotency_key_at_once_is_one_job(api: httpx.Client, model: str) -> None:
    job = {"json": {"model": model, "recipe": {"method": "dynamic"}}, "headers": {"Idempotency-Key": "once"}}

    answers = together(*[lambda: api.post("jobs", **job)] * 4)

    queued = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(queued) == 1
    for answer in answers:  # those that came while the first was being answered are to come again
        assert answer.status_code == 202 or problem(answer) == (409, "idempotency_in_progress")
    assert api.post("jobs", **job).json()["id"] in queued
