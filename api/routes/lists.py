"""What every list takes."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=100, description="How many entries at most.")]
After = Annotated[UUID | None, Query(description="`next` of the page before: the entries that follow it.")]
