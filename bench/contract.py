"""The service against its own OpenAPI document, by Schemathesis: every operation, and chains of calls along the links.

    script/bootstrap --with-bench
    .venv/bin/python bench/contract.py [--examples 40] [--seed 1]

A real stack with a real key. Bodies of uploads are now a real model or real data, now anything; all else is made from
the document, or to break it. `default` is taken out of the document first, so that each status must be documented. The
bounds: at least 2,000 calls, and no call that fails a check: a 5xx, a status, media type, header or body that the
document does not have, a request against the document that is accepted, a call without the key that is answered.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import schemathesis
import torch
from hypothesis import strategies
from rich.console import Console
from rich.table import Table
from schemathesis.engine import Status, events, from_schema
from stack import running_stack

import octet
from octet.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.engine.recorder import ScenarioRecorder
    from stack import Stack

LEAST_CALLS = 2000
LIMITS = {"OCTET_JOB_TIMEOUT_SECONDS": "20", "OCTET_GRACE_SECONDS": "1"}
UPLOADS = ("application/octet-stream", "application/offset+octet-stream")
# What the document cannot say: which bytes are a model, which keys of a recipe go together, which hosts are public, and
# which Idempotency-Key was that of another request.
NOT_ALL_IN_THE_DOCUMENT = r"^/v1/(models|datasets|uploads|jobs|webhooks)(/\{upload_id\})?$|/(cancel|retry)$"
REFUSED = ["400", "401", "404", "405", "408", "409", "410", "412", "413", "415", "422", "423", "429", "460", "507"]
TAKEN = ["2xx", "304", "401", "404", "409", "410", "429"]

EXTRA_HEADER = "in header - object with unexpected properties"  # which HTTP has everybody ignore


def real_files(folder: Path) -> tuple[Path, Path]:
    """A model, and data for it."""
    model = octet.export(torch.nn.Linear(4, 3), (torch.randn(2, 4),), folder / "model.pt2")
    np.savez(folder / "data.npz", input_0=np.zeros((8, 4), np.float32))
    return Path(model), folder / "data.npz"


def populate(stack: Stack, model: Path, data: Path) -> None:
    """Have one job done, for chains of calls to begin at what there is."""
    with Client(stack.url, stack.key) as client:
        recipe = {"method": "static"}
        job = client.submit(client.upload_model(model), recipe, calibration=client.upload_dataset(data)).wait()
    assert job.state == "succeeded", job.error


def configuration(key: str, examples: int, seed: int) -> schemathesis.Config:
    """All checks on all operations."""
    return schemathesis.Config.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {key}"},
            "continue-on-failure": True,
            "request-timeout": 30.0,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {"stateful": {"generation": {"mode": "positive", "max-examples": 10 * examples}}},
            "checks": {
                "negative_data_rejection": {"expected-statuses": REFUSED},
                "missing_required_header": {"expected-statuses": ["401", "412", "422"]},  # 412: the version of tus
                "positive_data_acceptance": {"expected-statuses": TAKEN},
            },
            "operations": [
                {
                    "include-path-regex": NOT_ALL_IN_THE_DOCUMENT,
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                }
            ],
        }
    )


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """`document` without its answers for any other status."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("default", None)
    return document


class Findings:
    """What came of all calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.chained = 0
        self.checks: Counter[str] = Counter()
        self.failures: dict[tuple[str, str, str], str] = {}

    def take(self, label: str, recorder: ScenarioRecorder) -> None:
        """Counts the calls of one scenario and what was found of each."""
        for case_id, interaction in recorder.interactions.items():
            node = recorder.cases[case_id]
            operation = node.value.operation.label
            self.calls[operation] += 1
            self.chained += node.is_transition_applied
            if interaction.response is None:
                self.fail("no answer", operation, label, "the connection broke, or 30 s passed")
                continue
            self.statuses[interaction.response.status_code] += 1
            for check in recorder.checks.get(case_id, ()):
                self.checks[check.name] += 1
                if check.status == Status.FAILURE and check.failure_info is not None:
                    failure = check.failure_info.failure
                    if EXTRA_HEADER in failure.message:
                        continue
                    self.fail(
                        check.name, operation, failure.title, f"{failure.message}\n{check.failure_info.code_sample}"
                    )

    def fail(self, check: str, operation: str, title: str, what: str) -> None:
        self.failures.setdefault((check, operation, title), what)


def stream(schema: schemathesis.BaseSchema, findings: Findings) -> Iterator[str]:
    """Runs it; yields the phases as they end."""
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            findings.take(event.label or "chain", event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            label = getattr(event, "label", "the run")
            findings.fail("error of the bench", label, type(event).__name__, str(getattr(event, "value", event)))
        elif isinstance(event, events.PhaseFinished):
            yield event.phase.name.value


def tables(findings: Findings, operations: int) -> Iterator[Table]:
    """The counts, and what failed."""
    counts = Table("calls", "along links", "operations", "statuses", title="Schemathesis against the OpenAPI document")
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(findings.statuses.items()))
    total = findings.calls.total()
    counts.add_row(f"{total:,}", f"{findings.chained:,}", f"{len(findings.calls)} of {operations}", statuses)
    yield counts
    failed = Counter(check for check, _, _ in findings.failures)
    checks = Table("check", "made", "failures")
    for check in sorted(findings.checks.keys() | failed.keys()):
        checks.add_row(check, f"{findings.checks[check]:,}", str(failed[check]))
    yield checks


def main() -> int:
    """Print the tables; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=40, help="most for one operation in one phase")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    findings, console = Findings(), Console()
    with tempfile.TemporaryDirectory() as folder, running_stack(**LIMITS) as stack:
        files = real_files(Path(folder))
        populate(stack, *files)
        known = [*(file.read_bytes() for file in files), b"", b"PK\x03\x04"]
        bodies = strategies.sampled_from(known) | strategies.binary()
        schemathesis.openapi.format("binary", bodies)  # the file of a form
        for media_type in UPLOADS:
            schemathesis.openapi.media_type(media_type, bodies)
        document = strict(httpx.get(f"{stack.url}/v1/openapi.json", timeout=30).json())
        operations = sum(len(methods) for methods in document["paths"].values())
        config = configuration(stack.key, arguments.examples, arguments.seed)
        schema = schemathesis.openapi.from_dict(document, config=config)
        schema.config.update(base_url=stack.url)
        for phase in stream(schema, findings):
            print(f"{phase}: {findings.calls.total():,} calls, {len(findings.failures)} failures", flush=True)
    for table in tables(findings, operations):
        console.print(table)
    for (check, operation, title), what in findings.failures.items():
        print(f"\n{operation}: {title} ({check})\n{what}")
    short = findings.calls.total() < LEAST_CALLS or len(findings.calls) < operations
    return int(short or bool(findings.failures))


if __name__ == "__main__":
    raise SystemExit(main())
