"""Named pipes that get a line for each transition, as keepalived's ``notify_fifo``."""

import asyncio
import contextlib
import grp
import os
import pwd
import select
import stat
from collections.abc import Callable, Hashable
from functools import partial
from typing import Final, final

from lvskeeper.daemon.lookup import SILENCE, look_up
from lvskeeper.daemon.roles import Fifo

MAX_LATE: Final = 65_536
"""Lines that wait for room in a full pipe, one a subject: a site of ten thousand servers may lose
all at once. The oldest gives way."""
MODE: Final = 0o600


@final
class FifoWriter:
    """One pipe, which is never waited for.

    A line for which there is no room is dropped. Yet the last state of each subject is written as
    soon as there is room again, so that a slow reader ends up with the truth.
    """

    def __init__(self, spec: Fifo, on_problem: Callable[[str], None]) -> None:
        """Open the pipe, and make it where nothing is there; raise ``OSError``, ``ValueError``."""
        self.path: Final = spec.path
        self._on_problem = on_problem
        self._late: dict[Hashable, bytes] = {}
        self._dropped = 0
        self._full = False
        self._loop = asyncio.get_running_loop()
        self._owning: asyncio.Task[None] | None = None
        self._made = _make(spec.path)
        try:
            self._fd = _open(spec.path)
        except OSError:
            if self._made:
                os.unlink(spec.path)  # noqa: PTH108 - a path is a text here
            raise
        self.own(spec)

    def own(self, spec: Fifo) -> None:
        """Give the pipe the owner that *spec* names, if it is one that we made: in a moment."""
        if self._owning is not None:
            self._owning.cancel()
        if self._made:
            self._owning = self._loop.create_task(self._own(spec))

    async def _own(self, spec: Fifo) -> None:
        """As :meth:`own`; as long as nobody knows who that is, the pipe is ours alone."""
        answer = look_up(partial(_owner, spec))
        await asyncio.wait({answer}, timeout=SILENCE)
        if not answer.done():
            self._on_problem(f"FIFO {self.path}: its owner is not known yet: no answer who that is")
        try:
            user, group = await answer
            os.fchown(self._fd, user, group)
        except (OSError, LookupError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.args[0]
            self._on_problem(f"FIFO {self.path}: its owner cannot be set: {reason}")

    async def owned(self) -> None:
        """Wait until the pipe has its owner, or that takes long: others cannot open it before."""
        if self._owning is not None:
            await asyncio.wait({self._owning}, timeout=SILENCE)

    def write(self, subject: Hashable, line: bytes, *, passing: bool) -> None:
        """Write *line*, or drop it where the pipe is full.

        A *passing* line tells of no state, so it is never written later.
        """
        if not self._full:
            if self._try(line):
                return
            self._full = True
            self._on_problem(f"FIFO {self.path} is full: nobody reads it, events are dropped")
            self._loop.add_writer(self._fd, self._on_room)
        self._dropped += 1
        if not passing:
            self._late.pop(subject, None)
            self._late[subject] = line
            if len(self._late) > MAX_LATE:
                del self._late[next(iter(self._late))]

    def there(self) -> bool:
        """Whether its path still leads to this pipe."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.lstat(self.path))
        except OSError:
            return False

    def close(self) -> None:
        """Write no more, so that a reader comes to the end; remove the pipe, if we made it."""
        if self._owning is not None:
            self._owning.cancel()
        if self._full:
            self._loop.remove_writer(self._fd)
        if self._made and self.there():
            with contextlib.suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - a path is a text here
        os.close(self._fd)

    def _on_room(self) -> None:
        while self._late:
            subject = next(iter(self._late))
            if not self._try(self._late[subject]):
                return
            del self._late[subject]
            self._dropped -= 1
        self._loop.remove_writer(self._fd)
        self._full = False
        dropped, self._dropped = self._dropped, 0
        self._on_problem(f"FIFO {self.path} is read again: {dropped} events were dropped")

    def _try(self, line: bytes) -> bool:
        """Write *line* whole or not at all; return whether there was room."""
        if len(line) > select.PIPE_BUF:
            self._on_problem(f"FIFO {self.path}: an event of {len(line)} bytes is too long for it")
            return True
        try:
            os.write(self._fd, line)
        except BlockingIOError:
            return False
        return True


def _owner(spec: Fifo) -> tuple[int, int]:
    """Return user and group of a pipe that we make, by default ours; raise ``LookupError``."""
    user, group = os.geteuid(), os.getegid()
    if spec.user:
        entry = pwd.getpwnam(spec.user)
        user, group = entry.pw_uid, entry.pw_gid
    if spec.group:
        group = grp.getgrnam(spec.group).gr_gid
    return user, group


def _make(path: str) -> bool:
    try:
        os.mkfifo(path, MODE)
    except FileExistsError:
        return False
    return True


def _open(path: str) -> int:
    """Open the pipe for both directions: so it is there without a reader, and keeps its lines."""
    if not stat.S_ISFIFO(os.lstat(path).st_mode):
        # Not opened first to see: opening a device may do something.
        raise FileExistsError(0, "something else than a FIFO is there", path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileExistsError(0, "something else than a FIFO is there", path)
    return fd
