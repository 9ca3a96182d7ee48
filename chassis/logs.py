"""Structured logs: one line per thing that happened, values as keys, UTC."""

import logging
import sys
from typing import Any

import structlog


def configure(program: str, level: str = "info", form: str = "auto") -> None:
    """Set up structlog for this process; every line carries `program`.

    Args:
        program: name of the program.
        level: least level that is written.
        form: "json", "console", or "auto" (console when stderr is a terminal).
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [
            # Local variables may hold what must not be written down.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)
