"""What our nftables table is made of: rules, chains, maps and sets, and how a listing shows them.

Every map and set is a hash table: a lookup costs the same with one service or ten thousand.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, final

from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import format_address

FAMILY: Final = "inet"
TABLE: Final = "lvskeeper"
"""Family and name of our table."""

PLAIN: Final = "accept"
"""Target of an element that ends the chain without doing anything."""

MEMBER: Final = ""
"""In place of a target: the element is one of a set."""

SWITCH: Final = "hold"
"""The set that says whether packets are held; see :mod:`lvskeeper.fullnat.hold`."""

References: TypeAlias = tuple[str, ...]
"""What tells a rule from another, in order: the maps and sets that it names (``@port4``),
addresses, ranges of ports, and the statements that act on a packet."""


@final
class Shape(Enum):
    """What the key of a map or set holds."""

    MARK = "mark"
    ENDPOINT = "inet_proto . {address} . inet_service"
    EVERY_PORT = "inet_proto . {address}"
    PORT = "{address} . inet_service"
    """For one protocol only; so is the next."""
    ADDRESS = "{address}"
    FAMILY = "nf_proto; flags timeout"
    """Its elements come and go without us."""


@final
@dataclass(frozen=True, slots=True)
class Container:
    """A verdict map, or a set, of one family's services or addresses."""

    name: str
    shape: Shape
    family: Family
    verdicts: bool = False
    what: str = ""
    """What it is for, in words that follow "is missing in"."""
    protocol: Protocol = Protocol.TCP

    def declaration(self) -> str:
        """Return the line that makes it."""
        address = "ipv4_addr" if self.family is Family.INET else "ipv6_addr"
        kind = self.shape.value.format(address=address)
        if self.verdicts:
            return f"map {self.name} {{ type {kind} : verdict; }}"
        return f"set {self.name} {{ type {kind}; }}"

    def element(self, key: ServiceKey) -> str:
        """Return the text of *key* as an element."""
        match self.shape:
            case Shape.MARK:
                return str(key.fwmark)
            case Shape.ENDPOINT:
                text = f"{key.protocol.name.lower()} . {format_address(key.address)}"
                return f"{text} . {key.port}"
            case Shape.EVERY_PORT:
                return f"{key.protocol.name.lower()} . {format_address(key.address)}"
            case Shape.PORT:
                return f"{format_address(key.address)} . {key.port}"
            case Shape.ADDRESS:
                return format_address(key.address)
            case Shape.FAMILY:
                raise ValueError(f"no element of the set {self.name} is ours")

    def holds(self, key: ServiceKey) -> bool:
        """Return whether *key* has the form of this container's elements."""
        mark = self.shape is Shape.MARK
        port = self.shape in {Shape.ENDPOINT, Shape.PORT}
        several = self.shape in {Shape.ENDPOINT, Shape.EVERY_PORT}
        return (
            self.shape is not Shape.FAMILY
            and key.family is self.family
            and bool(key.fwmark) is mark
            and bool(key.port) is port
            and (several or key.protocol is self.protocol)
        )


def _of_family(family: Family) -> tuple[Container, ...]:
    digit = family_digit(family)

    def verdicts(name: str, shape: Shape, what: str = "") -> Container:
        return Container(name + digit, shape, family, verdicts=True, what=what)

    def members(name: str, shape: Shape, what: str, protocol: Protocol = Protocol.TCP) -> Container:
        return Container(name + digit, shape, family, what=what, protocol=protocol)

    return (
        verdicts("mark", Shape.MARK),
        verdicts("port", Shape.ENDPOINT),
        verdicts("any", Shape.EVERY_PORT),
        verdicts("syn_port", Shape.PORT, "the map of SYN cookies"),
        verdicts("syn_any", Shape.ADDRESS, "the map of SYN cookies"),
        members("cookie_port", Shape.PORT, "the set behind SYN cookies"),
        members("cookie_any", Shape.ADDRESS, "the set behind SYN cookies"),
        members("direct", Shape.PORT, "the exceptions from SYN cookies"),
        verdicts("tcp_port", Shape.PORT, "the defence against stray TCP segments"),
        verdicts("tcp_any", Shape.ADDRESS, "the defence against stray TCP segments"),
        members("udp", Shape.ADDRESS, "the defence against UDP", Protocol.UDP),
        members("fragment", Shape.ADDRESS, "the defence against fragments"),
        members("served_mark", Shape.MARK, "the exceptions from the defences"),
        members("hold_vip", Shape.ADDRESS, "the hold of a take-over"),
        members("hold_lip", Shape.ADDRESS, "the hold of a take-over"),
    )


def family_digit(family: Family) -> str:
    """Return the ending of names that belong to *family*: ``4`` or ``6``."""
    return "4" if family is Family.INET else "6"


CONTAINERS: Final = {
    item.name: item
    for item in (
        *(item for family in Family for item in _of_family(family)),
        Container(SWITCH, Shape.FAMILY, Family.INET),
    )
}
"""Every map and set that a table of ours may have, by name.

``mark``, ``port`` and ``any`` hold the services of FULLNAT; they are looked up in this order,
which is that of IPVS (``ip_vs_service_find``)."""


def is_tcp(key: ServiceKey) -> bool:
    """Return whether *key* is a service of TCP at an address: one with a mark is at none."""
    return key.protocol is Protocol.TCP and not key.fwmark


def every_port(key: ServiceKey) -> ServiceKey:
    """Return the service of all ports at the address of *key*."""
    return ServiceKey(key.family, key.protocol, key.address)


class Slot(NamedTuple):
    """Where an element is, and its key.

    The key has port 0 where the container has no ports, and the container's protocol.
    """

    container: str
    key: ServiceKey


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's text, and what a listing shows of it."""

    text: str
    references: References = ()


@final
@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; one with a hook sees packets by itself."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""
    """Type, hook and priority as a number: ``filter input 1``."""

    def listed(self) -> tuple[References, ...]:
        """Return what a listing shows of it: the hook, if any, then one entry a rule."""
        hook = ((self.hook,),) if self.hook else ()
        return (*hook, *(rule.references for rule in self.rules))

    def lines(self) -> list[str]:
        """Return its text."""
        lines = [f"chain {self.name} {{"]
        if self.hook:
            kind, hook, priority = self.hook.split()
            lines.append(f"\ttype {kind} hook {hook} priority {priority}; policy accept;")
        return [*lines, *(f"\t{rule.text}" for rule in self.rules), "}"]
