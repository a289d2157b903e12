"""Keeps LIPs on the devices that the configuration names for them, and remembers which are ours.

A LIP that leaves a pool still carries connections, and neighbours find it only while it is on its
device. So it stays there until connection tracking has no entry with it any more.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice
from typing import Final, Literal, final

from lvskeeper.daemon.roles import LocalAddressSpec, PoolSpec
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.conntrack import ConntrackClient
from lvskeeper.kernel.links import (
    PlacedAddress,
    Placement,
    ensure_addresses,
    remove_addresses,
)
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import Address, format_address, format_duration

LEAVING_LIMIT: Final = 3600.0
"""Seconds that a LIP waits for the end of its connections.

IPVS forgets a connection 900 s after its last packet: what is left after this hour is in use.
"""

LEAVING_BLINDLY: Final = 900.0
"""The same where connections cannot be counted: FULLNAT kernels hide a LIP that was deleted.

Their own timeout is 90 s; this also does for connections that are kept for as long as here.
"""

LOOKS: Final = 16
"""LIPs that are looked at in one turn; each costs the kernel a walk through its table."""

COUNTED: Final = 1000
"""Connections that are counted for the log, at most."""

_AT_ONCE: Final = 0.0
"""Due of a LIP whose removal failed."""


@final
class AddressKeeper:
    """Adds and removes LIPs; only what it added itself, in this life or an earlier, it removes."""

    def __init__(
        self,
        emit: Emit,
        ours: Iterable[LocalAddressSpec],
        note: Callable[[], None] = lambda: None,
    ) -> None:
        """*ours* are the LIPs that an earlier director added; *note* has ours saved."""
        self._emit = emit
        self._note = note
        self._ours = {(item.address, item.device) for item in ours}
        self._unplaced: set[PlacedAddress] = set()
        """Those that the kernel refused the last time; they are tried again, and noted once."""
        self._leaving: dict[PlacedAddress, float | None] = {}
        """When each has to be gone, ``None`` before its first look; the next to look at first."""
        self._countable = True
        self._failed: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def ours(self) -> tuple[LocalAddressSpec, ...]:
        """The LIPs that a director of ours put on a device, to be remembered over restarts."""
        return tuple(LocalAddressSpec(address, device) for address, device in sorted(self._ours))

    async def add(self, pools: Iterable[PoolSpec]) -> None:
        """Put the LIPs of *pools* that name a device there; a failure is told, and others go on.

        Called again and again it brings back what somebody else took away.
        """
        async with self._lock:
            before = frozenset(self._ours)

            def take(missing: Iterable[PlacedAddress]) -> None:
                # Before they are there: killed right then, the next director has to know them.
                self._ours.update(missing)
                if self._ours - before - self._unplaced:
                    self._note()

            placement = await ensure_addresses(_placed(pools), take)
            self._unplaced = {(one.address, one.device) for one in placement.failures}
            self._ours -= self._unplaced - before
            self._tell(placement, "added")

    async def dismiss_others(self, pools: Iterable[PoolSpec], *, countable: bool = True) -> None:
        """Let those of our LIPs leave that *pools* do not have any more; see :meth:`see_off`.

        One that moved to another device leaves the old one at once; one that a pool still has,
        without a device now, stays. *countable* is ``False`` on kernels with FULLNAT of their own.
        """
        self._countable = countable
        every = list(pools)
        placed = set(_placed(every))
        used = {item.address for pool in every for item in pool.addresses}
        there = {address for address, _ in placed}
        async with self._lock:
            self._leaving = {
                item: self._leaving.get(item) for item in sorted(self._ours) if item[0] not in used
            }
            await self._remove({item for item in self._ours - placed if item[0] in there})

    async def see_off(self) -> None:
        """Remove the leaving LIPs that have no connection any more, or have waited too long.

        To be called every few seconds. Connections are counted in a thread.
        """
        for item in list(islice(self._leaving, LOOKS)):
            due = self._leaving.get(item)
            left = await self._connections(item[0], COUNTED if due is None else 1)
            async with self._lock:
                if item in self._leaving:  # else it was wanted again meanwhile
                    await self._decide(item, left)

    async def _decide(self, item: PlacedAddress, left: int | None) -> None:
        """Remove a leaving LIP that has *left* connections, or let it wait on as the last."""
        due, now = self._leaving.pop(item), time.monotonic()
        if left == 0 or (due is not None and now >= due):
            if left and due:
                self._emit(events.LocalAddressCut(*_names(item)))
            await self._remove({item})
            return
        limit = LEAVING_BLINDLY if left is None else LEAVING_LIMIT
        if due is None:
            told = _amount(left), format_duration(limit)
            self._emit(events.LocalAddressLeaving(*_names(item), *told))
        self._leaving[item] = due or now + limit

    async def remove_all(self) -> None:
        """Remove all of our LIPs at once."""
        async with self._lock:
            self._leaving.clear()
            await self._remove(self._ours)

    async def _connections(self, address: Address, limit: int) -> int | None:
        """Return how many connections *address* has, ``None`` where that cannot be known."""
        if not self._countable:
            return None
        try:
            return await asyncio.to_thread(_count, address, limit)
        except OperatorError:
            return None

    async def _remove(self, items: Iterable[PlacedAddress]) -> None:
        placement = await remove_addresses(items)
        self._ours -= {*placement.changed, *placement.unchanged}
        for failure in placement.failures:
            self._leaving[failure.address, failure.device] = _AT_ONCE
        self._tell(placement, "removed")

    def _tell(self, placement: Placement, change: Literal["added", "removed"]) -> None:
        for address, device in placement.changed:
            self._emit(events.LocalAddressChanged(format_address(address), device, change))
        for failure in placement.failures:
            reason = ": ".join(filter(None, (failure.reason, failure.hint)))
            # Once until something changes: it is tried again every few seconds.
            if str(failure) not in self._failed:
                self._emit(
                    events.LocalAddressFailed(
                        format_address(failure.address), failure.device, reason
                    )
                )
        self._failed = {str(failure) for failure in placement.failures}


def _placed(pools: Iterable[PoolSpec]) -> list[PlacedAddress]:
    return [(item.address, item.device) for pool in pools for item in pool.addresses if item.device]


def _names(item: PlacedAddress) -> tuple[str, str]:
    return format_address(item[0]), item[1]


def _count(address: Address, limit: int) -> int:
    with closing(ConntrackClient()) as conntrack:
        return conntrack.count(address, limit)


def _amount(connections: int | None) -> str:
    if connections is None:
        return "unknown"
    return f"{connections} or more" if connections >= COUNTED else str(connections)
