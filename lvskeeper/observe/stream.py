"""A log stream that never makes its writer wait: what nobody reads is kept, then dropped."""

import asyncio
import contextlib
import os
import socket
import stat
from collections import deque
from typing import Final, final

MAX_KEPT: Final = 1 << 20
"""Bytes that wait for a reader; lines beyond are dropped and counted."""


@final
class RoleStream:
    """Writes to the descriptor *number* of this process, standard error usually.

    The descriptor is shared with other processes, so it is not made non-blocking itself: a pipe or
    terminal is opened anew, a socket (the journal's) is told with each send. A regular file never
    makes anybody wait for a reader.
    """

    def __init__(self, number: int = 2, *, limit: int = MAX_KEPT) -> None:
        self._limit = limit
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._tty = os.isatty(number)
        self._waiting = False
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            self._socket = socket.socket(fileno=os.dup(number))
            self._number = self._socket.fileno()
        else:
            self._number = _open_anew(number)

    def isatty(self) -> bool:
        """Tell whether a terminal reads it."""
        return self._tty

    def write(self, text: str) -> int:
        """Write *text*, now or later; raise ``OSError`` where the reader is gone."""
        data = text.encode(errors="backslashreplace")
        if self._kept:
            self._push()
        if self._kept and self._size + len(data) > self._limit:
            self._lost += 1
            return 0
        self._kept.append(data)
        self._size += len(data)
        self._push()
        return len(text)

    @property
    def waiting(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._kept)

    def fileno(self) -> int:
        """Return the descriptor that is written to."""
        return self._number

    def push(self) -> None:
        """Write of what waits as much as goes at once."""
        self._push_quietly()

    def flush(self) -> None:
        """Do nothing: what could be written was."""

    def close(self) -> None:
        """Give the descriptor back."""
        self._wait_no_more()
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._number)

    def take_lost(self) -> int:
        """Return how many writes were dropped since the last call, once there is room again."""
        if self._kept:
            return 0
        lost, self._lost = self._lost, 0
        return lost

    def _push(self) -> None:
        try:
            while self._kept:
                data = self._kept[0]
                done = self._send(data)
                self._size -= done
                if done < len(data):
                    self._kept[0] = data[done:]
                else:
                    self._kept.popleft()
        except BlockingIOError:
            self._wait()
        except OSError:
            self._kept.clear()
            self._size = 0
            raise
        else:
            self._wait_no_more()

    def _send(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._number, data)

    def _wait(self) -> None:
        """Let the loop come back when there is room; without one the next write does."""
        if not self._waiting:
            with contextlib.suppress(RuntimeError, OSError):
                asyncio.get_running_loop().add_writer(self._number, self._push_quietly)
                self._waiting = True

    def _wait_no_more(self) -> None:
        if self._waiting:
            self._waiting = False
            with contextlib.suppress(RuntimeError, OSError):
                asyncio.get_running_loop().remove_writer(self._number)

    def _push_quietly(self) -> None:
        try:
            self._push()
        except OSError:
            self._wait_no_more()


def _open_anew(number: int) -> int:
    """Return a descriptor of the same pipe or terminal that does not make anybody wait."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.dup(number)  # all who write to a file have to share its offset
    try:
        return os.open(f"/proc/self/fd/{number}", flags)
    except OSError:
        # Not to be had, such as a terminal of another user: it is written as it is
        return os.dup(number)
