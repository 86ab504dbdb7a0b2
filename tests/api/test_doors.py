"""The doors: keys that hold no longer, the page's session, other sites, rates, quotas."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asking import connection, problem, together, upload_head
from serving import serve
from sqlalchemy import func, text, update

from api.app import create_app
from store import keys
from store.tables import FIRST_OWNER, ApiKey, BrowserSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store.database import Database
    from store.settings import Settings

HTTPS = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def page(url: str) -> Iterator[httpx.Client]:
    """A browser, as far as cookies go."""
    with httpx.Client(base_url=f"{url}/v1/", trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def make_key(database: Database) -> Callable[..., str]:
    def make(**given: Any) -> str:
        with database.begin() as session:
            return keys.create(session, "made", **given)[1]

    return make


def ask(url: str, key: str, path: str = "engines") -> httpx.Response:
    return httpx.get(f"{url}/v1/{path}", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60)


def told(answer: httpx.Response) -> str:
    assert problem(answer) == (401, "unauthorized")
    return str(answer.json()["detail"])


def test_why_a_key_is_refused_is_said(url: str, make_key: Callable[..., str], database: Database) -> None:
    good, expired, revoked = make_key(), make_key(expires_in=timedelta(seconds=-1)), make_key()
    with database.begin() as session:
        keys.revoke(session, revoked[:12])
        unknown = good
    assert ask(url, good).status_code == 200
    assert told(ask(url, expired)) == "The API key has expired."
    assert told(ask(url, revoked)) == "The API key has been revoked."
    assert told(ask(url, good[:-1])) == "This is no API key: a part of it is missing, or wrong."
    with database.begin() as session:
        session.execute(update(ApiKey).values(sha256=func.md5(ApiKey.sha256)))
    assert told(ask(url, unknown)) == "The API key is unknown."


def test_a_key_that_is_revoked_or_expires_is_refused_from_the_next_request_on(
    url: str, make_key: Callable[..., str], database: Database
) -> None:
    key = make_key()
    for change in ({"revoked_at": func.now()}, {"revoked_at": None, "expires_at": func.now()}):
        with database.begin() as session:
            session.execute(update(ApiKey).values(revoked_at=None, expires_at=None))
        assert ask(url, key).status_code == 200
        with database.begin() as session:
            session.execute(update(ApiKey).values(change))
        assert ask(url, key).status_code == 401


@pytest.mark.parametrize("place", ["Authorization: Bearer <key>", "OCTET_API_KEY"])
def test_whoever_brings_no_key_is_told_where_it_goes(url: str, place: str) -> None:
    answer = httpx.get(f"{url}/v1/engines", trust_env=False, timeout=60)
    assert problem(answer) == (401, "unauthorized")
    assert place in answer.json()["hint"]


def test_a_key_that_the_hint_makes_may_do_what_was_refused(url: str, make_key: Callable[..., str]) -> None:
    refused = ask(url, make_key(scopes=["admin"]), "audit")
    assert problem(refused) == (403, "insufficient_scope")
    wanted = re.findall(r"--scope (\w+)", refused.json()["hint"])
    assert ask(url, make_key(scopes=wanted), "audit").status_code == 200


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense", "Bearer octet_" + "0" * 49])
def test_a_stranger_is_refused_before_their_body_is_read(url: str, authorization: str) -> None:
    with connection(url) as stranger:
        head = upload_head("", 10**6).replace(b"Authorization: Bearer \r\n", b"")
        if authorization:
            head = head.replace(b"Host:", f"Authorization: {authorization}\r\nHost:".encode())
        stranger.sendall(head)
        answer = b""
        while received := stranger.recv(4096):  # until it is closed, although the body never came
            answer += received
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_session_is_as_good_as_its_key_until_somebody_signs_out(page: httpx.Client, key: str) -> None:
    assert problem(page.get("session")) == (401, "unauthorized")
    answer = page.post("session", json={"key": key})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("octet_session=octetsession_")
    for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert word in cookie
    assert "Secure" not in cookie
    assert key not in cookie

    assert page.get("session").json() == answer.json()
    assert page.get("jobs").status_code == 200
    assert page.get("metrics").status_code == 200
    kept = page.cookies["octet_session"]
    assert page.delete("session").status_code == 204
    assert "octet_session" not in page.cookies
    page.cookies.set("octet_session", kept)
    assert told(page.get("jobs")) == "You are no longer signed in."


def test_over_https_the_cookie_is_for_https_alone(page: httpx.Client, key: str) -> None:
    answer = page.post("session", json={"key": key}, headers=HTTPS)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-octet_session=")
    assert "Secure" in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    assert page.get("jobs", headers={**HTTPS, "Cookie": f"__Host-octet_session={value}"}).status_code == 200
    assert page.get("jobs", headers={**HTTPS, "Cookie": f"octet_session={value}"}).status_code == 401


def test_a_session_ends_with_its_time_and_with_its_key(page: httpx.Client, key: str, database: Database) -> None:
    page.post("session", json={"key": key})
    with database.begin() as session:
        session.execute(update(BrowserSession).values(expires_at=func.now()))
    assert told(page.get("jobs")) == "You are no longer signed in."
    page.post("session", json={"key": key})
    assert page.get("jobs").status_code == 200
    with database.begin() as session:
        keys.revoke(session, key[:12])
    assert told(page.get("jobs")) == "The API key that you signed in with has been revoked."
    assert problem(page.post("session", json={"key": key})) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Sec-Fetch-Site": "none"}, 422),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "{url}"}, 403),
        ({"Origin": "{url}"}, 422),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_another_site_cannot_make_a_browser_change_anything(
    headers: dict[str, str], status: int, page: httpx.Client, key: str, url: str
) -> None:
    headers = {name: value.format(url=url) for name, value in headers.items()}
    page.post("session", json={"key": key})

    assert page.post("jobs", json={}, headers=headers).status_code == status
    assert page.post("session", json={}, headers=headers).status_code == status
    assert page.get("jobs", headers=headers).status_code == 200
    with httpx.Client(
        base_url=f"{url}/v1/", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60
    ) as program:
        assert program.post("jobs", json={}, headers=headers).status_code == 422


def test_another_site_cannot_hide_what_it_asks_for_behind_a_safe_method(page: httpx.Client, key: str) -> None:
    page.post("session", json={"key": key})
    headers = {"X-HTTP-Method-Override": "DELETE", "Sec-Fetch-Site": "cross-site", "Tus-Resumable": "1.0.0"}

    answer = page.get("uploads/00000000-0000-4000-8000-000000000000", headers=headers)
    assert problem(answer) == (403, "cross_site")


def in_one_minute(make_key: Callable[..., str], *urls: str) -> list[httpx.Response]:
    """The answers to requests at these addresses with a new key that may make three in a minute by the clock."""
    while True:
        key = make_key(limits=keys.Limits(max_requests_per_minute=3))
        answers = [ask(url, key) for url in urls]
        left = [int(answer.headers["ratelimit"].rpartition("t=")[2]) for answer in answers]
        if left == sorted(left, reverse=True):  # otherwise another minute has begun
            return answers


def test_a_key_has_so_many_requests_a_minute_and_every_answer_says_how_many_are_left(
    url: str, make_key: Callable[..., str]
) -> None:
    answers = in_one_minute(make_key, *[url] * 5)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"requests";q=3;w=60'}
    assert [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers] == [
        f'"requests";r={rest}' for rest in (2, 1, 0, 0, 0)
    ]
    assert problem(answers[3]) == (429, "rate_limited")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60


def test_signing_in_counts_as_a_request(url: str, make_key: Callable[..., str]) -> None:
    key = make_key(limits=keys.Limits(max_requests_per_minute=3))
    answers = [httpx.post(f"{url}/v1/session", json={"key": key}, trust_env=False) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {201, 429}  # though another minute may begin among them


def test_requests_are_counted_over_all_processes(url: str, settings: Settings, make_key: Callable[..., str]) -> None:
    with serve(create_app(settings)) as other:
        answers = in_one_minute(make_key, url, other, url, other)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


def test_while_redis_is_away_requests_are_answered_and_limited_all_the_same(
    settings: Settings, make_key: Callable[..., str]
) -> None:
    with serve(create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))) as alone:
        answers = in_one_minute(make_key, *[alone] * 4)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


def test_of_submissions_that_race_for_the_last_place_one_gets_it(
    url: str, make_key: Callable[..., str], model: str
) -> None:
    key = make_key(limits=keys.Limits(max_unfinished_jobs=2))
    body = {"model": model, "recipe": {"method": "dynamic"}}
    headers = {"Authorization": f"Bearer {key}"}

    def submit() -> httpx.Response:
        return httpx.post(f"{url}/v1/jobs", json=body, headers=headers, trust_env=False, timeout=60)

    answers = together(*[submit] * 6)
    assert sorted(answer.status_code for answer in answers) == [202] * 2 + [429] * 4
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert problem(refused) == (429, "too_many_jobs")
    assert int(refused.headers["retry-after"]) > 0
    job = next(answer for answer in answers if answer.status_code == 202).json()["id"]
    httpx.post(f"{url}/v1/jobs/{job}/cancel", headers=headers, trust_env=False, timeout=60)
    assert submit().status_code == 202


def test_a_key_says_what_it_is_for_and_what_is_left(
    url: str, make_key: Callable[..., str], api: httpx.Client, job: str, model: str
) -> None:
    key = make_key(scopes=["read"], limits=keys.Limits(max_stored_bytes=10**6), expires_in=timedelta(days=1))
    said = ask(url, key, "key").json()
    size = api.get(f"models/{model}").json()["size"]
    assert (said["name"], said["owner"], said["scopes"]) == ("made", "default", ["read"])
    assert (said["stored_bytes"], said["max_stored_bytes"]) == (size, 10**6)
    assert (said["unfinished_jobs"], said["max_unfinished_jobs"]) == (1, 1000)
    assert said["expires_at"] is not None
    api.post(f"jobs/{job}/cancel")
    assert ask(url, key, "key").json()["unfinished_jobs"] == 0


def test_who_did_what_is_told_to_operators_page_by_page(api: httpx.Client, model: str, job: str) -> None:
    api.post(f"jobs/{job}/cancel", headers={"X-Request-Id": "mine"})
    entries = api.get("audit").json()["data"]
    assert [entry["action"] for entry in entries] == ["job.cancel", "job.create", "model.create", "key.create"]
    assert (entries[0]["subject_id"], entries[0]["request_id"]) == (job, "mine")
    assert entries[1]["owner_id"] == FIRST_OWNER
    assert entries[3]["owner_id"] is None
    about = api.get("audit", params={"subject": model}).json()["data"]
    assert [entry["action"] for entry in about] == ["model.create"]
    theirs = api.get("audit", params={"owner": FIRST_OWNER}).json()["data"]
    assert theirs == entries[:3]

    first = api.get("audit", params={"limit": 3}).json()
    assert (first["data"], first["has_more"]) == (entries[:3], True)
    rest = api.get("audit", params={"limit": 3, "after": first["next"]}).json()
    assert (rest["data"], rest["has_more"]) == (entries[3:], False)
    assert problem(api.get("audit", params={"after": 2**62})) == (404, "not_found")


def test_no_secret_is_ever_logged(
    settings: Settings, make_key: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings.model_copy(update={"webhook_networks": (IPv4Network("127.0.0.0/8"),)}))

    def fail() -> None:
        with app.state.service.database.begin() as session:
            session.execute(text("SELECT 1 / (CASE WHEN :secret = :secret THEN 0 END)"), {"secret": key})

    app.add_api_route("/v1/health/fail", fail)
    key, unknown = make_key(), make_key()[:-1] + "\u00e9"
    caplog.set_level(logging.DEBUG)
    with serve(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        cookie = client.post("/v1/session", json={"key": key}).cookies["octet_session"]
        assert client.get("/v1/jobs").status_code == 200
        webhook = client.post("/v1/webhooks", json={"url": "https://127.0.0.1/"})
        assert webhook.status_code == 201, webhook.text
        client.cookies.clear()
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.post("/v1/session", json={"key": unknown}).status_code == 401
        assert client.post("/v1/session", json={"kee": key}).status_code == 422
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {unknown}".encode()}).status_code == 401
        assert client.get("/v1/jobs", headers={"Cookie": f"octet_session={cookie[:-1]}"}).status_code == 401
        failed = client.get("/v1/health/fail")
    assert problem(failed) == (500, "internal_error")
    ours = [record for record in caplog.records if record.name.partition(".")[0] not in {"httpx", "httpcore"}]
    logged = str([{**record.__dict__, "text": logging.Formatter().format(record)} for record in ours])
    assert "division by zero" in logged
    assert "unknown_key" in logged or "malformed_key" in logged
    for secret in (key, unknown[:-1], cookie[:-1], webhook.json()["secret"]):
        assert secret not in logged
