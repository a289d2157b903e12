"""Keeps the nftables table of VRRP as the configuration needs it: ``no_accept`` and VMACs."""

import asyncio
from collections.abc import Callable
from typing import Final, final

from lvskeeper.daemon.router_spec import RouterSpec, VmacKind
from lvskeeper.daemon.ruleset_watch import RulesetWatch
from lvskeeper.daemon.upkeep import Upkeep
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.vip_firewall import VipFirewall
from lvskeeper.observe import events
from lvskeeper.observe.events import Event
from lvskeeper.units import format_duration
from lvskeeper.vrrp.holdings import HeldAddress

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks at the ruleset without news of it, and between two repairs."""


@final
class AcceptGuard:
    """A failure is told, and VRRP goes on without."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._firewall = VipFirewall()
        self._watch = RulesetWatch()
        self._upkeep = Upkeep(tell)

    async def configure(self, spec: RouterSpec, *, sweep: bool = False) -> None:
        """Block what *spec* wants blocked; addresses that are not here do no harm in the table.

        *sweep* away what an earlier router has left.
        """
        blocked, vmacs = blocked_by(spec)
        try:
            if sweep and not blocked and not vmacs:
                await self._sweep()
            await self._firewall.set(blocked=blocked, vmacs=vmacs)
        except OperatorError as error:
            self._tell(events.UpkeepFailed(error.message, error.hint))
        if blocked or vmacs:
            self._watch.start()
        else:
            self._watch.stop()

    async def _sweep(self) -> None:
        try:
            await self._firewall.sweep()
        except OperatorError as error:
            if error.status is not ExitStatus.UNSUPPORTED:
                raise  # without nft there was none before either

    async def look_after(self) -> None:
        """Put the table back for ever where somebody changes the ruleset, at the news of it."""
        while True:
            await self._watch.changed(LOOK_INTERVAL)
            if not await self._upkeep.guarded("table", self._renew):
                await asyncio.sleep(LOOK_INTERVAL)

    async def _renew(self) -> None:
        if await self._firewall.renew():
            await asyncio.sleep(LOOK_INTERVAL)

    async def close(self, patience: float, *, sweep: bool = False) -> None:
        """Remove the table, within *patience* seconds; *sweep* as :meth:`configure` does."""
        try:
            async with asyncio.timeout(patience):
                if sweep:
                    await self._sweep()
                await self._firewall.close()
        except OperatorError as error:
            self._tell(events.UpkeepFailed(error.message, error.hint))
        except TimeoutError:
            told = f"nft did not remove our table within {format_duration(patience)}"
            self._tell(events.UpkeepFailed(told, "nft delete table inet lvskeeper_vrrp"))
        self._watch.stop()


def blocked_by(spec: RouterSpec) -> tuple[list[HeldAddress], list[str]]:
    """Return the addresses that are to answer nothing, and the devices that report no groups."""
    blocked = [
        held
        for config in spec.instances
        if not config.accept and not config.spec.owner
        for held in config.addresses
    ]
    vmacs = [
        config.vmac.name
        for config in spec.instances
        if config.vmac is not None and config.vmac.kind is VmacKind.MACVLAN
    ]
    return blocked, vmacs
