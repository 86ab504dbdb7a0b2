"""What gates say together."""

from __future__ import annotations

import pytest

from octet.pipeline.gates import met
from octet.report import GateResult


@pytest.mark.parametrize(
    ("passed", "together"),
    [((True, True), True), ((True, None), True), ((True, False), False), ((None, False), False), ((None,), False)],
)
def test_gates_are_met_where_all_that_could_be_judged_passed_and_some_could(
    passed: tuple[bool | None, ...], together: bool
) -> None:
    results = [GateResult(gate="max_accuracy_drop", limit=0.01, measured=None, passed=one) for one in passed]
    assert met(results) is together
