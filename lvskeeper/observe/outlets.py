"""Where the log of a process goes: standard error, a file, syslog, each in its form."""

import select
import time
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.observe.compat import Compat
from lvskeeper.observe.events import Event, Level
from lvskeeper.observe.log import Emit, LogFormat, make_emit, without_repeats
from lvskeeper.observe.stream import RoleStream
from lvskeeper.observe.syslog import SyslogStream

STANDARD_ERROR: Final = 2


@final
@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the command line says of the log."""

    format: LogFormat = LogFormat.AUTO
    level: Level = Level.INFO
    console: bool = True
    """Write to standard error."""
    file: int = -1
    """Descriptor of the pipe to who writes the log file; -1 for none."""
    file_format: LogFormat = LogFormat.TEXT
    syslog: int = -1
    """Number of the facility; -1 for none."""
    compat: Compat = Compat.OFF


@final
class Log:
    """The log of one process; nothing of it waits for a reader."""

    def __init__(self, role: str, settings: LogSettings) -> None:
        self.streams: Final[list[RoleStream]] = []
        level, compat = settings.level, settings.compat
        self._emits: list[Emit] = []
        if settings.console:
            self._emits.append(
                make_emit(role, settings.format, level, self._stream(STANDARD_ERROR), compat)
            )
        if settings.file >= 0:
            stream = self._stream(settings.file)
            self._emits.append(make_emit(role, settings.file_format, level, stream, compat))
        if settings.syslog >= 0:
            syslog = SyslogStream(settings.syslog, f"lvskeeper-{role}")
            self._emits.append(make_emit(role, LogFormat.SYSLOG, level, syslog, compat))
        # Who asks for everything gets everything
        self.emit: Final = self._tell if level is Level.DEBUG else without_repeats(self._tell)
        """Tells an event."""

    def write(self, text: str) -> int:
        """Write *text* as it is to standard error and the file; a report of what was refused."""
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: what could be written was."""

    def finish(self, patience: float) -> None:
        """Write what still waits for a reader, for *patience* seconds at most, and close."""
        deadline = time.monotonic() + patience
        for stream in self.streams:
            while stream.waiting and (left := deadline - time.monotonic()) > 0:
                select.select([], [stream.fileno()], [], left)
                stream.push()
            stream.close()
        self.streams.clear()
        self._emits.clear()

    def _tell(self, event: Event) -> None:
        for emit in self._emits:
            emit(event)

    def _stream(self, number: int) -> RoleStream:
        stream = RoleStream(number)
        self.streams.append(stream)
        return stream
