"""Whom everything belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from store.tables import FIRST_OWNER, Owner

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

DEFAULT = "default"
"""Name of the owner that there is from the start."""


def named(session: Session, name: str) -> Owner:
    """The owner of that name, who is made when first named."""
    values = {"name": name, **({"id": UUID(FIRST_OWNER)} if name == DEFAULT else {})}
    session.execute(insert(Owner).values(values).on_conflict_do_nothing())
    return session.scalars(select(Owner).where(Owner.name == name)).one()


def get(session: Session, owner_id: UUID) -> Owner:
    """The owner that a key or a job names; nobody ever takes one away."""
    return session.get_one(Owner, owner_id)


def lock(session: Session, owner_id: UUID) -> None:
    """Be the only one to count what this owner has, until the transaction ends.

    Write what is to be counted, take this lock, then count: of two who race for the last place, one sees the other's.
    """
    # Not against what merely refers to the owner: an upload that is being written must not hold up anybody.
    session.execute(select(Owner.id).where(Owner.id == owner_id).with_for_update(key_share=True))
