"""The log file: written by a small process of its own, so that a slow disk delays nobody.

All roles write into one pipe. The file is opened anew where its name leads elsewhere, so logrotate
needs no signal, with ``create``, ``copytruncate`` or neither.
"""

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError

LOOK: Final = 1.0
"""Seconds between two looks whether the file is still the one of its name."""

READ_SIZE: Final = 1 << 16
MAX_KEPT: Final = 1 << 20
"""Bytes that wait while the file cannot be written, such as on a full disk; then they are lost."""

MODE: Final = 0o640


@final
class LogFile:
    """A file that is appended to, and opened again after somebody has moved it away."""

    def __init__(self, path: Path) -> None:
        """Open *path*; raise :class:`OperatorError` where that cannot be."""
        self._path = path
        self._number = -1
        self._looked = 0.0
        self._kept = b""
        try:
            self._open()
        except OSError as error:
            raise OperatorError(
                f"log file {path}: {error.strerror}",
                status=ExitStatus.PERMISSION,
                hint="Its directory has to be there, and writable for the daemon's user.",
            ) from error

    def write(self, data: bytes) -> None:
        """Append *data*, and what could not be written before."""
        self._kept = (self._kept + data)[-MAX_KEPT:]
        with contextlib.suppress(OSError):
            self._look()
            while self._kept:
                self._kept = self._kept[os.write(self._number, self._kept) :]

    def close(self) -> None:
        """Give the file back."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        flags |= os.O_NONBLOCK  # a FIFO that nobody reads is no reason to wait
        number = os.open(self._path, flags, MODE)
        self.close()
        self._number = number

    def _look(self) -> None:
        now = time.monotonic()
        if self._number >= 0 and now - self._looked < LOOK:
            return
        self._looked = now
        try:
            named, ours = self._path.stat(), os.fstat(self._number)
            there = (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
        except OSError:
            there = False
        if not there:
            self._open()


def start_writer(path: Path) -> tuple[int, int]:
    """Start the process that writes *path*; return the end of its pipe, and its process id.

    It ends when nobody has that end any more. Raises :class:`OperatorError`.
    """
    file = LogFile(path)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writer)
            _write_all(reader, file)
        finally:
            os._exit(ExitStatus.OK)
    os.close(reader)
    file.close()
    return writer, pid


def await_writer(pid: int, patience: float = 2.0) -> None:
    """Wait until the process of :func:`start_writer` has written all; it is killed if it hangs."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], patience)[0]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finally:
        os.close(descriptor)


def _write_all(reader: int, file: LogFile) -> None:
    # The supervisor is told of these, and ends its roles, which tell of it here
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while data := os.read(reader, READ_SIZE):
        file.write(data)
    file.write(b"")
