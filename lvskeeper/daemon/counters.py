"""Looks at the counters of SYN cookies once a second, and tells floods and, on demand, the rest."""

from collections.abc import Callable, Mapping
from typing import Final, final

from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.fullnat.counters import Snapshot, growth, snapshot
from lvskeeper.fullnat.flood import FloodEnded, FloodNews, FloodStarted, FloodWatch
from lvskeeper.kernel.synproxy_stats import read_counters
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks."""

_MAIN: Final = frozenset(
    {
        "syn_received", "cookie_valid", "cookie_invalid",
        "synproxy_syn_cnt", "synproxy_ok_ack", "synproxy_bad_ack",
    }
)  # fmt: skip
"""Counters that the report has by a name of its own."""


@final
class CounterKeeper:
    """The counters of this director, while a virtual server has SYNPROXY."""

    def __init__(self, emit: Emit, read: Callable[[], Mapping[str, int]] = read_counters) -> None:
        self._emit = emit
        self._read = read
        self._watch = FloodWatch()
        self.snapshot: Snapshot | None = None
        """The last look; none before the first, and while no virtual server has SYNPROXY."""

    def look(self, spec: DirectorSpec, now: float) -> None:
        """Look, and tell a flood that starts or ends; costs some 50 microseconds, or nothing."""
        if not any(virtual.syn_proxy for virtual in spec.virtual_servers):
            self._tell(self._watch.stop())
            self.snapshot = None
            return
        seen = snapshot(self._read(), now, self.snapshot)
        before, self.snapshot = self.snapshot or seen, seen
        syns = growth(before.syns, seen.syns)
        handshakes = growth(before.handshakes, seen.handshakes)
        self._watch.bound = spec.syn_flood_rate
        self._tell(self._watch.on_growth(now, syns, handshakes))

    def report(self) -> None:
        """Tell what was counted until the last look, and what grew since the one before."""
        seen = self.snapshot
        if seen is None:
            return
        rates = (f"{name} {rate:.1f}/s" for name, rate in seen.rates.items() if rate)
        others = (
            f"{name} {value}" for name, value in seen.values.items() if value and name not in _MAIN
        )
        self._emit(
            events.SynCounters(
                seen.syns,
                seen.handshakes,
                seen.forged,
                "yes" if self._watch.flooded else "no",
                ", ".join(rates) or "none",
                ", ".join(others) or "none",
            )
        )

    def _tell(self, news: FloodNews | None) -> None:
        match news:
            case FloodStarted():
                self._emit(events.SynFloodStarted(news.syns, news.handshakes, round(news.rate)))
            case FloodEnded():
                self._emit(
                    events.SynFloodEnded(
                        news.syns, news.handshakes, round(news.peak), format_duration(news.duration)
                    )
                )
            case None:
                pass
