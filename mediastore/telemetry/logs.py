"""Structured logs on standard error: one JSON object a line, or readable text on a terminal.

A request's id is bound to its context, so every line written while it is served carries it. Values
under names that hold secrets are replaced, whoever logs them, and tracebacks never show the values
of local variables: a driver's frames hold passwords.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from mediastore.settings import LogSettings

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
SECRET_NAMES = ("authorization", "api_key", "secret", "password", "token", "dsn", "cookie")
HIDDEN = "(hidden)"
# Each request is served in a task, so in a context, of its own: it is set there and never reset.
SERVED_REQUEST_ID: ContextVar[str | None] = ContextVar("served_request_id", default=None)


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog, and the standard library's loggers of our dependencies."""
    stream = sys.stderr if stream is None else stream
    console = is_console(settings, stream)
    level = LEVELS[settings.level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    renderer: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(default=str),
        ]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Dependencies explain their own doings at info; from them only trouble is wanted.
    root.setLevel(max(level, logging.WARNING))


def is_console(settings: LogSettings, stream: TextIO) -> bool:
    """Readable text, not JSON?"""
    return settings.format == "console" or (settings.format == "auto" and stream.isatty())


def add_request_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The id of the request that is being served."""
    request_id = SERVED_REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


def hide_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the value of every field whose name says that it is secret."""
    for name in event:
        if any(secret in name.lower() for secret in SECRET_NAMES):
            event[name] = HIDDEN
    return event
