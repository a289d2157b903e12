"""Runs the checks of all virtual servers: starts what is due, tells what follows from results."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TypeAlias, final

from lvskeeper.daemon.file_checks import FileProber
from lvskeeper.daemon.misc_checks import MiscProber
from lvskeeper.health.pool import CheckId, Pool, PoolEffect
from lvskeeper.health.schedule import Schedule, first_delay
from lvskeeper.health.spec import CheckKind, ProbeResult, TcpOffer
from lvskeeper.health.tally import ProbeTally
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe.log import Emit
from lvskeeper.probes.runner import ProbeRunner

ProbeId: TypeAlias = tuple[str, CheckId[DestKey]]
"""Virtual server and check."""

OnOffer: TypeAlias = Callable[[str, DestKey, TcpOffer], None]

OnEffects: TypeAlias = Callable[[str, list[PoolEffect[DestKey]]], None]


@final
class HealthLoop:
    """The timer and the probes of a director; pools decide, this only carries out."""

    def __init__(self, on_effects: OnEffects, on_offer: OnOffer, emit: Emit) -> None:
        self._on_effects = on_effects
        self._on_offer = on_offer
        self._pools: Mapping[str, Pool[DestKey]] = {}
        self._schedule: Schedule[ProbeId] = Schedule()
        self._scripts = MiscProber()
        self._files = FileProber(self._on_file, emit)
        self._runner: ProbeRunner[ProbeId] = ProbeRunner(
            self._on_result,
            others={CheckKind.MISC: self._scripts.probe, CheckKind.FILE: self._files.probe},
        )
        self._resting: frozenset[str] = frozenset()
        """Virtual servers whose checks rest."""
        self._again: set[ProbeId] = set()
        """Checks whose file has changed while their probe ran."""
        self.tally = ProbeTally()
        """All probes so far, by kind."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def replace(self, pools: Mapping[str, Pool[DestKey]]) -> None:
        """Go on with *pools*; probes of checks that are no longer there are abandoned."""
        old = set(_probe_ids(self._pools))
        self._pools = pools
        self._runner.forget_files()
        self._files.follow(
            checker.spec for pool in pools.values() for checker in pool.checkers.values()
        )
        new = set(_probe_ids(pools))
        for gone in old - new:
            self._schedule.remove(gone)
            self._runner.cancel(gone)
            self._again.discard(gone)
        for name, check_id in new:
            self._arrange(name, check_id)
        self._arm()

    def rest(self, names: frozenset[str]) -> None:
        """Let the checks of the virtual servers *names* rest, and those that rested go on.

        What is known of their servers stays. A probe that runs is not cut short.
        """
        ended, begun = self._resting - names, names - self._resting
        self._resting = names
        now = self._loop.time()
        for name in begun & self._pools.keys():
            for check_id in self._pools[name].checkers:
                self._schedule.remove((name, check_id))
        for name in ended & self._pools.keys():
            for check_id, checker in self._pools[name].checkers.items():
                if isfinite(checker.due):
                    # Soon, as what is known is old; but not all at the same time.
                    serving = self._pools[name].up[check_id.key]
                    soon = now + first_delay(checker.spec, str(check_id), serving=serving)
                    self._schedule.add((name, check_id), soon)
        self._arm()

    async def close(self) -> None:
        """Stop probing."""
        if self._timer is not None:
            self._timer.cancel()
        await self._runner.close()
        await self._scripts.close()
        self._files.close()

    def _arrange(self, name: str, check_id: CheckId[DestKey]) -> None:
        due = self._pools[name].checkers[check_id].due
        if isfinite(due) and name not in self._resting:
            self._schedule.add((name, check_id), due)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._schedule.next_due()
        if isfinite(due):
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        # A loop timer may fire a clock tick early: what it was set for is due by definition.
        for probe_id in self._schedule.pop_due(max(now, self._schedule.next_due())):
            name, check_id = probe_id
            pool = self._pools[name]
            pool.on_start(check_id, now)
            self._runner.start(probe_id, pool.checkers[check_id].spec)
        self._timer = None
        self._arm()

    def _on_file(self, path: str) -> None:
        """Make the checks of a file due, as its number has changed."""
        now = self._loop.time()
        for name, check_id in _probe_ids(self._pools):
            file = check_id.target.file
            if file is None or file.path != path or name in self._resting:
                continue
            if (name, check_id) in self._schedule:
                self._schedule.add((name, check_id), now)
            else:
                self._again.add((name, check_id))  # it runs, and may have looked already
        self._arm()

    def _on_result(self, probe_id: ProbeId, result: ProbeResult) -> None:
        name, check_id = probe_id
        pool = self._pools[name]
        self.tally.note(check_id.target.kind, result)
        effects = pool.on_result(check_id, result, self._loop.time())
        self._arrange(name, check_id)
        if probe_id in self._again:
            self._again.discard(probe_id)
            self._schedule.add(probe_id, self._loop.time())
        self._arm()
        # A check may ask another host than the real server.
        if result.offer is not None and check_id.target.address == check_id.key.address:
            self._on_offer(name, check_id.key, result.offer)
        if effects:
            self._on_effects(name, effects)


def _probe_ids(pools: Mapping[str, Pool[DestKey]]) -> Iterator[ProbeId]:
    for name, pool in pools.items():
        for check_id in pool.checkers:
            yield name, check_id
