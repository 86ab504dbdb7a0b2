"""A rolling upgrade: the next version of the API over old workers, then one of its workers beside them."""

from __future__ import annotations

import re
import shutil
import signal
import time
from typing import TYPE_CHECKING

from alembic.script import ScriptDirectory

from chaos.bed import CHECKOUT, Setup
from chaos.scene import SHORT, Fault, Scene, Strike
from store.protocol import PROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_SECONDS = 6.0  # an idle worker looks for jobs more often than that
_NEEDS_THE_NEXT = {**SHORT, "timeout_seconds": 600}
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

    Some jobs that the next version takes need its protocol: old workers have to leave them queued. All others are done
    by whichever worker comes first.
    """
    bed, third = scene.bed, scene.jobs // 3
    checkout = next_version(bed.folder / "next")
    scene.submit(third)
    scene.until_under_way()
    bed.octet("migrate", checkout=checkout)
    bed.api.down(signal.SIGTERM)
    bed.api.environment["PYTHONPATH"] = str(checkout)
    bed.api.up()
    too_new = [scene.submit_one(f"new-{number}", _NEEDS_THE_NEXT) for number in range(third)]
    scene.submit(scene.jobs - 2 * third)
    scene.join()
    scene.until(lambda: len(scene.unfinished()) <= third, "old workers have done what they know", 300.0)
    time.sleep(_LOOK_SECONDS)
    strike = Strike(over=time.time(), affected={})
    taken = [job_id for job_id in too_new if scene.job(job_id).attempt]
    strike.promise(not taken, f"old workers took {len(taken)} jobs that are too new")
    old_workers = bed.workers
    bed.add(bed.part("worker-next", "worker", bed.folder / "tmp" / "next", checkout=checkout)).start()
    scene.until(lambda: len(scene.unfinished()) < third, "the new worker has done a job")
    for worker in old_workers:
        worker.down(signal.SIGTERM)
    scene.settle()
    strike.notes = {"jobs that only the new worker could do": len(too_new)}
    return strike


def next_version(folder: Path) -> Path:
    """A copy of this checkout with one more migration, which only expands, and a protocol of its own.

    In it, a recipe with a timeout needs the next protocol.
    """
    for name in ("octet", "store", "api", "worker", "server", "migrations"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(CHECKOUT / "alembic.ini", folder / "alembic.ini")
    head = ScriptDirectory(str(folder / "migrations")).get_current_head()
    (folder / "migrations" / "versions" / "next.py").write_text(_MIGRATION.format(head=head), encoding="utf-8")
    protocol = folder / "store" / "protocol.py"
    known = r'^(PROTOCOL = |_SINCE = \{"timeout_seconds": )\d+'
    text, changed = re.subn(known, rf"\g<1>{PROTOCOL + 1}", protocol.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert changed == 2
    protocol.write_text(text, encoding="utf-8")
    return folder


FAULTS = (
    Fault(
        "rolling-upgrade",
        "next API over old workers, then its worker",
        rolling_upgrade,
        setup=Setup(settings={"RECONCILE_SECONDS": "5"}),  # the default: but no other fault gets this service
        peers=False,
    ),
)
