"""Changes of addresses, routes, rules and links: what can be asked of the kernel."""

import errno
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never, final

from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule

IPVLAN_MODES: Final = {"bridge": 0, "private": 1, "vepa": 2}
"""``IPVLAN_F_*`` by name."""


@final
@dataclass(frozen=True, slots=True)
class AddAddress:
    """Put an address there, or give it its lifetimes anew where it is there already."""

    held: HeldAddress
    lifetime: float | None = None
    """Seconds, rounded up, after which the kernel takes it away; none is for ever."""

    def __str__(self) -> str:
        return f"add address {self.held}"


@final
@dataclass(frozen=True, slots=True)
class DeleteAddress:
    """Take an address away.

    Where it is the first of its network, the kernel takes the others of that network with it unless
    ``promote_secondaries`` is set. The newest IPv6 addresses are found soonest.
    """

    held: HeldAddress

    def __str__(self) -> str:
        return f"delete address {self.held}"


@final
@dataclass(frozen=True, slots=True)
class AddRoute:
    """Put a route there. IPv4: before others with its destination, metric and TOS."""

    route: Route

    def __str__(self) -> str:
        return f"add route {self.route}"


@final
@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Take a route away."""

    route: Route

    def __str__(self) -> str:
        return f"delete route {self.route}"


@final
@dataclass(frozen=True, slots=True)
class AddRule:
    """Put a rule there, unless it is."""

    rule: Rule

    def __str__(self) -> str:
        return f"add rule {self.rule}"


@final
@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Take a rule away."""

    rule: Rule

    def __str__(self) -> str:
        return f"delete rule {self.rule}"


@final
@dataclass(frozen=True, slots=True)
class AddMacvlan:
    """Make a macvlan in private mode; a device with its name is in its way, whatever it is."""

    name: str
    lower: str
    mac: bytes

    def __str__(self) -> str:
        return f"make macvlan {self.name} on {self.lower}"


@final
@dataclass(frozen=True, slots=True)
class AddIpvlan:
    """Make an ipvlan in L2 mode; a device with its name is in its way, whatever it is."""

    name: str
    lower: str
    mode: str = "private"
    """A key of :data:`IPVLAN_MODES`."""

    def __str__(self) -> str:
        return f"make ipvlan {self.name} on {self.lower}"


@final
@dataclass(frozen=True, slots=True)
class DeleteLink:
    """Take a virtual device away, and with it all that stands on it."""

    name: str

    def __str__(self) -> str:
        return f"delete interface {self.name}"


@final
@dataclass(frozen=True, slots=True)
class SetLink:
    """Switch an interface on or off."""

    name: str
    up: bool
    mtu: int = 0
    """What it is to be in bytes; 0: as it is."""

    def __str__(self) -> str:
        return f"set interface {self.name} {'up' if self.up else 'down'}"


@final
@dataclass(frozen=True, slots=True)
class SetGroup:
    """Put an interface into a group of interfaces, which is a mere number."""

    name: str
    group: int

    def __str__(self) -> str:
        return f"move interface {self.name} to group {self.group}"


@final
@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Take all interfaces of a group away at once: none where one of them is no virtual device."""

    group: int

    def __str__(self) -> str:
        return f"delete the interfaces of group {self.group}"


Change: TypeAlias = (
    AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | AddMacvlan
    | AddIpvlan
    | DeleteLink
    | SetLink
    | SetGroup
    | DeleteGroup
)


def device_of(change: Change) -> str:
    """Return the name of the interface whose index the request needs, or nothing."""
    match change:
        case AddAddress(held=held) | DeleteAddress(held=held):
            return held.device
        case AddRoute(route=route) | DeleteRoute(route=route):
            return route.device
        case AddMacvlan() | AddIpvlan():
            return change.lower
        case AddRule() | DeleteRule() | DeleteLink() | SetLink() | SetGroup() | DeleteGroup():
            return ""  # the kernel goes by the name, if by any
    assert_never(change)


def is_settled(change: Change, number: int) -> bool:
    """Tell whether an error says that there is nothing to do: it is there, or gone, already."""
    match change:
        case AddAddress() | AddRoute() | AddRule():
            return number == errno.EEXIST
        case DeleteAddress():
            return number in {errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}
        case DeleteRoute():
            return number in {errno.ESRCH, errno.ENODEV, errno.ENXIO}
        case DeleteRule():
            return number == errno.ENOENT
        case DeleteLink() | DeleteGroup():
            return number == errno.ENODEV
        case AddMacvlan() | AddIpvlan() | SetLink() | SetGroup():
            return False
    assert_never(change)


_UNREACHABLE: Final = "the gateway has to be in a network of the interface, or the route onlink"
_IN_THE_WAY: Final = "another device on the same interface is in its way"
_HINTS: Final = {
    errno.EPERM: "run as root, or with CAP_NET_ADMIN",
    errno.ENODEV: "make the interface first, or correct its name",
    errno.EEXIST: "another interface has that name",
}
_ROUTE_HINTS: Final = {
    errno.ENETUNREACH: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.ENETDOWN: "its interface is down",
    errno.EINVAL: "see whether gateway, source address and scope fit the interface",
}
_LINK_HINTS: Final = {
    errno.EOPNOTSUPP: "this kernel has no such devices (CONFIG_MACVLAN, CONFIG_IPVLAN)",
    errno.EADDRINUSE: _IN_THE_WAY,
    errno.EBUSY: _IN_THE_WAY,
}


def hint_for(change: Change, number: int) -> str:
    """Return what to do about an error number that the kernel gave for *change*, or nothing."""
    special: dict[int, str] = {}
    match change:
        case AddAddress():
            off = "IPv6 is switched off on it: see net.ipv6.conf.*.disable_ipv6"
            special = {errno.EACCES: off}
        case AddRoute():
            special = _ROUTE_HINTS
        case AddMacvlan() | AddIpvlan() | SetLink():
            special = _LINK_HINTS
        case _:
            pass
    return special.get(number) or _HINTS.get(number, "")
