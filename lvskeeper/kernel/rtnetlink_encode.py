"""The requests of rtnetlink for :mod:`changes <.rtnetlink_changes>`, as bytes."""

import math
import sys
from typing import Final, assert_never

from lvskeeper.ipvs.wire import NLM_F_ACK, NLM_F_REQUEST, attribute, message
from lvskeeper.kernel import rtnetlink_codec as codec
from lvskeeper.kernel.rtnetlink_changes import (
    IPVLAN_MODES,
    AddAddress,
    AddIpvlan,
    AddMacvlan,
    AddRoute,
    AddRule,
    Change,
    DeleteAddress,
    DeleteGroup,
    DeleteLink,
    DeleteRoute,
    DeleteRule,
    SetGroup,
    SetLink,
)
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

_IFLA_GROUP: Final = 27
_MACVLAN_MODE: Final = 1
_MACVLAN_PRIVATE: Final = NUMBER.pack(1)
_IPVLAN_MODE: Final = 1
_IPVLAN_L2: Final = b"\0\0"
_IPVLAN_FLAGS: Final = 2

_LINK: Final = 253
_HOST: Final = 254
_NOWHERE: Final = 255
"""``RT_SCOPE_*``."""
_SCOPES: Final = {UNICAST: _LINK, 2: _HOST, 3: _LINK, 4: _LINK, 5: _LINK}
"""Scope of an IPv4 route without gateway by its kind, as ``ip route`` chooses it."""
_SMALL_TABLES: Final = 256


def encode(change: Change, index: int, sequence: int, *, acknowledge: bool) -> bytes:
    """Return the request for *change*; *index* is that of its ``device_of``, or 0."""
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
        case DeleteLink() | SetLink() | SetGroup() | DeleteGroup():
            (kind, payload), flags = _of_link(change), 0
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


def _of_link(change: DeleteLink | SetLink | SetGroup | DeleteGroup) -> tuple[int, bytes]:
    nothing = codec.IFINFO.pack(0, 0, 0, 0, 0)
    match change:
        case DeleteLink():
            return RTM_DELLINK, nothing + _name(codec.IFLA_IFNAME, change.name)
        case DeleteGroup():
            return RTM_DELLINK, nothing + _number(_IFLA_GROUP, change.group)
        case SetGroup():
            name = _name(codec.IFLA_IFNAME, change.name)
            return RTM_NEWLINK, nothing + name + _number(_IFLA_GROUP, change.group)
        case SetLink():
            state = codec.IFF_UP if change.up else 0
            header = codec.IFINFO.pack(0, 0, 0, state, codec.IFF_UP)
            mtu = _number(codec.IFLA_MTU, change.mtu) if change.mtu else b""
            return RTM_NEWLINK, header + _name(codec.IFLA_IFNAME, change.name) + mtu
    assert_never(change)
