"""What rtnetlink tells of links, addresses, routes and rules, as values.

Numbers are those of ``linux/rtnetlink.h``, ``linux/if_link.h``, ``linux/if_addr.h`` and
``linux/fib_rules.h``. Bytes come in host order, addresses packed.
"""

from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, final

from lvskeeper.ipvs.wire import HEADER_SIZE, CodecError, walk
from lvskeeper.units import NO_ADDRESS, Address, format_address
from lvskeeper.vrrp.holdings import TO_TABLE, UNICAST, Route, Rule

AF_INET: Final = 2
AF_INET6: Final = 10
_VERSION: Final = {AF_INET: 4, AF_INET6: 6}
_SIZE: Final = {AF_INET: 4, AF_INET6: 16}

IFF_UP: Final = 0x1
IFF_RUNNING: Final = 0x40
IFINFO: Final = Struct("=BxHiII")
"""``struct ifinfomsg``: family, type, index, flags, changed flags."""
IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
IFLA_LINKINFO: Final = 18
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2

IFADDR: Final = Struct("=BBBBI")
"""``struct ifaddrmsg``: family, prefix, flags, scope, index."""
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_LABEL: Final = 3
IFA_BROADCAST: Final = 4
IFA_CACHEINFO: Final = 6
IFA_FLAGS: Final = 8
CACHEINFO: Final = Struct("=IIII")
"""``struct ifa_cacheinfo``: seconds preferred, seconds valid, two times that only it says."""
FOREVER: Final = 0xFFFFFFFF
IFA_F_NODAD: Final = 0x02
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
IFA_F_NOPREFIXROUTE: Final = 0x200

RTMSG: Final = Struct("=BBBBBBBBI")
"""``struct rtmsg``: family, prefix, source prefix, TOS, table, protocol, scope, kind, flags."""
RTA_DST: Final = 1
RTA_OIF: Final = 4
RTA_GATEWAY: Final = 5
RTA_PRIORITY: Final = 6
RTA_PREFSRC: Final = 7
RTA_METRICS: Final = 8
RTA_TABLE: Final = 15
RTAX_MTU: Final = 2
RTAX_ADVMSS: Final = 8
RTNH_F_ONLINK: Final = 4
RTM_F_CLONED: Final = 0x200
"""A cached path, no route."""
METRIC6: Final = 1024
"""What the kernel gives to an IPv6 route without a metric."""

RULE: Final = Struct("=BBBBBxxBI")
"""``struct fib_rule_hdr``: family, prefix to, prefix from, TOS, table, action, flags."""
FRA_DST: Final = 1
FRA_SRC: Final = 2
FRA_IIFNAME: Final = 3
FRA_PRIORITY: Final = 6
FRA_FWMARK: Final = 10
FRA_SUPPRESS_PREFIXLEN: Final = 14
FRA_TABLE: Final = 15
FRA_FWMASK: Final = 16
FRA_OIFNAME: Final = 17
FRA_PAD: Final = 18
FRA_PROTOCOL: Final = 21
FIB_RULE_INVERT: Final = 2
_SAID_BY_RULE: Final = frozenset(
    {FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE}
    | {FRA_FWMASK, FRA_OIFNAME, FRA_PAD, FRA_PROTOCOL}
)

NUMBER: Final = Struct("=I")


@final
@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    up: bool = False
    """Switched on (``IFF_UP``)."""
    running: bool = False
    """On, with its carrier (``IFF_UP`` and ``IFF_RUNNING``): what counts for VRRP."""
    mac: bytes = b""
    kind: str = ""
    """``veth``, ``macvlan``, …; nothing for hardware."""
    lower: int = 0
    """Index of the interface below it."""
    mtu: int = 0


@final
@dataclass(frozen=True, slots=True)
class PresentAddress:
    """An address that stands on an interface."""

    index: int
    address: Address
    prefix: int
    scope: int = 0
    flags: int = 0
    """``IFA_F_*``."""
    label: str = ""
    peer: Address = NO_ADDRESS
    broadcast: Address = NO_ADDRESS
    valid: int | None = None
    """Seconds that it has left in the kernel; none is for ever."""
    preferred: int | None = None

    @property
    def usable(self) -> bool:
        """Whether duplicate address detection is over, and found none."""
        return not self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.prefix} on interface {self.index}"


@final
@dataclass(frozen=True, slots=True)
class PresentRoute:
    """A route of the kernel; of one with several next hops neither gateway nor interface is known.

    The kernel says nothing when it takes IPv4 routes away with their interface or their source
    address: who guards routes reads them anew after news of these.
    """

    destination: Address
    prefix: int
    kind: int = UNICAST
    gateway: Address = NO_ADDRESS
    index: int = 0
    source: Address = NO_ADDRESS
    table: int = 0
    metric: int = 0
    scope: int = 0
    protocol: int = 0
    tos: int = 0
    onlink: bool = False
    mtu: int = 0
    advmss: int = 0

    def takes_place_of(self, route: Route) -> bool:
        """Tell whether it has the destination, table, metric and TOS of *route*."""
        metrics = {route.metric or METRIC6} if len(route.destination) == 16 else {route.metric}
        return (
            self.destination == route.destination
            and self.prefix == route.prefix
            and self.table == route.table
            and self.metric in metrics
            and self.tos == route.tos
        )

    def is_like(self, route: Route, index: int) -> bool:
        """Tell whether it is *route*, whose device has *index* (0 for a route without one)."""
        return (
            self.takes_place_of(route)
            and self.kind == route.kind
            and self.protocol == route.protocol
            and self.gateway == route.gateway
            and (not index or self.index == index)
            and (not route.source or self.source == route.source)
        )


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the attributes in a range by type; raise :class:`CodecError` where they are none."""
    return {kind: data[first:last] for kind, first, last in walk(data, start, end)}


def decode_link(data: bytes, start: int, end: int) -> Link | None:
    """Return the link in the message at *start*; none where a bridge tells of one of its ports."""
    family, _, index, flags, _ = _header(IFINFO, data, start, end)
    if family:
        return None
    found = attributes(data, start + HEADER_SIZE + IFINFO.size, end)
    info = found.get(IFLA_LINKINFO, b"")
    kind = attributes(info, 0, len(info)).get(IFLA_INFO_KIND, b"")
    up = bool(flags & IFF_UP)
    return Link(
        index,
        _text(found.get(IFLA_IFNAME, b"")),
        up,
        up and bool(flags & IFF_RUNNING),
        found.get(IFLA_ADDRESS, b""),
        _text(kind),
        _number(found, IFLA_LINK),
        _number(found, IFLA_MTU),
    )


def decode_address(data: bytes, start: int, end: int) -> PresentAddress | None:
    """Return the address in the message at *start*; none where it is neither IPv4 nor IPv6."""
    family, prefix, flags, scope, index = _header(IFADDR, data, start, end)
    if family not in _VERSION:
        return None
    found = attributes(data, start + HEADER_SIZE + IFADDR.size, end)
    # IFA_LOCAL is the own address where IFA_ADDRESS is that of a peer; IPv6 has the latter alone
    there = found.get(IFA_ADDRESS, b"")
    own = found.get(IFA_LOCAL, there)
    preferred, valid = FOREVER, FOREVER
    if len(times := found.get(IFA_CACHEINFO, b"")) >= CACHEINFO.size:
        preferred, valid, _, _ = CACHEINFO.unpack_from(times)
    flags = _number(found, IFA_FLAGS, flags)
    if flags & IFA_F_DEPRECATED:
        preferred = 0  # of an IPv4 address that is valid for ever the kernel says otherwise
    return PresentAddress(
        index,
        _address(own, family),
        prefix,
        scope,
        flags,
        _text(found.get(IFA_LABEL, b"")),
        _address(there, family) if there != own else NO_ADDRESS,
        _address(found.get(IFA_BROADCAST, b""), family),
        None if valid == FOREVER else valid,
        None if preferred == FOREVER else preferred,
    )


def decode_route(data: bytes, start: int, end: int) -> PresentRoute | None:
    """Return the route in the message at *start*; none for cached paths and other families."""
    family, prefix, _, tos, table, protocol, scope, kind, flags = _header(RTMSG, data, start, end)
    if family not in _VERSION or flags & RTM_F_CLONED:
        return None
    found = attributes(data, start + HEADER_SIZE + RTMSG.size, end)
    metrics = attributes(inner := found.get(RTA_METRICS, b""), 0, len(inner))
    return PresentRoute(
        _address(found.get(RTA_DST, bytes(_SIZE[family])), family),
        prefix,
        kind,
        _address(found.get(RTA_GATEWAY, b""), family),
        _number(found, RTA_OIF),
        _address(found.get(RTA_PREFSRC, b""), family),
        _number(found, RTA_TABLE, table),
        _number(found, RTA_PRIORITY),
        scope,
        protocol,
        tos,
        bool(flags & RTNH_F_ONLINK),
        _number(metrics, RTAX_MTU),
        _number(metrics, RTAX_ADVMSS),
    )


def protocol_of_route(data: bytes, start: int, end: int) -> int:
    """Return the ``RTPROT_*`` of the route message at *start*, without decoding the rest."""
    protocol: int = _header(RTMSG, data, start, end)[5]
    return protocol


def route_interface(data: bytes, start: int, end: int) -> int:
    """Return the interface of the route message at *start*, of a cached path too; 0 for none."""
    _header(RTMSG, data, start, end)
    return _number(attributes(data, start + HEADER_SIZE + RTMSG.size, end), RTA_OIF)


def decode_rule(data: bytes, start: int, end: int) -> Rule | None:
    """Return the rule in the message at *start*.

    None where it says more than a :class:`Rule` can (ports, inversion, …): it is not one of ours.
    """
    family, to, source, tos, table, action, flags = _header(RULE, data, start, end)
    found = attributes(data, start + HEADER_SIZE + RULE.size, end)
    if family not in _VERSION or flags & FIB_RULE_INVERT or not found.keys() <= _SAID_BY_RULE:
        return None
    if _number(found, FRA_SUPPRESS_PREFIXLEN, FOREVER) != FOREVER:
        return None
    marked = FRA_FWMARK in found or FRA_FWMASK in found
    return comparable(
        Rule(
            _VERSION[family],
            _number(found, FRA_PRIORITY),
            _address(found.get(FRA_SRC, b""), family),
            source,
            _address(found.get(FRA_DST, b""), family),
            to,
            _text(found.get(FRA_IIFNAME, b"")),
            _text(found.get(FRA_OIFNAME, b"")),
            _number(found, FRA_FWMARK) if marked else None,
            _number(found, FRA_FWMASK, FOREVER),
            tos,
            action,
            _number(found, FRA_TABLE, table),
        )
    )


def comparable(rule: Rule) -> Rule:
    """Return *rule* as the kernel would tell of it: two rules are one where these are equal."""
    return replace(
        rule,
        source=rule.source if rule.source_prefix else NO_ADDRESS,
        destination=rule.destination if rule.destination_prefix else NO_ADDRESS,
        fwmask=FOREVER if rule.fwmark is None else rule.fwmask,
        table=rule.table if rule.action == TO_TABLE else 0,
        watched=True,
    )


def _header(shape: Struct, data: bytes, start: int, end: int) -> tuple[int, ...]:
    if end - start < HEADER_SIZE + shape.size:
        raise CodecError(f"an rtnetlink message of {end - start} bytes")
    return shape.unpack_from(data, start + HEADER_SIZE)


def _number(found: dict[int, bytes], kind: int, default: int = 0) -> int:
    if len(value := found.get(kind, b"")) != NUMBER.size:
        return default
    number: int = NUMBER.unpack(value)[0]
    return number


def _address(value: bytes, family: int) -> Address:
    return Address(value) if len(value) == _SIZE[family] else NO_ADDRESS


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
