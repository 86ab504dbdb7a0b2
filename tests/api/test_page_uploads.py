"""Large files on the page: the upload goes on where the line broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from browsing import BROWSER, opened
from playwright.sync_api import expect
from serving import serve

from api.app import create_app

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Route

    from store.settings import Settings

pytestmark = BROWSER

SIZE = 6 * 2**20


def test_a_large_file_goes_on_after_a_broken_line(
    browser: Browser, settings: Settings, key: str, tmp_path: Path
) -> None:
    path, parts = tmp_path / "large digits é.npz", []
    np.savez(path, input_0=np.zeros((SIZE // 4, 1), np.float32))

    def break_the_first(route: Route) -> None:
        if route.request.method == "PATCH":
            parts.append(int(route.request.headers["upload-offset"]))
            if len(parts) == 1:
                route.abort("connectionreset")
                return
        route.continue_()

    with serve(create_app(settings)) as url, opened(browser, url) as page:
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.route("**/v1/uploads/*", break_the_first)
        page.get_by_role("radio", name="Static Ranges").check()
        page.locator("#calibration-file").set_input_files(path)
        expect(page.locator(".file.done", has_text=path.name)).to_be_visible(timeout=20_000)

    assert parts == [0, 0]
