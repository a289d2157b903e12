"""The interfaces that VRRP depends on: are they there, are they up, which addresses have they."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from typing import Final, final

from lvskeeper.kernel.rtnetlink_codec import Link, PresentAddress
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.trackers import LinkTracker
from lvskeeper.vrrp.tracking import FAILED, Status

IFA_F_SECONDARY: Final = 0x01
"""``linux/if_addr.h``; the same bit is ``IFA_F_TEMPORARY`` in IPv6."""
LINK_LOCAL: Final = b"\xfe\x80"


@final
@dataclass(frozen=True, slots=True)
class LinkView:
    """One interface as the instances see it."""

    present: bool
    well: bool
    """Up, and not held down because it flaps."""
    flaps: int

    @property
    def word(self) -> str:
        """How operators call it."""
        return "missing" if not self.present else "up" if self.well else "down"


MISSING: Final = LinkView(present=False, well=False, flaps=0)


@final
class Links:
    """A copy of what the kernel has told of links and addresses; it makes no calls itself."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._by_name: dict[str, int] = {}
        self._addresses: dict[int, dict[tuple[Address, int], PresentAddress]] = {}
        self._trackers: dict[str, LinkTracker] = {}
        self._holds: Mapping[str, float] = {}

    def watch(self, names: Iterable[str], holds: Mapping[str, float]) -> None:
        """Track the interfaces *names*; those in *holds* have to be up for so many seconds."""
        wanted = set(names)
        before, self._holds = self._holds, holds
        for name in [*self._trackers]:
            if name not in wanted or before.get(name) != holds.get(name):
                del self._trackers[name]
        for name in wanted - self._trackers.keys():
            up = self._running(name)
            self._trackers[name] = LinkTracker(up=up, hold=holds.get(name, 0.0))

    def fill(self, links: Iterable[Link], addresses: Iterable[PresentAddress], now: float) -> None:
        """Take a whole dump in place of all that was known."""
        self._links = {link.index: link for link in links}
        self._by_name = {link.name: link.index for link in self._links.values()}
        self._addresses = {}
        for present in addresses:
            self.on_address(present, gone=False)
        for name in self._trackers:
            self._follow(name, now)

    def on_link(self, link: Link, now: float, *, gone: bool) -> None:
        """Take news of a link."""
        before = self._links.get(link.index)
        if before is not None and self._by_name.get(before.name) == link.index:
            del self._by_name[before.name]
        if gone:
            self._links.pop(link.index, None)
            self._addresses.pop(link.index, None)
        else:
            self._links[link.index] = link
            self._by_name[link.name] = link.index
        for name in {link.name, before.name if before else link.name} & self._trackers.keys():
            self._follow(name, now)

    def on_address(self, present: PresentAddress, *, gone: bool) -> None:
        """Take news of an address."""
        there = self._addresses.setdefault(present.index, {})
        name = (present.address, present.prefix)
        if gone:
            there.pop(name, None)
        else:
            there[name] = present

    def _follow(self, name: str, now: float) -> None:
        self._trackers[name].on_link(now, up=self._running(name))

    def _running(self, name: str) -> bool:
        link = self.link(name)
        return link is not None and link.running

    def deadline(self) -> float:
        """Return when ``on_timer`` is due: a link that flapped counts as up again."""
        return min((tracker.deadline() for tracker in self._trackers.values()), default=inf)

    def on_timer(self, now: float) -> None:
        """Let links count that were up for long enough."""
        for tracker in self._trackers.values():
            tracker.on_timer(now)

    def link(self, name: str) -> Link | None:
        """Return what is known of the interface *name*."""
        return self._links.get(self._by_name.get(name, 0))

    def name(self, index: int) -> str:
        """Return the name of an interface, or nothing where it is not known."""
        link = self._links.get(index)
        return link.name if link else ""

    def view(self, name: str) -> LinkView:
        """Return how a tracked interface is."""
        tracker = self._trackers.get(name)
        if tracker is None or self.link(name) is None:
            return MISSING
        return LinkView(present=True, well=bool(tracker.status.well), flaps=tracker.flaps)

    def status(self, name: str) -> Status:
        """Return a tracked interface as a tracked thing."""
        tracker = self._trackers.get(name)
        return tracker.status if tracker is not None and self.link(name) else FAILED

    def has(self, address: Address, device: str = "") -> bool:
        """Tell whether *address* stands on *device*, or on any interface, and may be used."""
        return any(
            present.address == address and present.usable
            for index, there in self._addresses.items()
            if not device or self.name(index) == device
            for present in there.values()
        )

    def stands(self, address: Address, prefix: int, device: str) -> bool:
        """Tell whether the kernel has exactly this address."""
        index = self._by_name.get(device, 0)
        return (address, prefix) in self._addresses.get(index, {})

    def forget(self, address: Address, prefix: int, device: str) -> None:
        """Take an address for gone, of which the kernel's news is still to come."""
        self._addresses.get(self._by_name.get(device, 0), {}).pop((address, prefix), None)

    def source(self, device: str, family: int, others: AbstractSet[Address]) -> Address:
        """Return the address of *device* that adverts come from; none where it has none.

        The first one that is not among *others*, the virtual addresses: of IPv4 a primary one, of
        IPv6 a link-local one (RFC 5798 5.1.2.1).
        """
        size = 16 if family == 6 else 4
        for present in self._addresses.get(self._by_name.get(device, 0), {}).values():
            address = present.address
            if len(address) != size or address in others or not present.usable:
                continue
            if size == 16 and address[:2] != LINK_LOCAL:
                continue
            if not present.flags & IFA_F_SECONDARY:
                return address
        return NO_ADDRESS
