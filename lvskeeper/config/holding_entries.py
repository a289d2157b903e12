"""Readers of what a master holds: the entries of addresses, routes and rules.

Word 0 is the first word of the entry. What keepalived knows and we do not serve is refused by
name; what the kernel would refuse is refused here, where there is a line to point at.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from lvskeeper.config import entry_words as w
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.numbers import to_address, to_int
from lvskeeper.config.values import one_of
from lvskeeper.units import Address, format_address

MAX_LABEL: Final = 15
"""``IFNAMSIZ`` less the final zero."""
_REJECTS: Final = ("blackhole", "unreachable", "prohibit", "throw")
_TYPES: Final = ("unicast", "local", "broadcast", "multicast", *_REJECTS)
_RULE_TYPES: Final = ("blackhole", "unreachable", "prohibit")
_COMPUTED: Final = ("+", "-")
_LINK_LOCAL: Final = 0xFE80 >> 6
"""First ten bits of ``fe80::/10``."""
_RULE_TOS: Final = 0x1C
"""Bits that a rule of IPv4 can look at (``IPTOS_TOS_MASK`` less ECN)."""
# A word a line would be a page of words.
# fmt: off
_ROUTE_UNSERVED: Final = (
    "anycast", "append", "as", "congctl", "cwnd", "encap", "expires", "fastopen_no_cookie",
    "features", "from", "hoplimit", "initcwnd", "initrwnd", "lock", "nat", "nexthop", "or",
    "pref", "prepend", "quickack", "realms", "reordering", "rto_min", "rtt", "rttvar", "ssthresh",
    "ttl-propagate", "vrf", "weight", "window",
)
_RULE_UNSERVED: Final = (
    "dport", "goto", "ip_proto", "ipproto", "l3mdev", "nop", "not", "protocol", "realms", "sport",
    "sup_group", "sup_pl", "suppress_ifgroup", "suppress_prefixlength", "tunnel-id", "uidrange",
)
# fmt: on
_NO_TRACK: Final = {"no_track": ("no_track", True)}
_GROUP: Final = {"track_group": ("track_group", w.group_name)}


def _label(word: str, index: int) -> str:
    hint = "a label is DEVICE:NAME, such as eth0:1"
    if not (word.isascii() and word.isprintable()) or " " in word:
        raise BadValueError(index, f"'{word}' is not a label", hint)
    if len(word) > MAX_LABEL:
        message = f"the label '{word}' has more than {MAX_LABEL} characters"
        raise BadValueError(index, message, hint)
    return word


def _lifetime(word: str, index: int) -> int | str:
    if word == "forever":
        return word
    return to_int(word, index, 0, w.MAX_U32 - 1, "a time in whole seconds, or forever")


def _rule_type(word: str, index: int) -> str:
    if word in _RULE_TYPES:
        return word
    if word in {"goto", "nop"}:
        message = f"'{word}' is a type of rule that is not served yet"
        raise BadValueError(index, message, f"one of {one_of(_RULE_TYPES)}")
    raise BadValueError(index, f"'{word}' is no type of rule", f"one of {one_of(_RULE_TYPES)}")


_ADDRESS: Final = w.Grammar(
    what="an address",
    options={
        "dev": ("dev", w.device),
        "scope": ("scope", w.scope),
        "brd": ("brd", w.text),
        "broadcast": ("brd", w.text),
        "label": ("label", _label),
        "peer": ("peer", w.text),
        "preferred_lft": ("preferred_lft", _lifetime),
        **_GROUP,
    },
    flags={
        "home": ("home", True),
        "mngtmpaddr": ("mngtmpaddr", True),
        "noprefixroute": ("noprefixroute", True),
        "autojoin": ("autojoin", True),
        "use_vmac": ("use_vmac", True),
        **_NO_TRACK,
    },
    unserved={"-nodad"},
    hints={
        "-nodad": "leave it out: a virtual address is used at once, without a look for duplicates",
        "nodad": "leave it out: no virtual address waits for duplicate address detection",
        "via": "a virtual address has no gateway; routes stand in virtual_routes",
    },
)


_ROUTE: Final = w.Grammar(
    what="a route",
    options={
        "to": ("destination", w.destination),
        "via": ("via", w.address),
        "gw": ("via", w.address),
        "dev": ("dev", w.device),
        "oif": ("dev", w.device),
        "src": ("src", w.address),
        "table": ("table", w.table),
        "metric": ("metric", w.number(0, w.MAX_U32)),
        "priority": ("metric", w.number(0, w.MAX_U32)),
        "preference": ("metric", w.number(0, w.MAX_U32)),
        "scope": ("scope", w.scope),
        "proto": ("protocol", w.protocol),
        "protocol": ("protocol", w.protocol),
        "tos": ("tos", w.tos),
        "dsfield": ("tos", w.tos),
        "mtu": ("mtu", w.size),
        "advmss": ("advmss", w.size),
        **_GROUP,
    },
    flags={
        **{name: ("type", name) for name in _TYPES},
        "onlink": ("onlink", True),
        **_NO_TRACK,
    },
    unserved=_ROUTE_UNSERVED,
    hints={
        "or": "one gateway a route is served so far: write via ADDRESS only",
        "nexthop": "one next hop a route is served so far: write via ADDRESS dev DEVICE",
        "pref": "a metric is written metric N",
        "vrf": "write the table of the VRF: table N",
    },
    bare="to",
)

_RULE: Final = w.Grammar(
    what="a rule",
    options={
        "from": ("source", w.destination),
        "to": ("destination", w.destination),
        "iif": ("iif", w.device),
        "dev": ("iif", w.device),
        "oif": ("oif", w.device),
        "fwmark": ("fwmark", w.mark),
        "tos": ("tos", w.tos),
        "dsfield": ("tos", w.tos),
        "table": ("table", w.table),
        "lookup": ("table", w.table),
        **{
            name: ("priority", w.number(0, w.MAX_U32))
            for name in ("priority", "preference", "order", "pref")
        },
        "type": ("type", _rule_type),
        **_GROUP,
    },
    flags={
        **{name: ("type", name) for name in _RULE_TYPES},
        **{name: ("inet", family) for name, family in w.FAMILIES.items()},
        **_NO_TRACK,
    },
    unserved=_RULE_UNSERVED,
    hints={"via": "a rule has no gateway: it names the table of a route, table N"},
)


def address_entry(words: Sequence[str]) -> dict[str, object]:
    """Read ``ADDRESS[/LENGTH]`` with its options, as fields of an ``AddressEntry``."""
    address, length = w.prefix(words[0], 0)
    if not any(address) or _is_multicast(address):
        raise BadValueError(0, f"{format_address(address)} cannot be held", "a unicast address")
    values, places = w.walk(_ADDRESS, words, 1)
    values["address"] = address
    values["prefix"] = w.full(address, length)
    if "peer" in places:
        peer, far = w.prefix(words[places["peer"]], places["peer"])
        w.same_family(peer, w.family(address), places["peer"])
        if length not in {None, w.full(peer, far)}:
            hint = f"write {format_address(address)} peer {format_address(peer)}/{length}"
            raise BadValueError(0, "with a peer the prefix length is the peer's", hint)
        values["peer"], values["prefix"] = peer, w.full(peer, far)
    if values["prefix"] == 0:
        message = "the prefix length 0 would put all networks on the device"
        raise BadValueError(0, message, "an address has the prefix length of its network")
    if len(address) == 16:
        _check_ipv6(words, places)
    elif "brd" in places:
        if "peer" in places:
            message = "an address with a peer has no broadcast address"
            raise BadValueError(places["brd"], message, "leave brd out")
        values["brd"] = _broadcast(words, places["brd"], address, w.full(address, length))
    return values


def _is_multicast(address: Address) -> bool:
    return address[0] == 0xFF if len(address) == 16 else address[0] >> 4 == 0xE


def _check_ipv6(words: Sequence[str], places: Mapping[str, int]) -> None:
    if "brd" in places:
        raise BadValueError(places["brd"], "IPv6 has no broadcast addresses", "leave brd out")
    if "label" in places:
        raise BadValueError(places["label"], "an IPv6 address has no label", "leave label out")
    if "scope" in places and w.scope(words[places["scope"]], places["scope"]):
        message = "the scope of an IPv6 address is part of the address"
        raise BadValueError(places["scope"], message, "leave scope out")


def _broadcast(words: Sequence[str], index: int, address: Address, length: int) -> Address:
    if words[index] not in _COMPUTED:
        there = to_address(words[index], index)
        w.same_family(there, 4, index)
        return there
    if length > 30:
        hint = "leave brd out, or write the prefix length of the network"
        raise BadValueError(index, f"a /{length} has no broadcast address", hint)
    first = int.from_bytes(w.network(address, length))
    hosts = (1 << (32 - length)) - 1 if words[index] == "+" else 0
    return Address((first | hosts).to_bytes(4))


def route_entry(words: Sequence[str]) -> dict[str, object]:
    """Read ``[TYPE] [to] NETWORK`` with its options, as fields of a ``RouteEntry``."""
    values, places = w.walk(_ROUTE, words)
    if "destination" not in places:
        raise BadValueError(0, "the route has no destination", "a network such as 10.1.0.0/16")
    at = places["destination"]
    others = {
        key: to_address(words[places[key]], places[key]) for key in ("via", "src") if key in places
    }
    family = w.family_of(words[at], at) or next(map(w.family, others.values()), 4)
    address, length = w.network_of(words[at], at, family)
    for key, other in others.items():
        w.same_family(other, family, places[key])
    if "inet" in places and w.FAMILIES[words[places["inet"]]] != family:
        message = f"'{words[places['inet']]}' does not fit a route of IPv{family}"
        raise BadValueError(places["inet"], message, "leave the word out")
    network = w.network(address, length)
    if network != address and family == 4:
        hint = f"write {format_address(network)}/{length}, or {format_address(address)}/32"
        raise BadValueError(at, f"{words[at]} has bits set after its prefix", hint)
    values["destination"], values["prefix"] = network, length
    _check_hop(words, places, others.get("via"))
    if "tos" in places and family == 6:
        raise BadValueError(
            places["tos"], "a route of IPv6 has no type of service", "leave tos out"
        )
    return values


def _check_hop(words: Sequence[str], places: Mapping[str, int], via: Address | None) -> None:
    kind = words[places["type"]] if "type" in places else "unicast"
    if kind in _REJECTS:
        for key in ("via", "dev", "onlink"):
            if key in places:
                message = f"a {kind} route has neither gateway nor device"
                raise BadValueError(places[key], message, f"leave {key} out")
        return
    if "dev" in places:
        return
    if via is None:
        hint = "add via ADDRESS or dev DEVICE"
        raise BadValueError(0, "the route has neither gateway nor device", hint)
    if len(via) == 16 and int.from_bytes(via) >> 118 == _LINK_LOCAL:
        hint = "add dev DEVICE"
        raise BadValueError(places["via"], "a link-local gateway needs a device", hint)
    if "onlink" in places:
        raise BadValueError(places["onlink"], "onlink needs a device", "add dev DEVICE")


def rule_entry(words: Sequence[str]) -> dict[str, object]:
    """Read a rule of policy routing, as fields of a ``RuleEntry``.

    A rule without a priority is left without: keepalived counts them down from 16384, and so
    does :class:`lvskeeper.daemon.compile_holdings.Priorities`.
    """
    values, places = w.walk(_RULE, words)
    ends = [(key, places[key]) for key in ("source", "destination") if key in places]
    known = [w.family_of(words[at], at) for _, at in ends]
    said = w.FAMILIES[words[places["inet"]]] if "inet" in places else 0
    family = next(filter(None, known), said or 4)
    values.pop("inet", None)
    values["family"] = family
    if said and said != family:
        message = f"'{words[places['inet']]}' does not fit a rule of IPv{family}"
        raise BadValueError(places["inet"], message, "leave the word out")
    for key, at in ends:
        address, length = w.network_of(words[at], at, family)
        if length:
            values[key], values[f"{key}_prefix"] = address, length
        else:
            del values[key]
    if "fwmark" in places:
        values["fwmark"], values["fwmask"] = w.mark(words[places["fwmark"]], places["fwmark"])
    if "tos" in places:
        tos = w.tos(words[places["tos"]], places["tos"])
        if family == 4 and tos & ~_RULE_TOS:
            message = f"a rule of IPv4 cannot look at the upper bits of {words[places['tos']]}"
            raise BadValueError(places["tos"], message, "a multiple of 4 up to 28")
    _check_action(places)
    return values


def _check_action(places: Mapping[str, int]) -> None:
    if "table" in places and "type" in places:
        later = max(places["table"], places["type"])
        hint = "a rule names a table, or refuses with blackhole, unreachable or prohibit"
        raise BadValueError(later, "a rule has one action", hint)
    if "table" not in places and "type" not in places:
        raise BadValueError(0, "the rule does not say what it does", "add table N, or blackhole")
