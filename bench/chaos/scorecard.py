"""What is told at the end: a table for people, the same as Markdown, and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.peers import PeerTally
    from chaos.reckoning import Tally
    from chaos.scene import Fault

_OCTET = ("jobs", "unfinished", "retried", "lost", "twice", "bad hash", "human", "recovery")
_PEER = "lost / twice / stuck"


@dataclass
class Score:
    """What came of one fault.

    Attributes:
        fault: Its name, what it is, and its bound.
        seconds: How long it took in all.
        unfinished: Octet's jobs that had not ended when it struck, at the blow where they were fewest.
        tally: Octet's; None if the fault could not be tried.
        peers: Those of the peers that it befell as well.
        broken: Every promise that was not kept, in words.
        notes: Figures worth telling.
        skipped: Why it could not be tried.
    """

    fault: Fault
    seconds: float = 0.0
    unfinished: int = 0
    tally: Tally | None = None
    peers: dict[str, PeerTally] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None

    def cells(self) -> list[str]:
        """A row of the table."""
        if self.tally is None:
            return [self.fault.what, self.skipped or "; ".join(self.broken), *[""] * (len(_OCTET) + 1)]
        octet = self.tally
        counts = (octet.acknowledged, self.unfinished, octet.retried, octet.lost, octet.twice, octet.wrong, octet.human)
        peers = [
            f"{tally.lost} / {tally.twice} / {tally.stuck}"
            if (tally := self.peers.get(name)) and tally.unfinished
            else "-"  # it was not befallen, or had nothing left to be hit
            for name in ("late", "early")
        ]
        return [self.fault.what, *map(str, counts), self._recovery(), *peers]

    def _recovery(self) -> str:
        assert self.tally is not None
        if self.tally.recovery is None:
            return "-"
        bound = f" (≤ {self.fault.bound:g})" if self.fault.bound else ""
        return f"{self.tally.recovery:.1f} s{bound}"

    def to_json(self) -> dict[str, Any]:
        return {
            "fault": self.fault.name,
            "what": self.fault.what,
            "bound": self.fault.bound,
            "seconds": round(self.seconds, 1),
            "unfinished": self.unfinished,
            "octet": asdict(self.tally) if self.tally else None,
            "peers": {name: asdict(tally) for name, tally in self.peers.items()},
            "broken": self.broken,
            "notes": self.notes,
            "skipped": self.skipped,
        }


def table(scores: Sequence[Score]) -> Table:
    """For a terminal."""
    rows = Table("fault", *_OCTET, "Celery, late acks", "Celery, early acks", caption=f"Celery: {_PEER}")
    for score in scores:
        rows.add_row(*score.cells(), style="red" if score.broken else "yellow" if score.skipped else "")
    return rows


def markdown(scores: Sequence[Score]) -> str:
    """For docs/benchmarks.md."""
    head = ("fault", *_OCTET, f"Celery, late acks: {_PEER}", f"Celery, early acks: {_PEER}")
    lines = [head, ("---",) * len(head), *(score.cells() for score in scores)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words(scores: Sequence[Score]) -> list[str]:
    """What a table has no room for."""
    return [f"{score.fault.name}: {name}: {value}" for score in scores for name, value in score.notes.items()]
