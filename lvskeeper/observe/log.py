"""Events to standard error: console for eyes, JSON or key=value for machines."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Final, TextIO, TypeAlias, cast, final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from lvskeeper.observe.events import Event, Level, LogLinesLost
from lvskeeper.observe.stream import RoleStream

Emit: TypeAlias = Callable[[Event], None]
"""Where a role sends its events."""

LEVEL_NAMES: Final = {
    Level.ERROR: "error",
    Level.WARNING: "warning",
    Level.NOTICE: "notice",
    Level.INFO: "info",
    Level.DEBUG: "debug",
}


@final
class LogFormat(Enum):
    """How events are written."""

    AUTO = "auto"
    """Console on a terminal, key=value under the journal, JSON otherwise."""
    CONSOLE = "console"
    JSON = "json"
    KEYVALUE = "keyvalue"


def event_fields(event: Event) -> dict[str, object]:
    """Return the fields of *event* by name; empty texts, and what is none, are left out."""
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return {name: value for name, value in values.items() if value not in ("", None)}


def make_emit(
    role: str,
    log_format: LogFormat = LogFormat.AUTO,
    level: Level = Level.INFO,
    stream: TextIO | RoleStream | None = None,
) -> Emit:
    """Return the function by which *role* tells its events, down to *level*, on *stream*.

    What a :class:`RoleStream` had to drop is told as soon as there is room again.
    """
    stream = stream or sys.stderr
    chosen = _resolve(log_format, stream)
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", stream)),
        processors=_processors(chosen, colors=stream.isatty()),
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
        role=role,
    )

    def write(event: Event) -> None:
        # A log that cannot be written (disk full, reader gone) must not stop what it tells about.
        with contextlib.suppress(OSError, ValueError):
            logger.msg(event.NAME, level=LEVEL_NAMES[event.LEVEL], **event_fields(event))

    def emit(event: Event) -> None:
        if isinstance(stream, RoleStream) and (lost := stream.take_lost()):
            write(LogLinesLost(lost))
        if level >= event.LEVEL:
            write(event)

    return emit


def _resolve(log_format: LogFormat, stream: TextIO | RoleStream) -> LogFormat:
    if log_format is not LogFormat.AUTO:
        return log_format
    if stream.isatty():
        return LogFormat.CONSOLE
    return LogFormat.KEYVALUE if "JOURNAL_STREAM" in os.environ else LogFormat.JSON


def _processors(log_format: LogFormat, *, colors: bool) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    match log_format:
        case LogFormat.KEYVALUE:
            return [_journal]
        case LogFormat.CONSOLE:
            clock = structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False)
            return [clock, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]
        case LogFormat.JSON | LogFormat.AUTO:
            return [stamp, _order, structlog.processors.JSONRenderer()]


def _order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put what identifies a line first, so that JSON lines read well unparsed too."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event", "role")}
    return {**head, **event}


def _journal(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Render ``<5>event key=value``: the journal takes the priority from the prefix."""
    priority = {name: level for level, name in LEVEL_NAMES.items()}[event.pop("level")]
    name = event.pop("event")
    pairs = " ".join(f"{key}={_value(value)}" for key, value in event.items())
    return f"<{priority:d}>{name} {pairs}"


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text
