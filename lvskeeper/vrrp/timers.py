"""The times of VRRP, and many deadlines as one.

RFC 3768 6.1 and RFC 5798 6.1, as keepalived reads them.
"""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Generic, TypeVar, final

OWNER = 255
"""Priority of the router whose own addresses the virtual ones are."""
SPARE = 64
"""Entries that the heap of deadlines may have besides two a key, before it is cleaned."""


def skew_time(version: int, priority: int, master_interval: float) -> float:
    """Return the seconds by which a lower *priority* waits longer: up to one advert interval.

    Version 2 measures it in parts of a second whatever the interval is; version 3 in parts of the
    interval that the master advertises.
    """
    return (256 - priority) / 256 * (master_interval if version == 3 else 1.0)


def master_down_time(
    version: int, priority: int, master_interval: float, adverts: int = 3
) -> float:
    """Return the seconds of silence after which a backup takes the master for dead.

    *adverts* is ``vrrp_down_timer_adverts``; the RFCs know 3 only.
    """
    return adverts * master_interval + skew_time(version, priority, master_interval)


Key = TypeVar("Key", bound=Hashable)


@final
class Deadlines(Generic[Key]):
    """The earliest of many deadlines; one that moves to later costs nothing until it is on top."""

    __slots__ = ("_heap", "_live", "_serial", "_set")

    def __init__(self) -> None:
        self._set: dict[Key, float] = {}
        self._live: dict[Key, tuple[float, int, Key]] = {}
        """For each key its one heap entry that counts."""
        self._heap: list[tuple[float, int, Key]] = []
        self._serial = 0

    def set(self, key: Key, deadline: float) -> None:
        """Let *key* be due at *deadline*; infinite means never."""
        self._set[key] = deadline
        live = self._live.get(key)
        if deadline < (live[0] if live else inf):
            heappush(self._heap, self._enter(key, deadline))
            if len(self._heap) > 2 * len(self._set) + SPARE:
                counts = self._live.get
                self._heap = [entry for entry in self._heap if counts(entry[2]) is entry]
                heapify(self._heap)

    def discard(self, key: Key) -> None:
        """Forget *key*."""
        self._set.pop(key, None)
        self._live.pop(key, None)

    def take(self, now: float) -> list[Key]:
        """Return the keys that are due, the most overdue first; they have no deadline any more."""
        due: list[Key] = []
        while (first := self.first()) and first[0] <= now:
            key = first[1]
            heappop(self._heap)
            del self._live[key], self._set[key]
            due.append(key)
        return due

    def first(self) -> tuple[float, Key] | None:
        """Return the earliest deadline with its key, or nothing when none is finite."""
        while self._heap:
            at, _, key = entry = self._heap[0]
            if self._live.get(key) is not entry:
                heappop(self._heap)
                continue
            due = self._set[key]
            if due == at:
                return due, key
            if due == inf:
                heappop(self._heap)
                del self._live[key]
            else:
                heapreplace(self._heap, self._enter(key, due))
        return None

    def bound(self) -> float:
        """Return a time before which nothing is due, without any work; infinite for never."""
        return self._heap[0][0] if self._heap else inf

    def _enter(self, key: Key, at: float) -> tuple[float, int, Key]:
        self._serial += 1
        entry = self._live[key] = (at, self._serial, key)
        return entry
