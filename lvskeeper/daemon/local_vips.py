"""What the director does with virtual addresses on this host: ``vip_bind_dev`` and ``ha_suspend``.

Addresses follow the quorum, checks follow the addresses. The first puts addresses there and brings
them back when others remove them, the second only looks.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, final

from lvskeeper.daemon.address_watch import AddressWatch
from lvskeeper.daemon.roles import DirectorSpec, LocalAddressSpec
from lvskeeper.daemon.vip_binder import VipBinder
from lvskeeper.daemon.virtuals import Virtual
from lvskeeper.observe import health_events as events
from lvskeeper.observe.log import Emit

NEWS_PAUSE: Final = 0.1
"""Seconds from news of addresses to a look at them: others may be stubborn, and news many."""


@final
class LocalVips:
    """*on_rest* gets the names of the virtual servers whose checks are to rest."""

    def __init__(
        self,
        emit: Emit,
        ours: Iterable[LocalAddressSpec],
        on_rest: Callable[[frozenset[str]], None],
        note: Callable[[], None],
    ) -> None:
        """*ours* are those that an earlier director put on devices; *note* has :attr:`ours` saved.

        What that raises is raised by what puts addresses on devices.
        """
        self._emit = emit
        self._on_rest = on_rest
        self._news = asyncio.Event()
        self._watch = AddressWatch(self._news.set)
        self._binder = VipBinder(emit, self._watch, ours, note)
        self._spec = DirectorSpec()
        self._resting: frozenset[str] = frozenset()

    @property
    def ours(self) -> tuple[LocalAddressSpec, ...]:
        """The virtual addresses that we put on devices, to be remembered over restarts."""
        return self._binder.ours

    def close(self) -> None:
        """Listen no more; what stands on devices stays."""
        self._watch.close()

    async def prepare(self, spec: DirectorSpec) -> None:
        """Know the addresses of this host where *spec* needs them; raise as the kernel does."""
        if any(item.suspends or item.vip_device for item in spec.virtual_servers):
            self._watch.open()
            await self._watch.refresh()

    def follow(self, spec: DirectorSpec, virtuals: Iterable[Virtual]) -> None:
        """Go by *spec*, for which :meth:`prepare` was called, from now on."""
        self._spec = spec
        self._rest()
        self._binder.keep_only(item.name for item in spec.virtual_servers)
        self.hold(virtuals)

    def hold(self, virtuals: Iterable[Virtual]) -> None:
        """Let *virtuals* hold their addresses, or let them go, by their quorums."""
        for item in virtuals:
            self._binder.hold(item.spec, served=item.pool.has_quorum)

    async def settle(self) -> None:
        """Bring what is held onto devices, and what is not off them; raise as the kernel does."""
        if self._binder.used:
            await self._watch.refresh()
            await self._binder.settle()

    async def withdraw(self) -> None:
        """Only take off devices what is not held any more; raise as the kernel does."""
        if self._binder.used:
            await self._binder.settle(adding=False)

    async def release(self) -> None:
        """Take all of ours off devices; raise as the kernel does."""
        self._binder.keep_only(())
        await self.withdraw()

    async def changed(self) -> None:
        """Wait for news of addresses, and a little longer for more of them."""
        await self._news.wait()
        await asyncio.sleep(NEWS_PAUSE)
        self._news.clear()

    async def look(self) -> None:
        """Let checks rest or go on by the addresses that are here now, and :meth:`settle`."""
        await self._watch.refresh()
        self._rest()
        await self.settle()

    def _rest(self) -> None:
        resting = frozenset(
            item.name
            for item in self._spec.virtual_servers
            # A firewall mark has no address to wait for.
            if item.suspends and item.addresses and not any(map(self._watch.has, item.addresses))
        )
        if resting != self._resting:
            for name in sorted(resting ^ self._resting):
                self._emit(events.ChecksRest(name, name in resting))
            self._resting = resting
            self._on_rest(resting)
