"""The recipe's gates, judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octet.report import GateResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octet.recipe import Gates
    from octet.report import Accuracy, Fidelity, Latency


def judge(
    gates: Gates, accuracy: Accuracy | None, fidelity: Fidelity, latency: Sequence[Latency]
) -> tuple[GateResult, ...]:
    """One result for each gate that has a limit; `passed` is None where there was nothing to judge it by."""
    results = []
    if gates.max_accuracy_drop is not None:
        results.append(_accuracy_drop(gates.max_accuracy_drop, accuracy))
    if gates.min_sqnr_db is not None:
        results.append(_sqnr(gates.min_sqnr_db, fidelity))
    if gates.min_speedup is not None:
        results.append(_speedup(gates.min_speedup, latency))
    return tuple(results)


def met(results: Sequence[GateResult]) -> bool:
    """Whether some of the gates were judged, and all of those passed."""
    judged = [result.passed for result in results if result.passed is not None]
    return bool(judged) and all(judged)


_NOT_JUDGED = {
    "max_accuracy_drop": "there are no labels to measure accuracy by",
    "min_speedup": "there is no latency of a CPU that the engine is made for",
}


def not_judged(results: Sequence[GateResult]) -> tuple[str, ...]:
    """A sentence for each gate that had nothing to be judged by: it has not been passed."""
    return tuple(
        f"The gate {result.gate} was not judged: {_NOT_JUDGED[result.gate]}."
        for result in results
        if result.passed is None
    )


def _accuracy_drop(limit: float, accuracy: Accuracy | None) -> GateResult:
    """Of classifiers with labels; a mean squared error is no fraction."""
    drop = accuracy.drop if accuracy is not None and accuracy.metric == "accuracy" else None
    passed = None if drop is None else drop <= limit
    return GateResult(gate="max_accuracy_drop", limit=limit, measured=drop, passed=passed)


def _sqnr(limit: float, fidelity: Fidelity) -> GateResult:
    """No SQNR means no error."""
    sqnr = fidelity.sqnr_db
    return GateResult(gate="min_sqnr_db", limit=limit, measured=sqnr, passed=sqnr is None or sqnr >= limit)


def _speedup(limit: float, latency: Sequence[Latency]) -> GateResult:
    """By the slowest batch size; not judged on a CPU that the engine is not made for."""
    ratio = min((figure.ratio for figure in latency if figure.representative), default=None)
    passed = None if ratio is None else ratio >= limit
    return GateResult(gate="min_speedup", limit=limit, measured=ratio, passed=passed)
