"""Runs the checks of all virtual servers: starts what is due, tells what follows from results.

Checks that ask the same in the same rhythm, of whatever virtual servers, are one target: it is
probed once, and each of them gets the result. All work is bounded a turn of the loop: so many
starts a tick, and a reload goes on in slices.
"""

import asyncio
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias, final

from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.expiry import ExpiryWatch
from lvskeeper.daemon.misc_checks import MiscProber
from lvskeeper.health.checker import Checker
from lvskeeper.health.pool import CheckId, Pool, PoolEffect
from lvskeeper.health.schedule import TICKS, Wheel, crowd_span, first_delay, fraction
from lvskeeper.health.spec import CheckKind, CheckSpec, ProbeResult, TcpOffer
from lvskeeper.health.tally import ProbeTally
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe.log import Emit
from lvskeeper.observe.probe_records import DirectorFlight, ProbeRecord
from lvskeeper.probes.runner import MAX_PROBES, ProbeRunner

if TYPE_CHECKING:
    from lvskeeper.daemon.file_checks import FileProber

START_RATE: Final = 6400
"""Most probes a second; after a stall of the machine all are due at once."""
MAX_STARTS: Final = 256
"""Most probes that start in one turn of the loop, however late it comes."""
PIECE: Final = 16
"""Probes that start between two looks at the clock."""
TURN: Final = 0.004
"""Seconds after which a turn starts no more probes."""
LOOK_INTERVAL: Final = 0.1
"""Seconds between two looks for checks that find out nothing."""
OTHER_FILES: Final = 256
"""Open files that the director needs beside those of probes."""
MAX_LOOKS: Final = 250
"""Checks that are looked at each time, in turn."""
MAX_NOTED: Final = 4000
"""Probes that are remembered for the flight recorder, and as many bad ones."""

ProbeNote: TypeAlias = tuple[float, CheckSpec, ProbeResult]
OnOffer: TypeAlias = Callable[[str, DestKey, TcpOffer], None]
OnEffects: TypeAlias = Callable[[str, list[PoolEffect[DestKey]]], None]


@final
@dataclass(slots=True, eq=False)
class Member:
    """One check of those that ask the same."""

    name: str
    """The virtual server."""
    check_id: CheckId[DestKey]
    pool: Pool[DestKey]
    checker: Checker
    age: int
    """Number of the reload that pool and checker are of."""


@final
@dataclass(slots=True, eq=False)
class Target:
    """What is probed once for all checks that ask the same."""

    spec: CheckSpec
    members: list[Member] = field(default_factory=list)
    age: int = 0
    """Number of the reload that has it last."""
    probe: "Probe | None" = None
    """The one that runs."""


@final
@dataclass(slots=True, eq=False)
class Probe:
    """One probe, and the checks that its result is for."""

    target: Target
    members: list[Member]
    age: int
    """Number of the reload that had its target last when it was started."""


@final
class HealthLoop:
    """The timer and the probes of a director; pools decide, this only carries out."""

    def __init__(self, on_effects: OnEffects, on_offer: OnOffer, emit: Emit) -> None:
        self._on_effects = on_effects
        self._on_offer = on_offer
        self._pools: Mapping[str, Pool[DestKey]] = {}
        self._targets: dict[CheckSpec, Target] = {}
        self._age = 0
        self._wheel: Wheel[Target] = Wheel()
        self._scripts = MiscProber()
        self._emit = emit
        self._files: FileProber | None = None
        self._expiry = ExpiryWatch(emit)
        self._runner: ProbeRunner[Probe] = ProbeRunner(
            self._on_result,
            limit=room_for_probes(),
            others={CheckKind.MISC: self._scripts.probe, CheckKind.FILE: self._probe_file},
        )
        self._resting: frozenset[str] = frozenset()
        """Virtual servers whose checks rest."""
        self._probes: set[Probe] = set()
        self._again: set[Target] = set()
        """Targets whose file has changed while their probe ran."""
        self._latest: deque[ProbeNote] = deque(maxlen=MAX_NOTED)
        self._bad: deque[ProbeNote] = deque(maxlen=MAX_NOTED)
        self.tally = ProbeTally()
        """All probes so far, by kind."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._last_tick = 0.0
        self._unlooked: Iterator[Member] = iter(())
        self._looking = self._loop.call_later(LOOK_INTERVAL, self._look)

    async def replace(
        self, pools: Mapping[str, Pool[DestKey]], at_once: Callable[[], None] = lambda: None
    ) -> None:
        """Go on with *pools*; probes of checks that are no longer there are abandoned.

        Results reach *pools* from the beginning, and then *at_once* is called, which may let checks
        :meth:`rest`; what is left to do is done in slices.
        """
        before, self._pools = self._pools, pools
        self._runner.forget_files()
        self._age += 1
        at_once()
        breath = Breath()
        fresh: list[tuple[CheckId[DestKey], Checker]] = []
        files: list[CheckSpec] = []
        for name, pool in pools.items():
            old = before.get(name)
            for check_id, checker in pool.checkers.items():
                self._join(Member(name, check_id, pool, checker, self._age))
                # Reloads in a row must not put the first probe off again and again.
                if checker.fresh and (old is None or old.checker(check_id) is None):
                    fresh.append((check_id, checker))
                if checker.spec.file is not None:
                    files.append(checker.spec)
            await breath.taken()
        self._follow_files(files)
        now = self._loop.time()
        for check_id, checker in fresh:
            if checker.fresh:  # else it was due meanwhile
                _spread(check_id, checker, len(fresh), now)
            await breath.taken()
        for key, target in list(self._targets.items()):
            if target.age != self._age:
                del self._targets[key]
                self._wheel.remove(target)
                self._again.discard(target)
            else:
                self._arrange(target)
            await breath.taken()
        self._abandon_probes()
        self._expiry.follow(pools)
        self._arm()

    def _abandon_probes(self) -> None:
        """Cancel the probes that no check waits for any more."""
        for probe in list(self._probes):
            if not any(
                self._is_there(member) and member.checker.in_flight for member in probe.members
            ):
                self._probes.discard(probe)
                probe.target.probe = None
                self._runner.cancel(probe)

    def rest(self, names: frozenset[str]) -> None:
        """Let the checks of the virtual servers *names* rest, and those that rested go on.

        What is known of their servers stays. A probe that runs is not cut short.
        """
        ended, begun = self._resting - names, names - self._resting
        self._resting = names
        now = self._loop.time()
        for name in begun & self._pools.keys():
            for checker in self._pools[name].checkers.values():
                if (target := self._targets.get(checker.spec.asked)) is not None:
                    self._arrange(target)
        awake = [self._pools[name] for name in ended & self._pools.keys()]
        count = sum(len(pool.checkers) for pool in awake)
        for pool in awake:
            for check_id, checker in pool.checkers.items():
                # Soon, as what is known is old; but not all at the same time.
                called, spec = str(check_id), checker.spec
                soon = first_delay(spec, called, serving=pool.up[check_id.key])
                turn = fraction(called) * crowd_span(count, spec.delay_loop)
                checker.on_rest_over(now, now + max(soon, turn))
                if (target := self._targets.get(spec.asked)) is not None:
                    self._arrange(target)
        self._arm()

    async def close(self) -> None:
        """Stop probing."""
        if self._timer is not None:
            self._timer.cancel()
        self._looking.cancel()
        if self._files is not None:
            self._files.close()  # first: its news start probes
        await self._runner.close()
        await self._scripts.close()

    def _join(self, member: Member) -> None:
        """Let *member* be one of those that ask the same."""
        key = member.checker.spec.asked
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = Target(key)
        if target.age != self._age:
            target.age = self._age
            target.members = []
        target.members.append(member)

    def _is_there(self, member: Member) -> bool:
        """Return whether a check is there still; bring *member* up to date."""
        if member.age != self._age:
            pool = self._pools.get(member.name)
            checker = None if pool is None else pool.checker(member.check_id)
            if pool is None or checker is None:
                return False
            member.pool, member.checker, member.age = pool, checker, self._age
        return True

    def _arrange(self, target: Target) -> None:
        """Put *target* down for the first time that any of its checks is due."""
        due = inf
        for member in target.members:
            if (
                (member.age == self._age or self._is_there(member))
                and member.checker.due < due
                and member.name not in self._resting
            ):
                due = member.checker.due
        if due != inf:
            self._wheel.add(target, due)
        else:
            self._wheel.remove(target)

    def _arm(self) -> None:
        due = self._wheel.next_due()
        if due > self._last_tick:
            due = max(due, self._last_tick + 1 / TICKS)
        # Else we are behind, and sleeping would give away what little time we get; others have
        # their turn in between all the same.
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        # A loop timer may fire a clock tick early: what it was set for is due by definition.
        most = min(max(1, int((now - self._last_tick) * START_RATE)), MAX_STARTS)
        due = max(now, self._timer_at)
        while most > 0 and (targets := self._wheel.pop_due(due, min(most, PIECE))):
            for target in targets:
                self._start(target, now)
            most -= len(targets)
            if self._loop.time() - now > TURN:
                break
        self._timer, self._timer_at = None, inf
        self._last_tick = now
        self._arm()

    def _start(self, target: Target, now: float) -> None:
        started = []
        for member in target.members:
            if not self._is_there(member) or member.name in self._resting:
                continue
            if not member.checker.in_flight:
                member.pool.on_start(member.check_id, now)
                started.append(member)
        if target.probe is not None:
            target.probe.members += started  # who comes while it runs has its result as well
        elif started:
            # Not our age: a reload under way may yet give its checks to another target.
            probe = target.probe = Probe(target, started, target.age)
            self._probes.add(probe)
            self._runner.start(probe, target.spec)

    async def flight(self) -> DirectorFlight:
        """Return the probes that are remembered; other work has its turn meanwhile."""
        return DirectorFlight(await _records(self._latest), await _records(self._bad))

    def _on_result(self, probe: Probe, result: ProbeResult) -> None:
        now = self._loop.time()
        target = probe.target
        target.probe = None
        self._probes.discard(probe)
        self.tally.note(target.spec.kind, result)
        self._latest.append((now, target.spec, result))
        if not result.ok:
            self._bad.append((now, target.spec, result))
        told: list[tuple[str, list[PoolEffect[DestKey]]]] = []
        for member in probe.members:
            if not self._is_there(member) or not member.checker.in_flight:
                continue
            if effects := member.pool.on_result(member.check_id, result, now):
                told.append((member.name, effects))
            self._note(member, result)
            if probe.age != self._age:
                moved = self._targets.get(member.checker.spec.asked)
                if moved is not None and moved is not target:
                    self._arrange(moved)  # a reload has given the check another rhythm
        if probe.age == self._age or self._targets.get(target.spec) is target:
            self._arrange(target)
            if self._again and target in self._again:
                self._again.discard(target)
                self._wheel.add(target, now)
        self._arm()
        for name, effects in told:
            self._on_effects(name, effects)

    def _note(self, member: Member, result: ProbeResult) -> None:
        """Pass on what a probe found out beside the health of the server."""
        check_id = member.check_id
        # A check may ask another host than the real server.
        if result.offer is not None and check_id.target.address == check_id.key.address:
            self._on_offer(member.name, check_id.key, result.offer)
        if result.expires is not None:
            self._expiry.note(member.name, check_id, result.expires)

    def _follow_files(self, specs: list[CheckSpec]) -> None:
        """Watch the files of *specs*, and no others."""
        if specs and self._files is None:
            from lvskeeper.daemon.file_checks import FileProber  # noqa: PLC0415 - few have any

            self._files = FileProber(self._on_file, self._emit)
        if self._files is not None:
            self._files.follow(specs)

    async def _probe_file(self, spec: CheckSpec) -> ProbeResult:
        assert self._files is not None
        return await self._files.probe(spec)

    def _on_file(self, path: str) -> None:
        """Make the targets of a file due, as its number has changed."""
        now = self._loop.time()
        for target in self._targets.values():
            if target.spec.file is None or target.spec.file.path != path:
                continue
            if target in self._wheel:
                self._wheel.add(target, now)
            else:
                self._again.add(target)  # it runs, and may have looked already
        self._arm()

    def _look(self) -> None:
        """Look at some of the checks, whether they have found out anything lately."""
        now = self._loop.time()
        looked = list(islice(self._unlooked, MAX_LOOKS))
        if not looked:
            targets = list(self._targets.values())
            self._unlooked = chain.from_iterable(target.members for target in targets)
        for member in looked:
            if not self._is_there(member) or member.name in self._resting:
                continue
            if effects := member.pool.on_silence(member.check_id, now):
                self._on_effects(member.name, effects)
        self._looking = self._loop.call_later(LOOK_INTERVAL, self._look)


def room_for_probes() -> int:
    """Return how many probes may run at a time; raise the limit of open files as far as needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_PROBES + OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return MAX_PROBES if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft) - OTHER_FILES)


def _spread(check_id: CheckId[DestKey], checker: Checker, count: int, now: float) -> None:
    """Let a check that begins with *count* others begin in its own part of the time."""
    loop = checker.spec.delay_loop
    span = crowd_span(count, loop)
    checker.defer(now + fraction(str(check_id)) * span, whole=span == loop)


async def _records(notes: Iterable[ProbeNote]) -> tuple[ProbeRecord, ...]:
    breath = Breath()
    made = []
    for at, spec, result in list(notes):
        made.append(
            ProbeRecord(at, str(spec), result.ok, result.phase.value, result.detail, result.elapsed)
        )
        await breath.taken()
    return tuple(made)
