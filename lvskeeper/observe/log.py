"""Events to standard error: console for eyes, JSON or key=value for machines."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TextIO, TypeAlias, assert_never, final

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

_COLORS: Final = {
    Level.ERROR: "\x1b[31;1m",
    Level.WARNING: "\x1b[33m",
    Level.NOTICE: "\x1b[32m",
    Level.INFO: "",
    Level.DEBUG: "\x1b[2m",
}
_BOLD: Final = "\x1b[1m"
_PLAIN: Final = "\x1b[0m"

_NAME_WIDTH: Final = 24
"""Columns of an event's name on the console; a longer one takes what it needs."""


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
    out = stream or sys.stderr
    render = _renderer(log_format, out)

    def write(event: Event) -> None:
        # A log that cannot be written (disk full, reader gone) must not stop what it tells about.
        with contextlib.suppress(OSError, ValueError):
            # In one piece: other roles write to the same stream.
            out.write(render(event, {"role": role, **event_fields(event)}) + "\n")
            out.flush()

    def emit(event: Event) -> None:
        if isinstance(out, RoleStream) and (lost := out.take_lost()):
            write(LogLinesLost(lost))
        if level >= event.LEVEL:
            write(event)

    return emit


def _renderer(
    log_format: LogFormat, stream: TextIO | RoleStream
) -> Callable[[Event, dict[str, object]], str]:
    match log_format:
        case LogFormat.AUTO:
            return _renderer(_what_fits(stream), stream)
        case LogFormat.CONSOLE:
            return _colored if stream.isatty() else _console
        case LogFormat.JSON:
            return _json
        case LogFormat.KEYVALUE:
            return _journal
        case _:
            assert_never(log_format)


def _what_fits(stream: TextIO | RoleStream) -> LogFormat:
    if stream.isatty():
        return LogFormat.CONSOLE
    return LogFormat.KEYVALUE if "JOURNAL_STREAM" in os.environ else LogFormat.JSON


def _json(event: Event, told: dict[str, object]) -> str:
    """Put what identifies a line first, so that it reads well unparsed too."""
    stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = {"timestamp": stamp, "level": LEVEL_NAMES[event.LEVEL], "event": event.NAME}
    return json.dumps(head | told, default=str)


def _journal(event: Event, told: dict[str, object]) -> str:
    """Render ``<5>event key=value``: the journal takes the priority from the prefix."""
    return f"<{event.LEVEL:d}>{event.NAME} {_pairs(told)}"


def _console(event: Event, told: dict[str, object]) -> str:
    level = f"[{LEVEL_NAMES[event.LEVEL]:7}]"
    return f"{_clock()} {level} {event.NAME:{_NAME_WIDTH}} {_pairs(told)}"


def _colored(event: Event, told: dict[str, object]) -> str:
    level = f"[{_COLORS[event.LEVEL]}{LEVEL_NAMES[event.LEVEL]:7}{_PLAIN}]"
    return f"{_clock()} {level} {_BOLD}{event.NAME:{_NAME_WIDTH}}{_PLAIN} {_pairs(told)}"


def _clock() -> str:
    """Return the local time of day: the console is read by somebody who sits there."""
    return f"{datetime.now().astimezone():%H:%M:%S.%f}"


def _pairs(told: dict[str, object]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in told.items())


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text
