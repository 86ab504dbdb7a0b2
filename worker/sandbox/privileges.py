"""No new privileges: a set-user-id program gives nothing to those who start it (PR_SET_NO_NEW_PRIVS)."""

from __future__ import annotations

from worker.sandbox.kernel import call
from worker.sandbox.layer import Layer, Occupant

_SET, _GET = 38, 39  # linux/prctl.h


def _put_up(_: Occupant) -> str:
    call("prctl", _SET, 1, 0, 0, 0)
    return "for good"


def _get_past(_: Occupant) -> None:
    if call("prctl", _GET, 0, 0, 0, 0):
        msg = "it is set"
        raise PermissionError(msg)


LAYER = Layer("no_new_privs", _put_up, _get_past)
