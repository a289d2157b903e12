"""When to tell the neighbours where virtual addresses are: gratuitous ARP and unsolicited NA.

The planner is apart from the VRRP machines and has a deadline of its own, so that it can never
delay an advert: the shell asks it only when no instance is due, and one answer is at most
``SLICE`` announcements long. All addresses of all instances are announced once before any is
repeated. One rate limits all instances together; ``garp_interval`` and ``gna_interval`` space the
announcements of one interface.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Final, final

from lvskeeper.units import Address
from lvskeeper.vrrp.spec import AnnounceSpec
from lvskeeper.vrrp.states import Occasion
from lvskeeper.vrrp.timers import Deadlines
from lvskeeper.vrrp.types import InstanceKey

SLICE: Final = 32
"""Most announcements in one answer: about a millisecond of system calls."""
RATE: Final = 2000.0
"""Announcements a second, over all instances."""
BURST: Final = 256.0
"""Announcements that may go out at once before the rate counts."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is: what one announcement says."""

    interface: str
    address: Address


@final
@dataclass(frozen=True, slots=True)
class Announcement:
    """Send a gratuitous ARP, or an unsolicited NA with the override flag, for *place* now."""

    key: InstanceKey
    place: Place


@final
@dataclass(slots=True)
class _Plan:
    """What is still to be said for one instance."""

    spec: AnnounceSpec
    places: tuple[Place, ...]
    rounds: int = 0
    """Rounds over all places that are left, with the present one."""
    done: int = 0
    """Rounds of this burst that are over: who has fewer goes first."""
    index: int = 0
    later: tuple[float, int] | None = None
    """When the burst is repeated, with how many rounds."""
    refresh_at: float = inf
    ready: bool = False
    said: dict[Place, float] = field(default_factory=dict)


@final
class Planner:
    """Announcements of all instances that hold addresses. Times are monotonic seconds."""

    __slots__ = ("_credit", "_deadlines", "_free", "_plans", "_rate", "_ready", "_serial", "_spent")

    def __init__(self, *, rate: float = RATE, burst: float = BURST) -> None:
        self._rate = rate
        self._credit = burst / rate
        self._spent = -inf
        """Until when the rate is used up, with what went out ahead of it."""
        self._plans: dict[InstanceKey, _Plan] = {}
        self._free: dict[tuple[str, int], float] = {}
        """From when on an interface (or spacing group) may speak again, an address family."""
        self._deadlines: Deadlines[InstanceKey] = Deadlines()
        """Repetitions, refreshes and ends of spacing."""
        self._ready: list[tuple[int, int, InstanceKey, _Plan]] = []
        """Who may speak, the one with the fewest rounds behind it first."""
        self._serial = 0

    def announce(
        self,
        key: InstanceKey,
        spec: AnnounceSpec,
        places: Iterable[Place],
        occasion: Occasion,
        now: float,
    ) -> None:
        """Plan what *occasion* asks for; a burst that is under way is not made longer than one."""
        plan = self._plans.get(key)
        places = tuple(places)
        if plan is None or plan.places != places or plan.spec != spec:
            said = plan.said if plan else {}
            plan = self._plans[key] = _Plan(spec, places, said=said)
        if not places:
            self._deadlines.set(key, inf)
            return
        rounds, delay = spec.repeat, spec.delay
        if occasion is Occasion.LOWER_PRIORITY:
            rounds, delay = spec.lower_prio_repeat, spec.lower_prio_delay
        _begin(plan, rounds)
        if delay:
            at = plan.later[0] if plan.later else now + delay
            plan.later = (at, rounds)
        if spec.refresh:
            plan.refresh_at = now + spec.refresh
        self._go_on(key, plan)

    def stop(self, key: InstanceKey) -> None:
        """Say no more for *key*: its addresses are going away."""
        if self._plans.pop(key, None):
            self._deadlines.discard(key)

    def last(self, key: InstanceKey, place: Place) -> float | None:
        """Return when *place* was last announced by *key* as long as it holds its addresses."""
        plan = self._plans.get(key)
        return plan.said.get(place) if plan else None

    def deadline(self) -> float:
        """Return when ``on_timer`` has something to say; infinite for never."""
        first = self._deadlines.first()
        due = -inf if self._ready else first[0] if first else inf
        return max(due, self._from)

    def on_timer(self, now: float) -> list[Announcement]:
        """Return what is to be sent now."""
        self._wake(now)
        out: list[Announcement] = []
        while self._ready and len(out) < SLICE and now >= self._from:
            _, _, key, plan = heappop(self._ready)
            if self._plans.get(key) is not plan:
                continue
            plan.ready = False
            place = plan.places[plan.index]
            free = self._free.get(_voice(plan.spec, place), -inf)
            if free > now:
                self._deadlines.set(key, free)
                continue
            self._say(plan, place, now)
            self._spent = max(self._spent, now) + 1 / self._rate
            out.append(Announcement(key, place))
            self._go_on(key, plan)
        return out

    @property
    def _from(self) -> float:
        """When the rate allows the next one: the use may be ahead of time by the burst."""
        return self._spent - self._credit

    def _wake(self, now: float) -> None:
        """Let those speak whose time has come."""
        while (first := self._deadlines.first()) and first[0] <= now:
            key = first[1]
            plan = self._plans[key]
            if plan.later and plan.later[0] <= now:
                _begin(plan, plan.later[1])
                plan.later = None
            if plan.refresh_at <= now:
                _begin(plan, plan.spec.refresh_repeat)
                plan.refresh_at = now + plan.spec.refresh
            self._go_on(key, plan)

    def _go_on(self, key: InstanceKey, plan: _Plan) -> None:
        """Queue *plan* if it has something to say, else set its alarm."""
        if not plan.rounds:
            self._deadlines.set(key, min(plan.later[0] if plan.later else inf, plan.refresh_at))
            return
        self._deadlines.set(key, inf)
        if not plan.ready:
            plan.ready = True
            self._serial += 1
            heappush(self._ready, (plan.done, self._serial, key, plan))

    def _say(self, plan: _Plan, place: Place, now: float) -> None:
        plan.said[place] = now
        spacing = _spacing(plan.spec, place)
        if spacing:
            self._free[_voice(plan.spec, place)] = now + spacing
        plan.index += 1
        if plan.index == len(plan.places):
            plan.index = 0
            plan.rounds -= 1
            plan.done += 1


def _begin(plan: _Plan, rounds: int) -> None:
    if not plan.rounds:
        plan.done = plan.index = 0
    plan.rounds = max(plan.rounds, rounds)


def _spacing(spec: AnnounceSpec, place: Place) -> float:
    return spec.gna_interval if len(place.address) == 16 else spec.garp_interval


def _voice(spec: AnnounceSpec, place: Place) -> tuple[str, int]:
    return spec.spacing or place.interface, len(place.address)
