"""When to start which probe.

keepalived starts a check 1 s plus a random part of ``warmup`` (by default a whole ``delay_loop``)
after it comes to be; until then a dead server gets traffic. Here every first probe starts within
:data:`FIRST_SPAN` seconds, or within ``warmup`` where the operator gives one and the server serves
meanwhile. So that checks which start together do not stay together, the second cycle of each comes
after its own part of ``delay_loop``. The parts come from a checksum of the check's name: two runs
of one configuration probe in the same order, and no random source is needed.
"""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf, isfinite
from typing import Final, Generic, TypeVar, final
from zlib import crc32

from lvskeeper.health.spec import CheckSpec

FIRST_SPAN: Final = 1.0
"""Seconds over which first probes are spread."""
SHORTEST_PHASE: Final = 1 / 1024
"""Least part of ``delay_loop`` before the second cycle."""
SLACK: Final = 64
"""Stale heap entries that are always tolerated before the heap is rebuilt."""

Id = TypeVar("Id", bound=Hashable)


def fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on *text* alone, evenly spread over many texts."""
    return crc32(text.encode()) / 2**32


def first_delay(spec: CheckSpec, name: str, *, serving: bool) -> float:
    """Return the seconds from now to the first probe of the check *spec* called *name*.

    *serving* tells whether its server serves until then. One that does not is waiting for this
    probe, so ``warmup`` does not hold it up.
    """
    span = spec.warmup if serving and spec.warmup > 0 else FIRST_SPAN
    return fraction(name) * min(span, spec.delay_loop)


def first_phase(name: str) -> float:
    """Return the part of ``delay_loop`` between the first and the second cycle of *name*."""
    # The checksum runs over a longer text, else it would only repeat the order of first_delay.
    return max(fraction(f"{name} again {name}"), SHORTEST_PHASE)


@final
class Schedule(Generic[Id]):
    """A timetable: each id at most once, taken out when it is due."""

    __slots__ = ("_heap", "_serial", "_tickets")

    def __init__(self) -> None:
        # The serial number makes ids that are due together leave in order of arrival, and marks
        # entries that a later add or remove made stale.
        self._heap: list[tuple[float, int, Id]] = []
        self._tickets: dict[Id, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, item: object) -> bool:
        return item in self._tickets

    def add(self, item: Id, due: float) -> None:
        """Put *item* down for *due*, instead of any earlier entry of it.

        Raise ``ValueError`` where *due* is not a finite time.
        """
        if not isfinite(due):
            raise ValueError(f"{item} cannot be due at {due}")
        self._serial += 1
        self._tickets[item] = self._serial
        heappush(self._heap, (due, self._serial, item))
        self._tidy()

    def remove(self, item: Id) -> None:
        """Forget *item*; nothing happens where it is not there."""
        self._tickets.pop(item, None)
        self._tidy()

    def next_due(self) -> float:
        """Return when the next item is due; infinite where there is none."""
        heap = self._heap
        while heap and self._tickets.get(heap[0][2]) != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else inf

    def pop_due(self, now: float) -> list[Id]:
        """Take out and return all items that are due at *now*, the earliest first."""
        items: list[Id] = []
        while self._tickets and self.next_due() <= now:
            _, _, item = heappop(self._heap)
            del self._tickets[item]
            items.append(item)
        return items

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._tickets) + SLACK:
            self._heap = [entry for entry in self._heap if self._tickets.get(entry[2]) == entry[1]]
            heapify(self._heap)
