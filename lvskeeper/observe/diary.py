"""What was told lately, by all processes of the daemon: a ring in memory, read by number.

Whoever follows it asks for what came after the last number that it has. Nothing is kept for a
reader: one that is too slow learns how many it has missed.
"""

from collections import deque
from typing import Final, final

import msgspec

MAX_ENTRIES: Final = 4096
"""Events that are kept; some 2 MB."""
MAX_READ: Final = 1000
"""Events in one answer."""


@final
class ToldEvent(msgspec.Struct, frozen=True):
    """An event of the catalogue on its way from where it was told."""

    time: float
    """Time of day, in seconds since 1970."""
    at: float
    """Monotonic clock."""
    level: str
    event: str
    """Its name in the catalogue."""
    fields: msgspec.Raw
    """What it tells, as a JSON object."""


@final
class Entry(msgspec.Struct, frozen=True):
    """An event in the diary."""

    number: int
    """They count from 1 on since the daemon's start, without a gap."""
    role: str
    """The process that told it: ``supervisor``, ``director``, ``router``."""
    time: float
    at: float
    level: str
    event: str
    fields: msgspec.Raw


@final
class EventsView(msgspec.Struct, frozen=True):
    """``/v1/events``: part of the diary."""

    pid: int
    """Of the daemon; with another one the numbers began anew."""
    last: int
    """Number of the last event that was told so far; ask for what comes after it."""
    missed: int
    """Events that came after the number asked for, and are no longer kept."""
    entries: tuple[Entry, ...]


@final
class Diary:
    """The ring; *limit* is how many it keeps."""

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._entries: deque[Entry] = deque(maxlen=limit)
        self.last = 0
        """Number of the newest entry."""
        self.lost = 0
        """Events that roles could not send."""

    def note(self, role: str, told: ToldEvent) -> Entry:
        """Add an event."""
        self.last += 1
        entry = Entry(self.last, role, told.time, told.at, told.level, told.event, told.fields)
        self._entries.append(entry)
        return entry

    def entries(self) -> tuple[Entry, ...]:
        """Return all that is kept, the oldest first."""
        return tuple(self._entries)

    def newest(self, count: int) -> tuple[Entry, ...]:
        """Return the newest *count* of them, the oldest first."""
        first = max(0, len(self._entries) - min(count, MAX_READ))
        return self._slice(first)

    def after(self, number: int) -> tuple[tuple[Entry, ...], int]:
        """Return what came after *number*, and how many of these are no longer kept."""
        oldest = self.last - len(self._entries) + 1
        missed = max(0, oldest - number - 1)
        found = self._slice(max(0, number + 1 - oldest))
        return found[:MAX_READ], missed

    def _slice(self, first: int) -> tuple[Entry, ...]:
        # A deque is slow in its middle, and most readers want its end.
        count = len(self._entries) - first
        tail = [entry for entry, _ in zip(reversed(self._entries), range(count), strict=False)]
        return tuple(reversed(tail))
