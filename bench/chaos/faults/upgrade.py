"""A rolling upgrade: the next version of the API over old workers, then one of its workers beside them."""

from __future__ import annotations

import re
import shutil
import signal
import time
from typing import TYPE_CHECKING

from alembic.script import ScriptDirectory
from sqlalchemy import select

from chaos.bed import CHECKOUT, Setup
from chaos.scene import Fault, Scene, Strike
from octet.wire import FINISHED
from store.protocol import PROTOCOL
from store.tables import Worker

if TYPE_CHECKING:
    from pathlib import Path

_MIGRATION = '''"""What the next version adds."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("of_the_next_version", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "of_the_next_version")
'''


def rolling_upgrade(scene: Scene) -> Strike:
    """Migrate, exchange the API, start a new worker, stop the old ones; jobs come in all the while.

    Jobs submitted to the next version need its protocol: old workers have to leave them queued, the new one does them.
    """
    bed = scene.bed
    checkout = next_version(bed.folder / "next")
    old = scene.submit(count=scene.jobs // 2)
    old.join()
    old_jobs = set(scene.acknowledged)
    bed.octet("migrate", checkout=checkout)
    bed.api.down(signal.SIGTERM)
    bed.api.environment["PYTHONPATH"] = str(checkout)
    bed.api.up()
    scene.submit(count=scene.jobs - len(old_jobs)).join()
    new_jobs = set(scene.acknowledged) - old_jobs
    scene.until(lambda: all(job.state in FINISHED for job in scene.rows() if job.id in old_jobs), "old jobs are done")
    time.sleep(3.0)  # both old workers are idle, and hints of new jobs come by
    strike = Strike(over=time.time(), affected=set())
    left = [job for job in scene.rows() if job.id in new_jobs and (job.state, job.attempt) == ("queued", 0)]
    strike.promise(len(left) == len(new_jobs), f"old workers took {len(new_jobs) - len(left)} jobs that are too new")
    new_worker = bed.add(bed.part("worker-next", "worker", bed.folder / "tmp" / "next", checkout=checkout))
    new_worker.start()
    scene.until(
        lambda: len([job for job in scene.rows() if job.state in FINISHED]) > len(old_jobs), "a new one is done"
    )
    for worker in bed.workers:
        if worker is not new_worker:
            worker.down(signal.SIGTERM)
    scene.settle()
    done_by = bed.ask(lambda session: session.scalar(select(Worker.id).where(Worker.pid == new_worker.pid)))
    strangers = [job for job in scene.rows() if job.id in new_jobs and job.worker_id != done_by]
    strike.promise(not strangers, f"{len(strangers)} new jobs were not done by the new worker")
    strike.notes |= {"old jobs": len(old_jobs), "new jobs": len(new_jobs)}
    return strike


def next_version(folder: Path) -> Path:
    """A copy of this checkout with one more migration, which only expands, and the next protocol."""
    for name in ("octet", "store", "api", "worker", "server", "migrations"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(CHECKOUT / "alembic.ini", folder / "alembic.ini")
    head = ScriptDirectory(str(folder / "migrations")).get_current_head()
    (folder / "migrations" / "versions" / "next.py").write_text(_MIGRATION.format(head=head), encoding="utf-8")
    protocol = folder / "store" / "protocol.py"
    text, changed = re.subn(r"^PROTOCOL = \d+", f"PROTOCOL = {PROTOCOL + 1}", protocol.read_text(), flags=re.MULTILINE)
    assert changed == 1
    protocol.write_text(text, encoding="utf-8")
    return folder


FAULTS = (
    Fault(
        "rolling-upgrade",
        "next API over old workers, then its worker",
        rolling_upgrade,
        setup=Setup(settings={"WORKER_SLOTS": "1"}),
        peers=False,
    ),
)
