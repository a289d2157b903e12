"""When to start which probe.

keepalived starts a check 1 s plus a random part of ``warmup`` (by default a whole ``delay_loop``)
after it comes to be; until then a dead server gets traffic. Here every first probe starts within
:data:`FIRST_SPAN` seconds, or within ``warmup`` where the operator gives one and the server serves
meanwhile. So that checks which start together do not stay together, the second cycle of each comes
after its own part of ``delay_loop``. Where thousands begin at once, first probes are spread over up
to a whole ``delay_loop`` (:data:`START_RATE`). The parts come from a checksum of the check's name:
two runs of one configuration probe in the same order, and no random source is needed.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import islice
from math import ceil, inf, isfinite
from typing import Final, Generic, TypeVar, final
from zlib import crc32

from lvskeeper.health.spec import CheckSpec

FIRST_SPAN: Final = 1.0
"""Seconds over which first probes are spread."""
SHORTEST_PHASE: Final = 1 / 1024
"""Least part of ``delay_loop`` before the second cycle."""
TICKS: Final = 100
"""Ticks of the wheel in a second."""
START_RATE: Final = 1000.0
"""First probes a second, where many checks begin at once; more only where they go on faster."""

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


def crowd_span(count: int, delay_loop: float) -> float:
    """Return the seconds over which the first probes of *count* checks are spread.

    A whole ``delay_loop`` at most: no faster than they go on.
    """
    return min(delay_loop, count / START_RATE)


@final
class Wheel(Generic[Id]):
    """A timetable in ticks: each id at most once, taken out when it is due.

    What is due within one tick leaves together, at its end, so that one turn of the loop starts
    many probes.
    """

    __slots__ = ("_heap", "_slots", "_ticks")

    def __init__(self) -> None:
        self._slots: dict[int, dict[Id, None]] = {}
        """What is due, by the number of the tick; empty ones stay until they are due."""
        self._ticks: dict[Id, int] = {}
        self._heap: list[int] = []
        """The numbers of all slots."""

    def __len__(self) -> int:
        return len(self._ticks)

    def __contains__(self, item: object) -> bool:
        return item in self._ticks

    def add(self, item: Id, due: float) -> None:
        """Put *item* down for *due*, instead of any earlier entry of it.

        Raise ``ValueError`` where *due* is not a finite time.
        """
        if not isfinite(due):
            raise ValueError(f"{item} cannot be due at {due}")
        if item in self._ticks:
            self.remove(item)
        tick = self._ticks[item] = ceil(due * TICKS)
        if (slot := self._slots.get(tick)) is not None:
            slot[item] = None
        else:
            self._slots[tick] = {item: None}
            heappush(self._heap, tick)

    def remove(self, item: Id) -> None:
        """Forget *item*; nothing happens where it is not there."""
        if (tick := self._ticks.pop(item, None)) is not None:
            del self._slots[tick][item]

    def next_due(self) -> float:
        """Return when the next item is due; infinite where there is none."""
        while self._heap:
            tick = self._heap[0]
            if self._slots[tick]:
                return tick / TICKS
            del self._slots[heappop(self._heap)]
        return inf

    def pop_due(self, now: float, most: int) -> list[Id]:
        """Take out and return what is due at *now*, the earliest first, *most* of it at most."""
        items: list[Id] = []
        while self._ticks and len(items) < most and self.next_due() <= now:
            slot = self._slots[self._heap[0]]
            for item in list(islice(slot, most - len(items))):
                del slot[item], self._ticks[item]
                items.append(item)
        return items
