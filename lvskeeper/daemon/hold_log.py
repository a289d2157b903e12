"""Tells what was held after a take-over, from the counters of our table."""

from collections.abc import Callable
from math import inf
from typing import Final, TypeAlias, final

from lvskeeper.observe import fullnat_events as told
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

Held: TypeAlias = tuple[int, int]
"""Packets of real servers and of clients that were held since the table was made."""

NOTHING: Final[Held] = (0, 0)


@final
class HoldLog:
    """*held* reads the counters; ``None`` where there is no table with a hold."""

    def __init__(self, emit: Emit, held: Callable[[], Held | None]) -> None:
        self._emit = emit
        self._held = held
        self._before = NOTHING
        self._seconds = 0.0
        self._until = inf

    def begin(self, seconds: float, now: float) -> str:
        """Take that a hold began at *now*; return for how long it is, in words."""
        if not seconds or self._held() is None:
            return "off"
        self._seconds, self._until = seconds, now + seconds
        return format_duration(seconds)

    def look(self, now: float) -> None:
        """Read the counters, and tell what grew during a hold that has ended."""
        held = self._held() or NOTHING
        if self._until == inf:
            # The router is quicker than its message: what it has held by then counts, too.
            self._before = held
        elif now >= self._until:
            # A table that was replaced counts anew.
            servers, clients = (
                late - early if late >= early else late
                for late, early in zip(held, self._before, strict=True)
            )
            self._emit(told.StateSyncHoldEnded(servers, clients, format_duration(self._seconds)))
            self._before, self._until = held, inf
