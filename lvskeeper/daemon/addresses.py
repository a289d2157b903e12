"""Keeps LIPs on the devices that the configuration names for them, and remembers which are ours."""

import asyncio
from collections.abc import Iterable
from typing import Literal, final

from lvskeeper.daemon.roles import LocalAddressSpec, PoolSpec
from lvskeeper.kernel.links import (
    Placement,
    ensure_addresses,
    remove_addresses,
)
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import Address, format_address


@final
class AddressKeeper:
    """Adds and removes LIPs; only what it added itself, in this life or an earlier, it removes."""

    def __init__(self, emit: Emit, ours: Iterable[LocalAddressSpec]) -> None:
        """*ours* are the LIPs that an earlier director added."""
        self._emit = emit
        self._ours = {(item.address, item.device) for item in ours}
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
            placement = await ensure_addresses(_placed(pools))
            self._ours.update(placement.changed)
            self._tell(placement, "added")

    async def remove_others(self, pools: Iterable[PoolSpec]) -> None:
        """Remove those of our LIPs that *pools* do not place any more."""
        async with self._lock:
            placement = await remove_addresses(self._ours - set(_placed(pools)))
            self._ours -= {*placement.changed, *placement.unchanged}
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


def _placed(pools: Iterable[PoolSpec]) -> list[tuple[Address, str]]:
    return [(item.address, item.device) for pool in pools for item in pool.addresses if item.device]
