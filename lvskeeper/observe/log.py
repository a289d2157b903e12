"""Events as lines: console for eyes, JSON or key=value for machines, syslog, keepalived's words."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TextIO, TypeAlias, cast, final

from lvskeeper.observe.compat import Compat, Line, lines_of
from lvskeeper.observe.events import Event, Level, LogLinesLost
from lvskeeper.observe.plain_structlog import structlog
from lvskeeper.observe.repeats import Repeats
from lvskeeper.observe.stream import RoleStream
from lvskeeper.observe.syslog import SyslogStream

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

Emit: TypeAlias = Callable[[Event], None]
"""Where a role sends its events."""

LEVEL_NAMES: Final = {
    Level.ERROR: "error",
    Level.WARNING: "warning",
    Level.NOTICE: "notice",
    Level.INFO: "info",
    Level.DEBUG: "debug",
}
_LEVELS: Final = {name: level for level, name in LEVEL_NAMES.items()}


@final
class LogFormat(Enum):
    """How events are written."""

    AUTO = "auto"
    """Console on a terminal, key=value under the journal, JSON otherwise."""
    CONSOLE = "console"
    JSON = "json"
    KEYVALUE = "keyvalue"
    """Without a time, with the journal's priority in front."""
    TEXT = "text"
    """Time, level, and key=value: for files."""
    SYSLOG = "syslog"
    """For a :class:`SyslogStream` only, which adds what is in front."""


class Stream(Protocol):
    """What lines are written to: a file, or what never makes its writer wait."""

    def write(self, text: str, /) -> int:
        """Write *text*; raise ``OSError`` or ``ValueError`` where that cannot be."""

    def flush(self) -> None:
        """See that it is written."""

    def isatty(self) -> bool:
        """Tell whether a terminal reads it."""


def event_fields(event: Event) -> dict[str, object]:
    """Return the fields of *event* by name; empty texts, and what is none, are left out."""
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return {name: value for name, value in values.items() if value not in ("", None)}


def make_emit(
    role: str,
    log_format: LogFormat = LogFormat.AUTO,
    level: Level = Level.INFO,
    stream: TextIO | RoleStream | SyslogStream | None = None,
    compat: Compat = Compat.OFF,
) -> Emit:
    """Return the function by which *role* tells its events, down to *level*, on *stream*.

    What the stream had to drop is told as soon as there is room again. *compat* says whether
    keepalived's lines are written as well.
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
            if compat is not Compat.INSTEAD:
                logger.msg(event.NAME, level=LEVEL_NAMES[event.LEVEL], **event_fields(event))
            if compat is not Compat.OFF:
                for line in lines_of(event):
                    stream.write(_compat_line(line, role, chosen))
                stream.flush()

    def emit(event: Event) -> None:
        if isinstance(stream, RoleStream | SyslogStream) and (lost := stream.take_lost()):
            write(LogLinesLost(lost))
        if level >= event.LEVEL:
            write(event)

    return emit


def without_repeats(emit: Emit) -> Emit:
    """Return *emit* for which the same, told again and again, is counted after a few times."""
    repeats = Repeats()
    timer: list[asyncio.TimerHandle] = []

    def settle() -> None:
        timer.clear()
        for event in repeats.settle(time.monotonic()):
            emit(event)
        arm()

    def arm() -> None:
        if timer or repeats.deadline > sys.maxsize:
            return
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            wait = max(0.0, repeats.deadline - time.monotonic())
            timer.append(loop.call_later(wait, settle))

    def tell(event: Event) -> None:
        for one in repeats.admit(event, time.monotonic()):
            emit(one)
        arm()

    return tell


def _resolve(log_format: LogFormat, stream: Stream) -> LogFormat:
    if log_format is not LogFormat.AUTO:
        return log_format
    if stream.isatty():
        return LogFormat.CONSOLE
    return LogFormat.KEYVALUE if "JOURNAL_STREAM" in os.environ else LogFormat.JSON


def _processors(log_format: LogFormat, *, colors: bool) -> "list[Processor]":
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    match log_format:
        case LogFormat.KEYVALUE | LogFormat.SYSLOG:
            return [_journal]
        case LogFormat.TEXT:
            return [stamp, _text]
        case LogFormat.CONSOLE:
            clock = structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False)
            return [clock, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]
        case LogFormat.JSON | LogFormat.AUTO:
            return [stamp, _order, structlog.processors.JSONRenderer()]


def _order(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Put what identifies a line first, so that JSON lines read well unparsed too."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event", "role")}
    return {**head, **event}


def _journal(_logger: "WrappedLogger", _method: str, event: "EventDict") -> str:
    """Render ``<5>event key=value``: the journal takes the priority from the prefix."""
    priority = _LEVELS[event.pop("level")]
    return f"<{priority:d}>{_pairs(event)}"


def _text(_logger: "WrappedLogger", _method: str, event: "EventDict") -> str:
    """Render ``time level event key=value``."""
    return f"{event.pop('timestamp')} {event.pop('level')} {_pairs(event)}"


def _pairs(event: "EventDict") -> str:
    name = event.pop("event")
    return " ".join([name, *(f"{key}={_value(value)}" for key, value in event.items())])


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text


def _compat_line(line: Line, role: str, log_format: LogFormat) -> str:
    """Return *line* as keepalived's would stand in such a log."""
    text = line.text.replace("\n", " ")
    match log_format:
        case LogFormat.KEYVALUE:
            return f"<{line.level:d}>{text}\n"
        case LogFormat.SYSLOG:
            return f"<{line.level:d}>{line.identity}\0{text}\n"
        case LogFormat.CONSOLE | LogFormat.TEXT:
            moment = time.strftime("%b %e %H:%M:%S")
            return f"{moment} {os.uname().nodename} {line.identity}[{os.getpid()}]: {text}\n"
        case LogFormat.JSON | LogFormat.AUTO:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            fields = {
                "timestamp": stamp, "level": LEVEL_NAMES[line.level], "event": "keepalived",
                "role": role, "identity": line.identity, "message": text,
            }  # fmt: skip
            return f"{json.dumps(fields)}\n"
