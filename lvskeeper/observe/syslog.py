"""Lines to the system's syslog socket, without waiting: what it does not take is counted."""

import os
import select
import socket
import time
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError

SOCKET: Final = Path("/dev/log")

PAUSE: Final = 1.0
"""Seconds until a syslog that is gone is looked for again."""

MAX_LINE: Final = 8192
"""Bytes of one line; a longer one is cut, as many a syslog would do."""

FACILITIES: Final = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "cron": 9,
    "authpriv": 10, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
"""Numbers of the facilities (RFC 3164, 4.1.1); keepalived's ``-S`` also takes 0 to 7 for local."""


def facility(name: str) -> int:
    """Return the number of the facility *name*; raise :class:`OperatorError` for none."""
    name = name.lower()
    number = FACILITIES.get(f"local{name}" if name in set("01234567") else name)
    if number is None:
        raise OperatorError(
            f"there is no syslog facility '{name}'",
            status=ExitStatus.CONFIG,
            hint=f"One of {', '.join(FACILITIES)}, or 0 to 7 for local0 to local7.",
        )
    return number


@final
class SyslogStream:
    """Sends each line as a datagram.

    A line is ``<level>text``, or ``<level>``, an identity of its own, a NUL, and the text.
    """

    def __init__(self, number: int, identity: str, path: Path = SOCKET) -> None:
        """Send under *identity* with the facility *number*."""
        self._number = number
        self._identity = identity
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._again = 0.0
        self._lost = 0

    def isatty(self) -> bool:
        """No terminal reads it."""
        return False

    def flush(self) -> None:
        """Do nothing: each line is sent as it comes."""

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def take_lost(self) -> int:
        """Return how many lines were dropped since the last call, if lines get there now."""
        connected = self._lost and self._connected()
        if not connected or not _takes_more(connected):
            return 0
        lost, self._lost = self._lost, 0
        return lost

    def write(self, text: str) -> int:
        """Send *text*, or drop and count it; it never waits, and raises nothing."""
        for line in text.splitlines():
            self._send(line)
        return len(text)

    def _send(self, line: str) -> None:
        level, _, body = line.removeprefix("<").partition(">")
        identity, mark, words = body.partition("\0")
        if not mark:
            identity, words = self._identity, body
        moment = time.strftime("%b %e %H:%M:%S")
        priority = self._number * 8 + int(level)
        message = f"<{priority}>{moment} {identity}[{os.getpid()}]: {words}"
        connected = self._connected()
        if connected is None:
            self._lost += 1
            return
        try:
            connected.send(message.encode(errors="backslashreplace")[:MAX_LINE])
        except BlockingIOError:
            self._lost += 1
        except OSError:
            # It was started again, and listens on a new socket
            self._lost += 1
            self.close()

    def _connected(self) -> socket.socket | None:
        if self._socket is None and time.monotonic() >= self._again:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            made.setblocking(False)
            try:
                made.connect(self._path)
                self._socket = made
            except OSError:
                made.close()
                self._again = time.monotonic() + PAUSE
        return self._socket


def _takes_more(connected: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connected, select.POLLOUT)
    return bool(poll.poll(0))
