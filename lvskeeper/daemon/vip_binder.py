"""Puts virtual addresses on devices while their virtual servers have a quorum: ``vip_bind_dev``.

A routing daemon announces what stands on the device, so that of several directors those get the
traffic that can serve it. An address goes when the last virtual server that holds it there lets go.
Only what was put there by a director of ours is ever removed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Final, Literal, final

from lvskeeper.daemon.address_watch import AddressWatch
from lvskeeper.daemon.roles import LocalAddressSpec, VirtualServerSpec
from lvskeeper.kernel.links import PlacedAddress
from lvskeeper.kernel.rtnetlink import Refusal, RouteClient
from lvskeeper.kernel.rtnetlink_changes import AddAddress, Change, DeleteAddress
from lvskeeper.observe import health_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp.holdings import HeldAddress

SLICE: Final = 256
"""Changes that are asked of the kernel at once."""


@final
class VipBinder:
    """*watch* tells what stands where, and has to be fresh whenever :meth:`settle` is called."""

    def __init__(
        self,
        emit: Emit,
        watch: AddressWatch,
        ours: Iterable[LocalAddressSpec],
        note: Callable[[], None],
    ) -> None:
        """*ours* are the addresses that an earlier director put there; *note* has them saved."""
        self._emit = emit
        self._note = note
        self._watch = watch
        self._ours: set[PlacedAddress] = {(item.address, item.device) for item in ours}
        self._held: dict[str, tuple[PlacedAddress, ...]] = {}
        self._holders: Counter[PlacedAddress] = Counter()
        self._refused: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def ours(self) -> tuple[LocalAddressSpec, ...]:
        """What a director of ours put on devices, to be remembered over restarts."""
        return tuple(LocalAddressSpec(address, device) for address, device in sorted(self._ours))

    @property
    def used(self) -> bool:
        """Whether there is anything to do: addresses that are held, or have to go."""
        return bool(self._holders or self._ours)

    def hold(self, virtual: VirtualServerSpec, *, served: bool) -> None:
        """Let *virtual* hold its addresses while it is *served*, and let go of those it held."""
        device = virtual.vip_device if served else ""
        places = tuple((address, device) for address in virtual.addresses) if device else ()
        before = self._held.pop(virtual.name, ())
        if places:
            self._held[virtual.name] = places
        self._holders.update(places)
        self._holders.subtract(before)
        for place in before:
            if not self._holders[place]:
                del self._holders[place]

    def keep_only(self, names: Iterable[str]) -> None:
        """Let those virtual servers go that are not among *names*."""
        for name in self._held.keys() - set(names):
            for place in self._held.pop(name):
                self._holders[place] -= 1
                if not self._holders[place]:
                    del self._holders[place]

    async def settle(self, *, adding: bool = True) -> None:
        """Remove what nobody holds any more, and put what is held and missing; tell of both.

        Without *adding* it only removes. What the kernel refuses is told once, and tried again by
        the next call. Raises :class:`OperatorError` where the kernel does not answer.
        """
        async with self._lock:
            surplus = sorted(self._ours - self._holders.keys())
            missing = sorted(
                place for place in self._holders if adding and not self._watch.stands(*place)
            )
            new = [place for place in missing if place not in self._ours]
            if new:
                # Before they are there: killed right then, the next director has to know them.
                self._ours.update(new)
                self._note()
            refused = await self._apply([*map(_removal, surplus), *map(_addition, missing)])
            names = {_place(refusal.change) for refusal in refused}
            for place in surplus:
                if place not in names:
                    self._ours.discard(place)
                    self._tell(place, "removed")
            for place in missing:
                if place not in names:
                    self._tell(place, "added" if place in new else "restored")
                elif place in new:
                    self._ours.discard(place)
            self._tell_refused(refused)

    @staticmethod
    async def _apply(changes: Sequence[Change]) -> list[Refusal]:
        return await asyncio.to_thread(_apply, changes) if changes else []

    def _tell(self, place: PlacedAddress, change: Literal["added", "removed", "restored"]) -> None:
        self._emit(events.VipBound(format_address(place[0]), place[1], change))

    def _tell_refused(self, refused: Sequence[Refusal]) -> None:
        for refusal in refused:
            if str(refusal.change) not in self._refused:
                self._emit(events.VipBindFailed(str(refusal.change), refusal.reason, refusal.hint))
        self._refused = {str(refusal.change) for refusal in refused}


def _apply(changes: Sequence[Change]) -> list[Refusal]:
    refused: list[Refusal] = []
    with closing(RouteClient()) as client:
        for start in range(0, len(changes), SLICE):
            refused += client.apply(changes[start : start + SLICE])
    return refused


def _addition(place: PlacedAddress) -> AddAddress:
    return AddAddress(_held(*place))


def _removal(place: PlacedAddress) -> DeleteAddress:
    return DeleteAddress(_held(*place))


def _held(address: Address, device: str) -> HeldAddress:
    # IPv6: else the kernel takes the newest /128 as the source of our own connections (RFC 6724).
    preferred = 0 if len(address) == 16 else None
    return HeldAddress(address, len(address) * 8, device, preferred=preferred)


def _place(change: Change) -> PlacedAddress:
    assert isinstance(change, AddAddress | DeleteAddress)
    return change.held.address, change.held.device
