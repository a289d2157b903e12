"""Packets that are held, not answered by a reset, for the first seconds after a take-over.

A connection that came from the peer director has an entry in this kernel before its packets come
here, but for those whose last news is still under way. Of such a one the stack would know nothing
and answer with RST, which ends it. Dropped instead, the packet is sent again, and finds its entry.

The rules are always there and see nothing but packets without a connection. They act while the set
``hold`` has the packet's family, and the kernel takes that element out by its timeout, whoever is
dead by then.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.fullnat.parts import (
    CONTAINERS,
    MEMBER,
    SWITCH,
    Chain,
    Container,
    Rule,
    Slot,
    family_digit,
)
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import Address

SERVERS_COUNTER, CLIENTS_COUNTER = "held_servers", "held_clients"
"""Named counters: packets of real servers to LIPs, TCP segments of clients to VIPs."""

HELD: Final = "held"
PRIORITY: Final = 2
"""Behind the SYN cookies (0), which tell the ACK of a new client from a stray one and drop the
latter, and behind the defences (1). Long before IPVS (98), which hands strays to the stack."""


@final
@dataclass(frozen=True, slots=True)
class Hold:
    """The addresses toward which packets without a connection are held; empty: nothing is."""

    vips: frozenset[Address] = frozenset()
    """TCP segments other than SYN."""
    lips: frozenset[Address] = frozenset()
    """Everything of TCP, UDP and SCTP but a SYN."""

    @property
    def used(self) -> bool:
        """Whether there is anything to hold."""
        return bool(self.vips or self.lips)

    def counters(self) -> tuple[str, ...]:
        """Return the named counters."""
        return (SERVERS_COUNTER, CLIENTS_COUNTER) if self.used else ()

    def containers(self) -> tuple[Container, ...]:
        """Return the sets."""
        names = (SWITCH, *(f"hold_{kind}{digit}" for digit in "46" for kind in ("vip", "lip")))
        return tuple(CONTAINERS[name] for name in names) if self.used else ()

    def chains(self) -> tuple[Chain, ...]:
        """Return the chain that drops, and the one that sees the packets."""
        return (_DROPPING, _INPUT) if self.used else ()

    def elements(self) -> dict[Slot, str]:
        """Return the elements of the sets of addresses."""
        return dict.fromkeys((*_slots("vip", self.vips), *_slots("lip", self.lips)), MEMBER)


def _slots(kind: str, addresses: Iterable[Address]) -> Iterable[Slot]:
    for address in addresses:
        key = ServiceKey(Family.of(address), Protocol.TCP, address)
        yield Slot(f"hold_{kind}{family_digit(key.family)}", key)


def _drop(match: str, container: str, counter: str) -> Rule:
    references = (f"@{container}", counter, "drop")
    return Rule(f"{match} @{container} counter name {counter} drop", references)


_OF_SERVERS: Final = "meta l4proto { tcp, udp, sctp }"
_DROPPING: Final = Chain(
    HELD,
    (
        Rule("tcp flags & (fin | syn | rst | ack) == syn accept", ("accept",)),
        _drop(f"{_OF_SERVERS} ip daddr", "hold_lip4", SERVERS_COUNTER),
        _drop(f"{_OF_SERVERS} ip6 daddr", "hold_lip6", SERVERS_COUNTER),
        _drop("meta l4proto tcp ip daddr", "hold_vip4", CLIENTS_COUNTER),
        _drop("meta l4proto tcp ip6 daddr", "hold_vip6", CLIENTS_COUNTER),
    ),
)
_INPUT: Final = Chain(
    SWITCH,
    (Rule(f"ct state new,invalid meta nfproto @{SWITCH} goto {HELD}", (f"@{SWITCH}",)),),
    f"filter input {PRIORITY}",
)
