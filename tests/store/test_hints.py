"""Hints reach Redis, and a Redis that does not answer holds nobody up."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis

from server.embedded import EmbeddedRedis
from store.hints import QUEUE, TASK, Hints, make_celery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as server:
        yield server


@pytest.fixture
def hints(own_redis: EmbeddedRedis) -> Iterator[Hints]:
    hints = Hints(own_redis.url)
    yield hints
    hints.close()


def test_a_hint_is_a_message_that_names_the_job(own_redis: EmbeddedRedis, hints: Hints) -> None:
    job_id = uuid4()
    assert hints.ping()
    assert hints.publish(job_id)
    with redis.Redis.from_url(own_redis.url) as client:
        message = json.loads(client.lindex(QUEUE, 0))
    assert message["headers"]["task"] == TASK
    assert str(job_id) in message["headers"]["argsrepr"]


def test_without_redis_publishing_fails_quietly(own_redis: EmbeddedRedis, hints: Hints) -> None:
    assert hints.publish(uuid4())
    own_redis.stop()
    assert not hints.publish(uuid4())
    assert not hints.ping()


def test_a_redis_that_hangs_is_given_up(own_redis: EmbeddedRedis, hints: Hints) -> None:
    server = int((own_redis.directory / "redis.pid").read_text())
    os.kill(server, signal.SIGSTOP)
    try:
        assert not hints.publish(uuid4())
        assert not hints.ping()
    finally:
        os.kill(server, signal.SIGCONT)
    assert hints.publish(uuid4())


@pytest.mark.parametrize(
    ("url", "broker"),
    [("redis://host:6379/0", "redis://host:6379/0"), ("unix:///run/redis.sock", "redis+socket:///run/redis.sock")],
)
def test_the_celery_app_takes_redis_urls_as_they_are_usually_spelled(url: str, broker: str) -> None:
    assert make_celery(url).conf.broker_url == broker
