"""Keeps FULLNAT on a stock kernel: nftables ruleset and guard table."""

import asyncio
import time
from typing import TYPE_CHECKING, Final, final

from lvskeeper.daemon.desired import local_addresses, pool_specs, uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.content import Content, differences
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import (
    NO_POOL,
    Ruleset,
    changes,
    covering,
    expected_content,
    render,
)
from lvskeeper.kernel.nft import Nft
from lvskeeper.kernel.nft_guard import Guard
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

if TYPE_CHECKING:
    from lvskeeper.ipvs.types import ServiceKey

EMPTY: Final = Ruleset()


def ruleset_of(spec: DirectorSpec) -> Ruleset:
    """Return the ruleset that the FULLNAT virtual servers of *spec* need."""
    groups = pool_specs(spec)
    fullnat: dict[ServiceKey, str] = {}
    others: list[ServiceKey] = []
    for virtual in spec.virtual_servers:
        for key in virtual.keys:
            if uses_fullnat(virtual) and local_addresses(groups.get(virtual.pool), key.family):
                fullnat[key] = virtual.pool
            else:
                others.append(key)
    used = set(fullnat.values())
    pools = tuple(
        Pool.of(name, (item.address for item in group.addresses))
        for name, group in groups.items()
        if name in used
    )
    return Ruleset(pools, covering(fullnat, others))


def union(old: Ruleset, new: Ruleset) -> Ruleset:
    """Return *new* plus the services and pools that only *old* has.

    While a service leaves the IPVS table its connections still find their LIP.
    """
    pools = {pool.name: pool for pool in (*old.pools, *new.pools)}
    services = {
        key: name
        for key, name in {**old.services, **new.services}.items()
        if name == NO_POOL or pools[name].addresses(key.family)
    }
    return Ruleset(tuple(pools.values()), services)


@final
class FullnatKeeper:
    """The only writer of our nftables table; its work never waits for that on the IPVS table."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._nft: Nft | None = None
        self._lock = asyncio.Lock()
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
        async with self._lock:
            if self._nft is None:
                self._nft = await self._open(wanted)
            if self._nft is None:
                return
            await self._become(self._nft, union(self._current, wanted))
            self._hold_guard()

    async def settle(self, spec: DirectorSpec) -> None:
        """Leave only what *spec* needs, after the table has followed."""
        async with self._lock:
            if self._nft is not None:
                await self._become(self._nft, ruleset_of(spec))
                if not self._current.services:
                    self._guard.release()

    async def check_drift(self) -> None:
        """Repair the ruleset where somebody else changed it, and tell it."""
        async with self._lock:
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
        """Take our tables away, those of an earlier director too."""
        async with self._lock:
            if self._nft is None:
                self._nft = await self._open(EMPTY)
            if self._nft is not None:
                await self._become(self._nft, EMPTY)
        self.close()

    def close(self) -> None:
        """Let go of the kernel; the guard goes, the ruleset stays."""
        self._guard.release()
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def _open(self, wanted: Ruleset) -> Nft | None:
        """Return nft where there are rules to make, or some that an earlier director left."""
        try:
            nft = Nft()
        except OperatorError:
            if wanted.services:
                raise
            return None
        if wanted.services:
            await nft.check(render(wanted))
        generation = nft.generation()
        found = await nft.read()
        if found is None and not wanted.services:
            nft.close()
            return None
        if not differences_from(wanted, found):
            self._current, self._known_generation = wanted, generation
        return nft

    async def _become(self, nft: Nft, wanted: Ruleset) -> None:
        """Turn the table into *wanted*: by elements where it is known, else as a whole."""
        generation = nft.generation()
        # Where somebody's transaction (our guard's, too) came between, it is mostly not about us.
        certain = generation == self._known_generation or not differences_from(
            self._current, await nft.read()
        )
        if certain and wanted == self._current:
            self._known_generation = generation
            return
        text = changes(self._current, wanted) if certain else render(wanted)
        self._known_generation = await nft.apply(text)
        self._current = wanted
        self._emit(events.FullnatApplied(len(wanted.services), len(wanted.pools)))

    def _hold_guard(self) -> None:
        if not self._current.services:
            return
        try:
            self._guard.hold()
        except OperatorError as error:
            if not self._unguarded:
                self._emit(events.GuardMissing(error.message))
            self._unguarded = True
        else:
            self._unguarded = False


def differences_from(wanted: Ruleset, found: Content | None) -> tuple[str, ...]:
    """Return how the table *found* differs from *wanted*, in sentences."""
    expected = expected_content(wanted)
    if expected is None:
        return () if found is None else ("a table that no virtual server needs",)
    return differences(expected, found)
