"""Log lines, as a person at a terminal sees them."""

from __future__ import annotations

import os
import subprocess
import sys

LINE = """
import structlog
from server import logs
logs.configure()
structlog.get_logger().info("request", path="/a\\x1b[2J")
"""


def test_what_a_stranger_asked_for_commands_no_terminal() -> None:
    terminal, end = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", LINE], stderr=end, check=True)
        shown = os.read(terminal, 65536)
    finally:
        os.close(terminal)
        os.close(end)
    assert rb"/a\x1b[2J" in shown
    assert b"\x1b[2J" not in shown
