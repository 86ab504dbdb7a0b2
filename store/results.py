"""Results that are there already: what one job has found out, another need not find out again."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from octet.version import __version__
from store.tables import Job

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

# What does the work. The torch is that of this process: all parts of a service are of one release.
_VERSIONS = {"octet": __version__, "torch": version("torch")}


def key(recipe: dict[str, Any], **contents: str | None) -> str:
    """What two jobs have in common that give the same result, measurements aside.

    Args:
        recipe: With every default filled in, as JSON.
        **contents: sha-256 of the model and of each dataset, by what it is used for; None where there is none.
    """
    parts = {"recipe": recipe, "contents": contents, "versions": _VERSIONS}
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find(session: Session, owner_id: UUID, result_key: str) -> Job | None:
    """The owner's latest job with such a result, if there is one that has not expired.

    A job that is queued or running does not count: it may yet fail, or be cancelled by whoever waits for it.
    """
    lasts = or_(Job.expires_at.is_(None), Job.expires_at > func.now())
    such = Job.owner_id == owner_id, Job.result_key == result_key, Job.state == "succeeded", lasts
    return session.scalar(select(Job).where(*such).order_by(Job.succeeded_at.desc()).limit(1))
