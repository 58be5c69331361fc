"""Logs: event names ``noun.verb``, ids and codes as keywords, nothing about people.

Exceptions of other libraries may quote values (a unique violation prints the key), so only their type is logged;
the full text goes to stderr in development alone.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

NOISY = ("authlib", "arq", "httpx", "httpcore", "uvicorn.access", "sqlalchemy", "faker", "fontTools", "asyncio")


def _type_only(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    if info:
        error = info if isinstance(info, BaseException) else sys.exc_info()[1]
        event["error"] = type(error).__name__
        trace = error.__traceback__ if error else None
        while trace and trace.tb_next:
            trace = trace.tb_next
        if trace:
            event["at"] = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
    return event


def configure(log_format: str = "console", level: str = "info") -> None:
    """Set up structlog and quiet the libraries that log arguments or tokens."""
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if log_format == "json" else lines
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _type_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(number, logging.INFO), format="%(levelname)s %(name)s %(message)s", force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
