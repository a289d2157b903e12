"""When SYNs without a handshake are a flood: one message at its start, one at its end.

SYN cookies withstand a flood without harm, so its start is news and not an alarm a packet. A flood
is told by two signs together: many SYNs a second are left unanswered, and many more than are
answered. A busy site of real clients shows the first only, a single lost client the second only.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

FLOOD_RATE: Final = 1000.0
"""SYNs a second without a handshake from which on it may be a flood."""

FLOOD_RATIO: Final = 2.0
"""SYNs without a handshake for each one with, from which on it may be a flood."""

CALM_SHARE: Final = 0.5
"""Share of both bounds below which it is calm; between the two nothing changes."""

START_AFTER: Final = 3.0
"""Seconds that it must last before it is told."""

END_AFTER: Final = 15.0
"""Seconds of calm after which it is over: floods come in waves."""

MAX_GAP: Final = 60.0
"""Seconds between two looks after which the first one is forgotten."""


@final
@dataclass(frozen=True, slots=True)
class FloodStarted:
    """A flood goes on for :data:`START_AFTER` seconds."""

    syns: int
    """SYNs since its first second."""
    handshakes: int
    """Those of them that real clients completed."""
    rate: float
    """SYNs a second without a handshake, the most of two looks in a row."""


@final
@dataclass(frozen=True, slots=True)
class FloodEnded:
    """It has been calm for :data:`END_AFTER` seconds; the numbers leave the calm out."""

    syns: int
    handshakes: int
    duration: float
    """Seconds from its first to its last loud moment."""
    peak: float
    """SYNs a second without a handshake, the most of two looks in a row."""


FloodNews: TypeAlias = FloodStarted | FloodEnded


@final
@dataclass(slots=True)
class _Burst:
    """A loud time, told or not yet."""

    since: float
    last: float
    """Its last loud moment."""
    syns: int = 0
    handshakes: int = 0
    peak: float = 0.0
    told: bool = False
    quiet_syns: int = 0
    """SYNs since its last loud moment: they count if it gets loud again."""
    quiet_handshakes: int = 0


@final
@dataclass(slots=True)
class FloodWatch:
    """Watches how two counters grow. Looks about a second apart serve it best."""

    bound: float = FLOOD_RATE
    """SYNs a second without a handshake from which on it may be a flood."""
    _before: float | None = field(default=None, init=False)
    _burst: _Burst | None = field(default=None, init=False)

    @property
    def flooded(self) -> bool:
        """Whether a start was told and its end was not."""
        return self._burst is not None and self._burst.told

    def on_growth(self, now: float, syns: int, handshakes: int) -> FloodNews | None:
        """Take what was counted since the look before; return what is to be told, if anything.

        *now* is monotonic, in seconds. The first look only starts the clock, and so does one after
        a gap of :data:`MAX_GAP`, as its growth tells nothing of when.
        """
        before, self._before = self._before, now
        if before is None or now <= before or now - before > MAX_GAP:
            return self._calm_down(now)
        passed = now - before
        open_rate = max(syns - handshakes, 0) / passed
        loud = open_rate >= self.bound and open_rate * passed >= FLOOD_RATIO * handshakes
        calm = (
            open_rate < CALM_SHARE * self.bound
            or open_rate * passed < CALM_SHARE * FLOOD_RATIO * handshakes
        )
        burst = self._burst
        if burst is None:
            if not loud:
                return None
            burst = self._burst = _Burst(before, now)
        if calm:
            burst.quiet_syns += syns
            burst.quiet_handshakes += handshakes
            return self._calm_down(now)
        if not loud and not burst.told:
            self._burst = None
            return None
        return self._go_on(burst, now, syns, handshakes, open_rate)

    def stop(self) -> FloodNews | None:
        """End what goes on, because nobody looks any more; return what is to be told, if anything.

        The next look only starts the clock.
        """
        self._before = None
        burst, self._burst = self._burst, None
        return _ended(burst) if burst is not None else None

    def _go_on(
        self, burst: _Burst, now: float, syns: int, handshakes: int, rate: float
    ) -> FloodNews | None:
        burst.last = now
        burst.syns += burst.quiet_syns + syns
        burst.handshakes += burst.quiet_handshakes + handshakes
        burst.quiet_syns = burst.quiet_handshakes = 0
        burst.peak = max(burst.peak, rate)
        if burst.told or now - burst.since < START_AFTER:
            return None
        burst.told = True
        return FloodStarted(burst.syns, burst.handshakes, burst.peak)

    def _calm_down(self, now: float) -> FloodNews | None:
        burst = self._burst
        if burst is None or (burst.told and now - burst.last < END_AFTER):
            return None
        self._burst = None
        return _ended(burst)


def _ended(burst: _Burst) -> FloodEnded | None:
    if not burst.told:
        return None
    return FloodEnded(burst.syns, burst.handshakes, burst.last - burst.since, burst.peak)
