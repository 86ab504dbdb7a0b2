"""Following a job: entity tags, long polls, events as a list and as a stream."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asking import problem, until
from example_report import REPORT
from serving import serve

from api.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from asking import Worker

    from store.settings import Settings


def test_an_unchanged_job_is_not_sent_again(api: httpx.Client, job: str, worker: Worker) -> None:
    tag = api.get(f"jobs/{job}").headers["etag"]

    assert api.get(f"jobs/{job}", headers={"If-None-Match": tag}).status_code == 304
    worker.start(job)
    assert api.get(f"jobs/{job}", headers={"If-None-Match": tag}).status_code == 200


def test_a_long_poll_wakes_when_the_job_ends(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)
    with _meanwhile(lambda: worker.progress(job, "measure", 0.5), lambda: worker.succeed(job, REPORT)):
        answer = api.get(f"jobs/{job}", headers={"Prefer": "wait=60"}, timeout=30)

    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.json()["state"] == "succeeded"


def test_a_long_poll_with_an_etag_wakes_when_the_job_changes(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)
    tag = api.get(f"jobs/{job}").headers["etag"]
    with _meanwhile(lambda: worker.progress(job, "measure", 0.5)):
        answer = api.get(f"jobs/{job}", headers={"Prefer": "wait=60", "If-None-Match": tag}, timeout=30)

    assert (answer.status_code, answer.json()["stage"]) == (200, "measure")


def test_a_long_poll_without_news_ends_in_time(api: httpx.Client, job: str) -> None:
    tag = api.get(f"jobs/{job}").headers["etag"]

    assert api.get(f"jobs/{job}", headers={"Prefer": "respond-async, wait=1"}).json()["state"] == "queued"
    assert api.get(f"jobs/{job}", headers={"Prefer": "wait=1", "If-None-Match": tag}).status_code == 304
    assert "preference-applied" not in api.get(f"jobs/{job}", headers={"Prefer": "wait=soon"}).headers


def test_who_still_waits_when_the_service_stops_is_asked_to_come_again(settings: Settings, key: str, job: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    with ThreadPoolExecutor(1) as thread:
        with serve(create_app(settings)) as url:
            waiting = {**headers, "Prefer": "wait=60"}
            poll = thread.submit(httpx.get, f"{url}/v1/jobs/{job}", headers=waiting, timeout=60, trust_env=False)
            with httpx.Client(headers=headers, trust_env=False) as other:
                until(lambda: "octet_http_requests_in_flight 2.0" in other.get(f"{url}/v1/metrics").text)
        answer = poll.result()
    assert problem(answer) == (503, "unavailable")
    assert answer.headers["retry-after"]


def test_a_wait_is_capped(api: httpx.Client, job: str) -> None:
    api.post(f"jobs/{job}/cancel")

    assert api.get(f"jobs/{job}", headers={"Prefer": "wait=999999"}).headers["preference-applied"] == "wait=60"


def test_events_are_listed_in_order(api: httpx.Client, job: str, worker: Worker) -> None:
    worker.start(job)
    worker.progress(job, "load", 0.1)

    events = api.get(f"jobs/{job}/events").json()

    assert [(event["kind"], event["state"]) for event in events] == [
        ("state", "queued"),
        ("state", "running"),
        ("progress", "running"),
    ]
    assert api.get(f"jobs/{job}/events", params={"after": events[1]["id"]}).json() == events[2:]


@pytest.mark.parametrize("number", [str(2**63), "9" * 5000, "-1", "x"], ids=["too big", "endless", "negative", "text"])
def test_what_is_no_event_is_refused(number: str, api: httpx.Client, job: str) -> None:
    answer = api.get(f"jobs/{job}/events", params={"after": number})
    assert problem(answer) == (422, "invalid_request")
    answer = api.get(f"jobs/{job}/events", headers={"Last-Event-ID": number})
    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["parameter"] == "last-event-id"


def test_events_stream_until_the_job_ends_and_go_on_after_a_break(api: httpx.Client, job: str, worker: Worker) -> None:
    headers = {"Accept": "text/event-stream"}
    worker.start(job)
    with api.stream("GET", f"jobs/{job}/events", headers=headers, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        first = _events(answer, 2)
    with _meanwhile(lambda: worker.progress(job, "verify", 0.9), lambda: worker.succeed(job, REPORT)):
        resume = {**headers, "Last-Event-ID": str(first[-1]["id"])}
        with api.stream("GET", f"jobs/{job}/events", headers=resume, timeout=30) as answer:
            rest = _events(answer)

    assert [event["state"] for event in first] == ["queued", "running"]
    assert [event["state"] for event in rest] == ["running", "succeeded"]
    finished = api.get(f"jobs/{job}/events", headers={**headers, "Last-Event-ID": str(rest[-1]["id"])})
    assert finished.text == ""


def _events(answer: httpx.Response, count: int | None = None) -> list[dict[str, Any]]:
    """The next events of a stream, which must carry their ids."""
    found: list[dict[str, Any]] = []
    identity = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            identity = value
        if name == "data":
            found.append(json.loads(value))
        if not line and found:
            assert identity == str(found[-1]["id"])
            if len(found) == count:
                break
    return found


class _meanwhile:  # noqa: N801 - reads as a statement
    """Does things in another thread, one after the other, while its block waits for them."""

    def __init__(self, *deeds: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=lambda: [deed() for deed in deeds])

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
