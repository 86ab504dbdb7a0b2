"""The browser page, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asking import until
from browsing import BROWSER
from example_report import REPORT
from playwright.sync_api import Page, expect
from sqlalchemy import delete

from store.tables import BrowserSession

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from asking import Worker

    from store.database import Database

TIMES = "\N{MULTIPLICATION SIGN}"
pytestmark = BROWSER


def test_a_wrong_key_is_told_and_a_right_one_lets_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is no API key")

    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="New job")).to_be_visible()

    page.reload()
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    assert page.evaluate("document.cookie + JSON.stringify({...sessionStorage, ...localStorage})") == "{}"
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("octet_session", True, "Strict")
    assert key not in cookie["value"]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_job_goes_from_files_to_figures_without_reloading(
    *, signed_in: Page, api: httpx.Client, worker: Worker, model_file: bytes, data_file: bytes, tmp_path: Path
) -> None:
    page = signed_in
    page.set_input_files("#model-file", {"name": "digits.pt2", "mimeType": "", "buffer": model_file})
    expect(page.get_by_text("float32 [batch, 4] · 67 parameters")).to_be_visible()
    page.get_by_role("radio", name="Static Ranges").check()
    page.get_by_label("Engine").select_option("fbgemm")
    page.get_by_role("button", name="Quantize").click()
    expect(page.get_by_role("alert")).to_contain_text("calibration data, and none was given")

    page.set_input_files("#calibration-file", {"name": "digits.npz", "mimeType": "", "buffer": data_file})
    expect(page.get_by_text("16 samples · input_0, label")).to_be_visible()
    page.get_by_label("Use the calibration file for both").check()
    page.get_by_role("button", name="Quantize").click()
    expect(page.get_by_role("heading", name="digits.pt2 Waiting")).to_be_visible()

    (job,) = api.get("jobs").json()["data"]
    assert (job["recipe"]["method"], job["recipe"]["engine"]) == ("static", "fbgemm")
    assert job["calibration"] == job["evaluation"]
    worker.start(job["id"])
    expect(page.get_by_role("heading", name="digits.pt2 Running")).to_be_visible()
    worker.progress(job["id"], "calibrate", 0.25, "batch 4 of 16")
    expect(page.get_by_text("25 % batch 4 of 16")).to_be_visible()
    expect(page.locator("[aria-current=step]")).to_have_text("calibrate")

    artifact = tmp_path / "model.pt"
    artifact.write_bytes(b"int8" * 1000)
    worker.succeed(job["id"], REPORT, artifact)
    expect(page.get_by_role("heading", name="digits.pt2 Done")).to_be_visible()
    for figure in (
        "97.22 % → 96.94 %",
        "426 kB → 121 kB",
        "1.84 ms → 0.62 ms",
        "31.4 dB",
        f"3.0{TIMES} as fast",
        f"3.5{TIMES} smaller",
    ):
        expect(page.get_by_text(figure)).to_be_visible()
    expect(page.get_by_text(REPORT.warnings[0])).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download model.pt").click()
    assert download.value.path().read_bytes() == artifact.read_bytes()

    page.get_by_role("link", name="All jobs").click()
    expect(page.get_by_text(f"3.5{TIMES} smaller · 3.0{TIMES} as fast · 96.9 % accurate (fp32 97.2 %)")).to_be_visible()


def test_what_is_wrong_is_said_where_it_was_done(signed_in: Page, api: httpx.Client) -> None:
    page = signed_in
    page.get_by_role("button", name="Quantize").click()
    expect(page.get_by_role("alert")).to_have_text("Choose a model first.")

    page.set_input_files("#model-file", {"name": "old.pt", "mimeType": "", "buffer": b"\x80\x04pickle"})
    expect(page.get_by_role("alert")).to_contain_text("The file is a Python pickle; Octet takes .pt2 files.")
    expect(page.get_by_role("alert")).to_contain_text("torch.export.save")
    assert api.get("models").json()["data"] == []


def test_who_is_no_longer_signed_in_is_asked_to_sign_in_again(signed_in: Page, database: Database) -> None:
    with database.begin() as session:
        session.execute(delete(BrowserSession))
    signed_in.reload()
    expect(signed_in.get_by_label("API key")).to_be_visible()
    expect(signed_in.get_by_role("alert")).to_have_count(0)


@pytest.mark.usefixtures("job")
def test_a_job_is_cancelled_and_a_failed_one_says_why(page: Page, key: str, api: httpx.Client, worker: Worker) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Waiting").click()
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("This job was cancelled.")).to_be_visible()

    model = api.get("models").json()["data"][0]["id"]
    other = api.post("jobs", json={"model": model, "recipe": {"method": "dynamic"}}).json()["id"]
    page.evaluate(f"location.hash = '#/jobs/{other}'")
    expect(page.get_by_role("heading", name="Job Waiting")).to_be_visible()
    worker.start(other)
    worker.fail(other, code="quantization_failed", message="It did not work.", hint="Try another engine.")
    expect(page.get_by_role("alert")).to_have_text("It did not work.Try another engine.")


def test_a_job_is_followed_even_where_streams_are_held_back(signed_in: Page, job: str, worker: Worker) -> None:
    page = signed_in
    page.route("**/events", lambda route: route.abort())
    page.evaluate(f"location.hash = '#/jobs/{job}'")
    expect(page.get_by_role("heading", name="Waiting")).to_be_visible()
    polled: list[str] = []
    page.on("request", lambda request: polled.append(request.headers.get("prefer", "")))
    until(lambda: page.wait_for_timeout(50) is None and "wait=20" in polled)

    worker.start(job)
    expect(page.get_by_role("heading", name="Running")).to_be_visible()
