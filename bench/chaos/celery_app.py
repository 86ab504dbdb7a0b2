"""The peer: a job service on plain Celery, set up as Celery's documentation advises, with late or with early acks.

Its API writes a row, commits, and sends the task. Its task takes about as long as a short job of Octet's, asleep, so as
not to take the processor from it, and then writes one row that stands for the artifact.

Beyond the defaults: tasks are tried again when Postgres is away; with late acks one message is fetched at a time, and a
task whose process died is put back. So that its effect shows within a fault, the visibility timeout is 15 s instead of
an hour, and what is overdue is looked for every second instead of every 100. What Octet adds to this is what is
compared, so it is not added here: no leases, no look for lost messages, no idempotent insert.
"""

from __future__ import annotations

import os
import time
from uuid import uuid4

import psycopg
from celery import Celery
from fastapi import FastAPI

NAME = os.environ["PEER"]
DATABASE = os.environ["PEER_DATABASE_URL"]
TASK_SECONDS = 0.2
VISIBILITY_SECONDS = 15

app = Celery(NAME, broker=os.environ["PEER_REDIS_URL"])
app.conf.update(
    task_default_queue=NAME,
    task_ignore_result=True,
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)
if NAME == "late":
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)


@app.task(name="quantize", autoretry_for=(psycopg.OperationalError,), retry_backoff=1, max_retries=10)
def quantize(job: str) -> None:
    """Do a job."""
    time.sleep(TASK_SECONDS)
    with psycopg.connect(DATABASE, connect_timeout=5) as connection:
        connection.execute("INSERT INTO peer_artifacts (job) VALUES (%s)", [job])


api = FastAPI()


@api.post("/v1/jobs", status_code=202)
def submit(batch: str, number: int) -> dict[str, str]:
    """Take a job: its row, then its task."""
    job = str(uuid4())
    with psycopg.connect(DATABASE, connect_timeout=5) as connection:
        row = [job, NAME, batch, number]
        connection.execute("INSERT INTO peer_jobs (id, peer, batch, number) VALUES (%s, %s, %s, %s)", row)
    quantize.delay(job)
    return {"id": job}


@api.get("/v1/health/live")
def live() -> None:
    """Say that it runs."""
