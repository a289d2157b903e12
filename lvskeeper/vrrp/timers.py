"""The times of VRRP, and many deadlines as one.

RFC 3768 6.1 and RFC 5798 6.1, as keepalived reads them.
"""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Generic, TypeVar, final

OWNER = 255
"""Priority of the router whose own addresses the virtual ones are."""


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

    __slots__ = ("_heap", "_order", "_serial", "_set")

    def __init__(self) -> None:
        self._set: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order: dict[Key, float] = {}
        """For each key the time of its earliest heap entry."""
        self._serial = 0

    def set(self, key: Key, deadline: float) -> None:
        """Let *key* be due at *deadline*; infinite means never."""
        self._set[key] = deadline
        if deadline < self._order.get(key, inf):
            self._push(key, deadline)

    def discard(self, key: Key) -> None:
        """Forget *key*."""
        self._set.pop(key, None)
        self._order.pop(key, None)
        self._heap = [entry for entry in self._heap if entry[2] != key]
        heapify(self._heap)

    def first(self) -> tuple[float, Key] | None:
        """Return the earliest deadline with its key, or nothing when none is finite."""
        while self._heap:
            at, _, key = self._heap[0]
            due = self._set[key]
            if at == due:
                return due, key
            if at != self._order[key] or due == inf:
                # A double of a key that came forward meanwhile, or one that is not due any more
                heappop(self._heap)
                if at == self._order[key]:
                    del self._order[key]
            else:
                self._serial += 1
                self._order[key] = due
                heapreplace(self._heap, (due, self._serial, key))
        return None

    def _push(self, key: Key, deadline: float) -> None:
        self._serial += 1
        self._order[key] = deadline
        heappush(self._heap, (deadline, self._serial, key))
