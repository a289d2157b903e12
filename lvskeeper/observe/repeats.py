"""What is told again and again is told a few times, then counted. Time comes from outside."""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Final, final

from lvskeeper.observe.events import Event, RepeatsSuppressed
from lvskeeper.units import format_duration

TOLD_AT_ONCE: Final = 5
"""How often the same is told in one window."""

WINDOW: Final = 60.0
"""Seconds from the first time on; then the count of those left out is told."""

MAX_KINDS: Final = 4096
"""Different events that are remembered; beyond, all are told."""

MEASURES: Final = frozenset(
    {
        "attempt", "bytes", "count", "duration", "failures", "late", "lasted", "operations",
        "probe_took", "silence", "silent", "took",
    }
)  # fmt: skip
"""Fields that differ each time: two events that differ in these alone are the same."""


@final
@dataclass(slots=True)
class _Seen:
    first: float
    times: int
    latest: Event


@final
class Repeats:
    """Decides of each event whether it is told."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()

    def admit(self, event: Event, now: float) -> list[Event]:
        """Return what is to be told now that *event* happened; nothing where it is one too many."""
        told = self.settle(now)
        key = _key(event)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) < MAX_KINDS:
                self._seen[key] = _Seen(now, 1, event)
            return [*told, event]
        seen.times += 1
        seen.latest = event
        return [*told, event] if seen.times <= TOLD_AT_ONCE else told

    def settle(self, now: float) -> list[Event]:
        """Return what is to be told of windows that are over."""
        told: list[Event] = []
        # They are in the order of their first times.
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            if now - seen.first < WINDOW:
                break
            del self._seen[key]
            told += _summary(seen, now)
        return told

    def finish(self, now: float) -> list[Event]:
        """Return what was not told yet, at the end."""
        told = [one for seen in self._seen.values() for one in _summary(seen, now)]
        self._seen.clear()
        return told

    @property
    def deadline(self) -> float:
        """When :meth:`settle` has something to do."""
        return next(iter(self._seen.values())).first + WINDOW if self._seen else inf


def _summary(seen: _Seen, now: float) -> list[Event]:
    left_out = seen.times - TOLD_AT_ONCE
    if left_out <= 0:
        return []
    values = (str(getattr(seen.latest, name)) for name in seen.latest.__struct_fields__)
    words = ", ".join(value for value in values if value not in {"", "None"})
    return [RepeatsSuppressed(seen.latest.NAME, left_out, format_duration(now - seen.first), words)]


def _key(event: Event) -> tuple[object, ...]:
    fields = event.__struct_fields__
    return (event.NAME, *(getattr(event, name) for name in fields if name not in MEASURES))
