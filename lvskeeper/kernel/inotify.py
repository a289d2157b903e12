"""inotify: the kernel tells of changes in directories."""

import ctypes
import errno
import os
from dataclasses import dataclass
from enum import IntFlag
from struct import Struct
from typing import Final, Self, final

READ_SIZE: Final = 16384
"""Bytes of events that one read takes: at least 60, at most 1,024 events."""

_HEAD: Final = Struct("@iIII")
"""``struct inotify_event`` without its name."""


@final
class Change(IntFlag):
    """What can be told (linux/inotify.h)."""

    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    """Events were lost: everything has to be looked at. It has no watch (-1)."""
    IGNORED = 0x8000
    """The watch is gone, with its directory or by request."""


WATCHED: Final = (
    Change.CLOSE_WRITE
    | Change.MOVED_FROM
    | Change.MOVED_TO
    | Change.CREATE
    | Change.DELETE
    | Change.DELETE_SELF
    | Change.MOVE_SELF
)
"""Not IN_MODIFY: who rewrites a file cuts it to nothing first."""
_ONLYDIR: Final = 0x01000000


@final
@dataclass(frozen=True, slots=True)
class DirectoryEvent:
    """One event."""

    watch: int
    change: Change
    name: str
    """Of the entry; empty for the directory itself."""


@final
class Inotify:
    """A set of watched directories. Raises ``OSError`` where the kernel refuses one more set."""

    def __init__(self) -> None:
        self._library: Final = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def watch(self, directory: str) -> int:
        """Return the number of the watch of *directory*; the same again for the same directory.

        Raises ``OSError``: missing, no directory, not to be read, or too many watches (ENOSPC).
        """
        path = os.fsencode(directory)
        return _checked(self._library.inotify_add_watch(self._descriptor, path, WATCHED | _ONLYDIR))

    def forget(self, watch: int) -> None:
        """Stop a watch; one that is gone already is none."""
        self._library.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[DirectoryEvent]:
        """Return some of the events that wait, or none."""
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return []
        events = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, offset)
            offset += _HEAD.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            events.append(DirectoryEvent(watch, Change(mask & 0xFFFF), os.fsdecode(name)))
        return events

    def close(self) -> None:
        """Give the descriptor back; twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        reason = "too many are watched (fs.inotify.max_user_watches)"
        raise OSError(number, reason if number == errno.ENOSPC else os.strerror(number))
    return result
