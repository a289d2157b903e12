"""Keeps FULLNAT on a stock kernel: nftables ruleset, guard table and sysctls."""

import time
from typing import Final, final

from lvskeeper.daemon.desired import local_addresses, pool_specs, uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.content import Content, differences
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, expected_content, render
from lvskeeper.kernel.nft import Guard, Nft
from lvskeeper.kernel.sysctls import (
    State,
    ensure,
    recommended_for_fullnat,
    required_for_fullnat,
)
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

EMPTY: Final = Ruleset()


def ruleset_of(spec: DirectorSpec) -> Ruleset:
    """Return the ruleset that the FULLNAT virtual servers of *spec* need."""
    groups = pool_specs(spec)
    services = {
        key: virtual.pool
        for virtual in spec.virtual_servers
        if uses_fullnat(virtual)
        for key in virtual.keys
        if local_addresses(groups.get(virtual.pool), key.family)
    }
    used = set(services.values())
    return Ruleset(
        tuple(
            Pool.of(name, (item.address for item in group.addresses))
            for name, group in groups.items()
            if name in used
        ),
        services,
    )


def union(old: Ruleset, new: Ruleset) -> Ruleset:
    """Return *new* plus the services and pools that only *old* has.

    While a service leaves the IPVS table its connections still find their LIP.
    """
    pools = {pool.name: pool for pool in (*old.pools, *new.pools)}
    services = {**old.services, **new.services}
    kept = {key: name for key, name in services.items() if pools[name].addresses(key.family)}
    return Ruleset(tuple(pools.values()), kept)


@final
class FullnatKeeper:
    """The only writer of our nftables table."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._nft: Nft | None = None
        self._guard = Guard()
        self._unguarded = False
        self._current = EMPTY
        self._known_generation = -1

    async def prepare(self, spec: DirectorSpec) -> None:
        """Make everything ready for the services of *spec*, before they get into the table.

        Raises :class:`OperatorError` where this kernel or its nft cannot do it; nothing has been
        changed then.
        """
        wanted = ruleset_of(spec)
        if not wanted.services and self._nft is None:
            return
        nft = self._nft = self._nft or Nft()
        first = self._known_generation < 0
        if first:
            await nft.check(render(wanted))
            found = await nft.read()
            if not differences_from(wanted, found):
                self._current = wanted
                self._known_generation = nft.generation()
        self._set_sysctls(spec, wanted)
        await self._become(union(self._current, wanted))
        self._hold_guard()

    async def settle(self, spec: DirectorSpec) -> None:
        """Leave only what *spec* needs, after the table has followed."""
        if self._nft is not None:
            await self._become(ruleset_of(spec))
            if not self._current.services:
                self._guard.release()

    async def check_drift(self) -> None:
        """Repair the ruleset where somebody else changed it, and tell it."""
        if self._nft is None:
            return
        generation = self._nft.generation()
        if generation == self._known_generation:
            return
        started = time.monotonic()
        found = differences_from(self._current, await self._nft.read())
        if not found:
            self._known_generation = generation
            return
        self._known_generation = await self._nft.apply(render(self._current))
        took = format_duration(time.monotonic() - started)
        self._emit(events.RulesetRepaired("; ".join(found[:3]), took))

    async def remove(self) -> None:
        """Take our tables away."""
        if self._nft is not None:
            await self._become(EMPTY)
        self.close()

    def close(self) -> None:
        """Let go of the kernel; the guard goes, the ruleset stays."""
        self._guard.release()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def _become(self, wanted: Ruleset) -> None:
        assert self._nft is not None
        if wanted == self._current and self._known_generation >= 0:
            return
        self._known_generation = await self._nft.apply(render(wanted))
        self._current = wanted
        self._emit(events.FullnatApplied(len(wanted.services), len(wanted.pools)))

    def _hold_guard(self) -> None:
        if self._unguarded:
            return
        try:
            self._guard.hold()
        except OperatorError as error:
            self._unguarded = True
            self._emit(events.GuardMissing(error.message))

    def _set_sysctls(self, spec: DirectorSpec, wanted: Ruleset) -> None:
        if not wanted.services:
            return
        families = {key.family for key in wanted.services}
        required = required_for_fullnat(families)
        findings = ensure(required, set_allowed=spec.manage_sysctls)
        findings += ensure(recommended_for_fullnat(), set_allowed=False)
        for finding in findings:
            requirement = finding.requirement
            name = requirement.name.replace("/", ".")
            if finding.state is State.SET:
                self._emit(events.SysctlSet(name, finding.found, str(requirement.wanted)))
            elif not finding.ok:
                self._emit(
                    events.SysctlWrong(
                        name,
                        " ".join(filter(None, (finding.found, finding.reason)))
                        or finding.state.value,
                        str(requirement.wanted),
                        requirement.consequence,
                    )
                )


def differences_from(wanted: Ruleset, found: Content | None) -> tuple[str, ...]:
    """Return how the table *found* differs from *wanted*, in sentences."""
    expected = expected_content(wanted)
    if expected is None:
        return () if found is None else ("a table that no virtual server needs",)
    return differences(expected, found)
