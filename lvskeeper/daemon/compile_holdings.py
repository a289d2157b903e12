"""From entries of the configuration to what the router role holds, with keepalived's defaults."""

from typing import Final, final

from lvskeeper.config.holding_model import AddressEntry, RouteEntry, RuleEntry
from lvskeeper.vrrp.holdings import MAIN_TABLE, PROTOCOL, TO_TABLE, HeldAddress, Route, Rule

FIRST_PRIORITY: Final = 16_384
"""Priority of the first rule that names none; each further one of its family comes before it."""

IFA_F_HOMEADDRESS: Final = 0x10
IFA_F_MANAGETEMPADDR: Final = 0x100
IFA_F_NOPREFIXROUTE: Final = 0x200
IFA_F_MCAUTOJOIN: Final = 0x400
_KINDS: Final = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "multicast": 5,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
    "throw": 9,
}
"""``RTN_*``."""
_ACTIONS: Final = {"table": TO_TABLE, "blackhole": 6, "unreachable": 7, "prohibit": 8}
"""``FR_ACT_*``."""


@final
class Priorities:
    """Priorities of the rules that name none, in the order of the file, as keepalived counts."""

    def __init__(self) -> None:
        self._next = {4: FIRST_PRIORITY, 6: FIRST_PRIORITY}

    def take(self, family: int) -> int:
        """Return the priority of the next such rule of *family*."""
        priority = self._next[family]
        self._next[family] -= 1
        return priority


def held_address(entry: AddressEntry, *, device: str) -> HeldAddress:
    """Return the address of *entry*, on *device* unless it names another.

    A single IPv6 address is deprecated where nothing else is said, so that it is no source of
    connections of our own; keepalived does the same.
    """
    preferred: int | None = None
    if entry.preferred_lft is None:
        preferred = 0 if len(entry.address) == 16 and entry.prefix == 128 else None
    elif entry.preferred_lft != "forever":
        preferred = entry.preferred_lft
    flags = (
        IFA_F_HOMEADDRESS * entry.home
        | IFA_F_MANAGETEMPADDR * entry.mngtmpaddr
        | IFA_F_NOPREFIXROUTE * entry.noprefixroute
        | IFA_F_MCAUTOJOIN * entry.autojoin
    )
    return HeldAddress(
        address=entry.address,
        prefix=entry.prefix,
        device=entry.dev or device,
        scope=entry.scope,
        broadcast=entry.brd,
        label=entry.label,
        peer=entry.peer,
        flags=flags,
        preferred=preferred,
        watched=not entry.no_track,
    )


def route(entry: RouteEntry) -> Route:
    """Return the route of *entry*.

    A watched route is always marked as ours, whatever protocol it names, as in keepalived.
    """
    protocol = PROTOCOL if entry.protocol is None or not entry.no_track else entry.protocol
    return Route(
        destination=entry.destination,
        prefix=entry.prefix,
        kind=_KINDS[entry.type],
        gateway=entry.via,
        device=entry.dev,
        source=entry.src,
        table=MAIN_TABLE if entry.table is None else entry.table,
        metric=entry.metric,
        scope=entry.scope,
        protocol=protocol,
        tos=entry.tos,
        onlink=entry.onlink,
        mtu=entry.mtu,
        advmss=entry.advmss,
        watched=not entry.no_track,
    )


def rule(entry: RuleEntry, priorities: Priorities) -> Rule:
    """Return the rule of *entry*; where it names no priority it takes one of *priorities*."""
    return Rule(
        family=entry.family,
        priority=priorities.take(entry.family) if entry.priority is None else entry.priority,
        source=entry.source,
        source_prefix=entry.source_prefix,
        destination=entry.destination,
        destination_prefix=entry.destination_prefix,
        iif=entry.iif,
        oif=entry.oif,
        fwmark=entry.fwmark,
        fwmask=entry.fwmask,
        tos=entry.tos,
        action=_ACTIONS[entry.type],
        table=MAIN_TABLE if entry.table is None else entry.table,
        watched=not entry.no_track,
    )
