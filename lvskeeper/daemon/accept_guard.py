"""Keeps the nftables table of VRRP as the configuration needs it: ``no_accept`` and VMACs."""

import asyncio
from collections.abc import Callable
from typing import final

from lvskeeper.daemon.router_spec import RouterSpec, VmacKind
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.nft import Generation
from lvskeeper.kernel.vip_firewall import VipFirewall
from lvskeeper.observe import events
from lvskeeper.observe.events import Event
from lvskeeper.units import format_duration


@final
class AcceptGuard:
    """A failure is told, and VRRP goes on without."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._firewall = VipFirewall()
        self._generation: Generation | None = None
        self._seen = 0
        """Generation of the ruleset that has our table as we put it there."""

    async def configure(self, spec: RouterSpec, *, sweep: bool = False) -> None:
        """Block what *spec* wants blocked; addresses that are not here do no harm in the table.

        *sweep* away what an earlier router has left.
        """
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
        try:
            if blocked or vmacs:
                self._generation = self._generation or Generation()
            if sweep and not blocked and not vmacs:
                await self._sweep()
            await self._firewall.set(blocked=blocked, vmacs=vmacs)
            self._look()
        except OperatorError as error:
            self._tell(events.UpkeepFailed(error.message, error.hint))
        if not blocked and not vmacs and self._generation is not None:
            self._generation.close()
            self._generation = None

    async def _sweep(self) -> None:
        try:
            await self._firewall.sweep()
        except OperatorError as error:
            if error.status is not ExitStatus.UNSUPPORTED:
                raise  # without nft there was none before either

    def _look(self) -> None:
        if self._generation is not None:
            self._seen = self._generation.read()

    async def look_after(self) -> None:
        """Put the table back where somebody changed the ruleset."""
        try:
            if self._generation is None or self._generation.read() == self._seen:
                return
            await self._firewall.renew()
            self._look()
        except OperatorError as error:
            self._tell(events.UpkeepFailed(error.message, error.hint))

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
        if self._generation is not None:
            self._generation.close()
            self._generation = None
