"""Packets that are dropped before IPVS or the director itself sees them, where services ask for it.

Everything is keyed by a virtual service or its address, so that other addresses are never touched.
What belongs to a connection of the director's own, or answers its queries, always passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self, final

from lvskeeper.fullnat.parts import (
    CONTAINERS,
    MEMBER,
    PLAIN,
    Chain,
    Container,
    Rule,
    Slot,
    every_port,
    family_digit,
    is_tcp,
)
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import Address

COUNTERS: Final = ("dropped_stray", "dropped_unserved", "dropped_udp", "dropped_fragment")
"""Named counters of our table: stray TCP segments to services, TCP to other ports of a VIP, UDP
to a VIP of TCP services, fragments. They start anew whenever the table is replaced."""

STRAY, UNSERVED = "stray", "unserved"
"""Chains that drop what belongs to no connection, and all that comes to a port without service."""

INPUT_PRIORITY: Final = 1
"""Right behind the SYN cookies (0): a client's ACK to a proxied service has no connection yet, and
the check of its cookie must see it; what that leaves is stray. Long before IPVS (98)."""

FRAGMENT_PRIORITY: Final = -450
"""Before packets are put together (``NF_IP_PRI_CONNTRACK_DEFRAG``, -400)."""


@final
@dataclass(frozen=True, slots=True)
class Defences:
    """What is dropped; the empty value drops nothing. Made by :meth:`of`."""

    strays: frozenset[ServiceKey] = frozenset()
    """TCP services: segments other than SYN that belong to no connection."""
    closed: frozenset[Address] = frozenset()
    """Addresses: TCP to a port that no service has, but for the director's own connections."""
    udp: frozenset[Address] = frozenset()
    """Addresses: UDP other than answers to the director."""
    fragments: frozenset[Address] = frozenset()
    """Addresses: all fragments."""
    exceptions: frozenset[ServiceKey] = frozenset()
    """Services on these addresses, or with a mark, that these defences would hurt."""

    @classmethod
    def of(
        cls,
        services: Iterable[ServiceKey],
        *,
        strays: Iterable[ServiceKey] = (),
        closed: Iterable[Address] = (),
        udp: Iterable[Address] = (),
        fragments: Iterable[Address] = (),
    ) -> Self:
        """Return the defences as asked for, without what would hurt any of all the *services*.

        An address with a UDP service keeps its UDP; one with a TCP service of every port (port 0)
        has no other port that could be closed.
        """
        every = set(services)
        chosen = frozenset(key for key in strays if is_tcp(key))
        shut = frozenset(item for item in closed if _all_ports(item) not in every)
        silent = frozenset(udp) - {key.address for key in every if key.protocol is Protocol.UDP}
        hurt = {
            key
            for key in every - chosen
            if is_tcp(key) and (key.address in shut or every_port(key) in chosen)
        }
        if chosen or shut or silent:
            hurt |= {key for key in every if key.fwmark}
        return cls(chosen, shut, silent, frozenset(fragments), frozenset(hurt))

    def common(self, other: Self) -> "Defences":
        """Return what both drop, and hurts the services of neither."""
        both = Defences(
            self.strays & other.strays,
            self.closed & other.closed,
            self.udp & other.udp,
            self.fragments & other.fragments,
        )
        # Without anything to except from there is no map that could hold exceptions.
        return replace(both, exceptions=self.exceptions | other.exceptions) if both._seen else both

    @property
    def used(self) -> bool:
        """Whether anything is dropped."""
        return bool(self._seen or self.fragments)

    @property
    def _seen(self) -> bool:
        return bool(self.strays or self.closed or self.udp)

    def counters(self) -> tuple[str, ...]:
        """Return the named counters."""
        return COUNTERS if self.used else ()

    def containers(self) -> tuple[Container, ...]:
        """Return the maps and sets."""
        names: tuple[str, ...] = ()
        if self._seen:
            names += ("tcp_port", "tcp_any", "udp", "served_mark")
        if self.fragments:
            names += ("fragment",)
        return tuple(CONTAINERS[name + digit] for digit in "46" for name in names)

    def chains(self) -> tuple[Chain, ...]:
        """Return the chains that drop, and those that see the packets."""
        seen = (*_DROPPING, _INPUT) if self._seen else ()
        return (*seen, _FRAGMENTS) if self.fragments else seen

    def elements(self) -> dict[Slot, str]:
        """Return the elements of the maps and sets, with their targets."""
        found = {_tcp_slot(key): STRAY for key in self.strays}
        for address in self.closed:
            found[_tcp_slot(_all_ports(address))] = UNSERVED
        for key in self.exceptions:
            if key.fwmark:
                found[Slot(f"served_mark{family_digit(key.family)}", key)] = MEMBER
            else:
                found[_tcp_slot(key)] = PLAIN
        for address in self.udp:
            key = ServiceKey(Family.of(address), Protocol.UDP, address)
            found[Slot(f"udp{family_digit(key.family)}", key)] = MEMBER
        for address in self.fragments:
            key = _all_ports(address)
            found[Slot(f"fragment{family_digit(key.family)}", key)] = MEMBER
        return found


def _all_ports(address: Address) -> ServiceKey:
    return ServiceKey(Family.of(address), Protocol.TCP, address)


def _tcp_slot(key: ServiceKey) -> Slot:
    kind = "port" if key.port else "any"
    return Slot(f"tcp_{kind}{family_digit(key.family)}", key)


def _drop(match: str, counter: str, *references: str) -> Rule:
    return Rule(f"{match} counter name {counter} drop".strip(), (*references, counter, "drop"))


def _seen_rules(nfproto: str, family: str, digit: str) -> tuple[Rule, ...]:
    marks, ports, every, udp = (
        f"@{name}{digit}" for name in ("served_mark", "tcp_port", "tcp_any", "udp")
    )
    return (
        Rule(f"meta nfproto {nfproto} meta mark {marks} accept", (marks, "accept")),
        Rule(f"{family} daddr . tcp dport vmap {ports}", (ports,)),
        Rule(f"meta l4proto tcp {family} daddr vmap {every}", (every,)),
        _drop(f"meta l4proto udp {family} daddr {udp}", COUNTERS[2], udp),
    )


_DROPPING: Final = (
    Chain(STRAY, (_drop("tcp flags & (fin | syn | rst | ack) != syn", COUNTERS[0]),)),
    Chain(UNSERVED, (_drop("", COUNTERS[1]),)),
)
_INPUT: Final = Chain(
    "defence",
    (
        Rule("ct state established,related accept", ("accept",)),
        *_seen_rules("ipv4", "ip", "4"),
        *_seen_rules("ipv6", "ip6", "6"),
    ),
    f"filter input {INPUT_PRIORITY}",
)
_FRAGMENTS: Final = Chain(
    "fragments",
    (
        # More fragments follow, or this one is not the first.
        _drop("ip frag-off & 0x3fff != 0 ip daddr @fragment4", COUNTERS[3], "@fragment4"),
        _drop("ip6 daddr @fragment6 exthdr frag exists", COUNTERS[3], "@fragment6"),
    ),
    f"filter prerouting {FRAGMENT_PRIORITY}",
)
