"""Events to standard error: console for eyes, JSON or key=value for machines."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Final, TextIO, TypeAlias, final

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
    line = _line_of(_resolve(log_format, stream), role, colors=stream.isatty())

    def write(event: Event) -> None:
        # A log that cannot be written (disk full, reader gone) must not stop what it tells about.
        with contextlib.suppress(OSError, ValueError):
            stream.write(f"{line(event)}\n")
            stream.flush()

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


def _line_of(log_format: LogFormat, role: str, *, colors: bool) -> Callable[[Event], str]:
    match log_format:
        case LogFormat.KEYVALUE:
            return partial(_journal, role)
        case LogFormat.CONSOLE:
            return _console(role, colors=colors)
        case LogFormat.JSON | LogFormat.AUTO:
            return partial(_json, role)


def _json(role: str, event: Event) -> str:
    """Render an object; what identifies a line comes first, so that it reads well unparsed too."""
    head = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "level": LEVEL_NAMES[event.LEVEL],
        "event": event.NAME,
        "role": role,
    }
    return json.dumps({**head, **event_fields(event)}, default=repr)


def _journal(role: str, event: Event) -> str:
    """Render ``<5>event key=value``: the journal takes the priority from the prefix."""
    fields = {"role": role, **event_fields(event)}
    pairs = " ".join(f"{key}={_value(value)}" for key, value in fields.items())
    return f"<{event.LEVEL:d}>{event.NAME} {pairs}"


def _console(role: str, *, colors: bool) -> Callable[[Event], str]:
    # Here and not above: with what it brings along it takes a tenth of a second.
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415 - see above
    from structlog.processors import TimeStamper  # noqa: PLC0415 - see above

    clock = TimeStamper(fmt="%H:%M:%S.%f", utc=False)
    show = ConsoleRenderer(colors=colors, sort_keys=False)

    def line(event: Event) -> str:
        level = LEVEL_NAMES[event.LEVEL]
        fields = {"role": role, "level": level, **event_fields(event), "event": event.NAME}
        return str(show(None, "", clock(None, "", fields)))

    return line


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text
