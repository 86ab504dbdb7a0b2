"""One form of log for every process: for people on a terminal, JSON everywhere else."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from structlog.stdlib import ProcessorFormatter

from store import tracing

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import Processor

_TAIL_BYTES = 2000

# Of a line that structlog wrote as of one that a library wrote with `logging`. The first brings in what is bound to the
# request or the job: its id.
_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    tracing.add_ids,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def tail(log_file: Path) -> str:
    """The end of a log, however long it has become."""
    with log_file.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def configure(level: int = logging.INFO) -> None:
    """Send structlog's and every library's lines to standard error."""
    on_terminal = sys.stderr.isatty()
    rendering: tuple[Processor, ...] = (
        # A plain traceback: the default one shows every local variable, API keys among them. And strings as Python
        # writes them: a path that a stranger asks for must not command the terminal.
        (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, repr_native_str=True),)
        if on_terminal
        else (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=_SHARED, processors=[ProcessorFormatter.remove_processors_meta, *rendering]
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*_SHARED, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
