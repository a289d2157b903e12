"""Changes of addresses, routes, rules and links: what can be asked of the kernel, and its bytes."""

import errno
import math
import sys
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never, final

from lvskeeper.ipvs.wire import NLM_F_ACK, NLM_F_REQUEST, attribute, message
from lvskeeper.kernel import rtnetlink_codec as codec
from lvskeeper.kernel.rtnetlink_codec import AF_INET, AF_INET6, FOREVER, NUMBER
from lvskeeper.units import Address
from lvskeeper.vrrp.holdings import PROTOCOL, TO_TABLE, UNICAST, HeldAddress, Route, Rule

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33

NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

_MACVLAN_MODE: Final = 1
_MACVLAN_PRIVATE: Final = NUMBER.pack(1)
_IPVLAN_MODE: Final = 1
_IPVLAN_L2: Final = b"\0\0"
_IPVLAN_FLAGS: Final = 2
IPVLAN_MODES: Final = {"bridge": 0, "private": 1, "vepa": 2}

_LINK: Final = 253
_HOST: Final = 254
_NOWHERE: Final = 255
"""``RT_SCOPE_*``."""
_SCOPES: Final = {UNICAST: _LINK, 2: _HOST, 3: _LINK, 4: _LINK, 5: _LINK}
"""Scope of an IPv4 route without gateway by its kind, as ``ip route`` chooses it."""
_SMALL_TABLES: Final = 256


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

    def __str__(self) -> str:
        return f"set interface {self.name} {'up' if self.up else 'down'}"


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
)


def device_of(change: Change) -> str:
    """Return the name of the interface whose index :func:`encode` needs, or nothing."""
    match change:
        case AddAddress(held=held) | DeleteAddress(held=held):
            return held.device
        case AddRoute(route=route) | DeleteRoute(route=route):
            return route.device
        case AddMacvlan() | AddIpvlan():
            return change.lower
        case AddRule() | DeleteRule() | DeleteLink() | SetLink():
            return ""  # the kernel goes by the name
    assert_never(change)


def encode(change: Change, index: int, sequence: int, *, acknowledge: bool) -> bytes:
    """Return the request for *change*; *index* is that of :func:`device_of`, or 0."""
    match change:
        case AddAddress():
            kind, flags = RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE
            payload = _address(change.held, index, change.lifetime)
        case DeleteAddress():
            kind, flags, payload = RTM_DELADDR, 0, _address_name(change.held, index)
        case AddRoute():
            # Without EXCL or REPLACE a foreign route to the same place is let be
            kind, flags, payload = RTM_NEWROUTE, NLM_F_CREATE, _route(change.route, index)
        case DeleteRoute():
            kind, flags, payload = RTM_DELROUTE, 0, _route(change.route, index, deleted=True)
        case AddRule():
            kind, flags, payload = RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, _rule(change.rule)
        case DeleteRule():
            kind, flags, payload = RTM_DELRULE, 0, _rule(change.rule)
        case AddMacvlan() | AddIpvlan():
            kind, flags, payload = RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _link(change, index)
        case DeleteLink():
            kind, flags = RTM_DELLINK, 0
            payload = codec.IFINFO.pack(0, 0, 0, 0, 0) + _name(codec.IFLA_IFNAME, change.name)
        case SetLink():
            kind, flags = RTM_NEWLINK, 0
            state = codec.IFF_UP if change.up else 0
            payload = codec.IFINFO.pack(0, 0, 0, state, codec.IFF_UP)
            payload += _name(codec.IFLA_IFNAME, change.name)
        case _:
            assert_never(change)
    return message(
        kind, NLM_F_REQUEST | flags | (NLM_F_ACK if acknowledge else 0), sequence, payload
    )


def _family(address: Address) -> int:
    return AF_INET6 if len(address) == 16 else AF_INET


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, NUMBER.pack(value))


def _name(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _address_name(held: HeldAddress, index: int) -> bytes:
    """Return what the kernel finds an address by."""
    own = held.address
    return (
        codec.IFADDR.pack(_family(own), held.prefix, 0, held.scope, index)
        + attribute(codec.IFA_LOCAL, own)
        + attribute(codec.IFA_ADDRESS, held.peer or own)
    )


def _address(held: HeldAddress, index: int, lifetime: float | None) -> bytes:
    own = held.address
    flags = held.flags
    if len(own) == 16:
        flags |= codec.IFA_F_NODAD
    if held.prefix == len(own) * 8 and not held.peer:
        flags |= codec.IFA_F_NOPREFIXROUTE
    valid = FOREVER if lifetime is None else min(max(math.ceil(lifetime), 1), FOREVER - 1)
    preferred = valid if held.preferred is None else min(held.preferred, valid)
    parts = [
        _address_name(held, index),
        _number(codec.IFA_FLAGS, flags),
        attribute(codec.IFA_CACHEINFO, codec.CACHEINFO.pack(preferred, valid, 0, 0)),
    ]
    if held.broadcast:
        parts.append(attribute(codec.IFA_BROADCAST, held.broadcast))
    if held.label:
        parts.append(_name(codec.IFA_LABEL, held.label))
    return b"".join(parts)


def _scope(route: Route, *, deleted: bool) -> int:
    if route.scope is not None:
        return route.scope
    if len(route.destination) == 16:
        return 0
    if deleted and route.kind == UNICAST:
        return _NOWHERE  # any
    return 0 if route.gateway else _SCOPES.get(route.kind, 0)


def _route(route: Route, index: int, *, deleted: bool = False) -> bytes:
    parts = [
        codec.RTMSG.pack(
            _family(route.destination),
            route.prefix,
            0,
            route.tos,
            route.table if route.table < _SMALL_TABLES else 0,
            route.protocol,
            _scope(route, deleted=deleted),
            route.kind,
            codec.RTNH_F_ONLINK if route.onlink else 0,
        ),
        attribute(codec.RTA_DST, route.destination),
        _number(codec.RTA_TABLE, route.table),
    ]
    if route.gateway:
        parts.append(attribute(codec.RTA_GATEWAY, route.gateway))
    if index:
        parts.append(_number(codec.RTA_OIF, index))
    if route.source:
        parts.append(attribute(codec.RTA_PREFSRC, route.source))
    if route.metric:
        parts.append(_number(codec.RTA_PRIORITY, route.metric))
    if not deleted and (route.mtu or route.advmss):
        metrics = _number(codec.RTAX_MTU, route.mtu) if route.mtu else b""
        metrics += _number(codec.RTAX_ADVMSS, route.advmss) if route.advmss else b""
        parts.append(attribute(codec.RTA_METRICS, metrics))
    return b"".join(parts)


def _rule(rule: Rule) -> bytes:
    table = rule.table if rule.action == TO_TABLE else 0
    parts = [
        codec.RULE.pack(
            AF_INET6 if rule.family == 6 else AF_INET,
            rule.destination_prefix,
            rule.source_prefix,
            rule.tos,
            table if table < _SMALL_TABLES else 0,
            rule.action,
            0,
        ),
        _number(codec.FRA_PRIORITY, rule.priority),
        attribute(codec.FRA_PROTOCOL, bytes([PROTOCOL])),
    ]
    if table:
        parts.append(_number(codec.FRA_TABLE, table))
    if rule.source_prefix:
        parts.append(attribute(codec.FRA_SRC, rule.source))
    if rule.destination_prefix:
        parts.append(attribute(codec.FRA_DST, rule.destination))
    if rule.iif:
        parts.append(_name(codec.FRA_IIFNAME, rule.iif))
    if rule.oif:
        parts.append(_name(codec.FRA_OIFNAME, rule.oif))
    if rule.fwmark is not None:
        parts.append(_number(codec.FRA_FWMARK, rule.fwmark))
        parts.append(_number(codec.FRA_FWMASK, rule.fwmask))
    return b"".join(parts)


def _link(change: AddMacvlan | AddIpvlan, index: int) -> bytes:
    payload = codec.IFINFO.pack(0, 0, 0, 0, 0)
    payload += _name(codec.IFLA_IFNAME, change.name) + _number(codec.IFLA_LINK, index)
    if isinstance(change, AddMacvlan):
        payload += attribute(codec.IFLA_ADDRESS, change.mac)
        kind, data = "macvlan", attribute(_MACVLAN_MODE, _MACVLAN_PRIVATE)
    else:
        kind, data = "ipvlan", attribute(_IPVLAN_MODE, _IPVLAN_L2)
        mode = IPVLAN_MODES[change.mode].to_bytes(2, sys.byteorder)
        data += attribute(_IPVLAN_FLAGS, mode)
    info = attribute(codec.IFLA_INFO_KIND, kind.encode()) + attribute(codec.IFLA_INFO_DATA, data)
    return payload + attribute(codec.IFLA_LINKINFO, info)


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
        case DeleteLink():
            return number == errno.ENODEV
        case AddMacvlan() | AddIpvlan() | SetLink():
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
