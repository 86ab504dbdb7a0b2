"""What plain Celery does in `bench/throughput.py`: the module that its worker is started with."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import redis
from celery import Celery
from celery.signals import worker_process_init

import octet

# celery, kombu and redis spell a unix socket differently
URL = os.environ["OCTET_REDIS_URL"]
app = Celery("plain", broker=URL.replace("unix://", "redis+socket://"))
app.conf.update(task_ignore_result=True, task_default_queue="plain", broker_connection_retry_on_startup=True)
done = redis.Redis.from_url(URL)


@worker_process_init.connect
def warm_up(**_: object) -> None:
    """Load torch once in each process of the pool, as Octet's worker does for each slot."""
    quantize.run(os.environ["MODEL"], os.environ["RECIPE"])
    done.incr("warm")


@app.task
def no_op() -> None:
    """Do nothing."""
    done.incr("done")


@app.task
def fresh_process() -> None:
    """Do nothing in a process of its own."""
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
    done.incr("done")


@app.task
def quantize(model: str, recipe: str) -> None:
    """Quantize a model and save what comes of it."""
    result = octet.quantize(octet.load(model), octet.Recipe.model_validate_json(recipe))
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder + "/result")
    done.incr("done")
