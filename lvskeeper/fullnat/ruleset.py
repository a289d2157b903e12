"""The nftables ruleset of a director on a stock kernel: FULLNAT, SYN cookies, defences, the hold.

IPVS rewrites the destination (``-m``, with ``net.ipv4.vs.conntrack=1``); our table rewrites the
source to a LIP. At postrouting the packet shows the real server already, but conntrack still knows
the client's own tuple, so that a map from the *original* destination names the virtual service
exactly. One chain a pool, family and range of ports, one map element a service: the number of rules
depends on pools alone, and a lookup costs the same with one service or ten thousand.

All is one table, so that any change of it is one transaction.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, final

from lvskeeper.fullnat.content import DIGEST_PREFIX, Content, slot_of
from lvskeeper.fullnat.defence import Defences
from lvskeeper.fullnat.hold import Hold
from lvskeeper.fullnat.parts import (
    CONTAINERS,
    FAMILY,
    PLAIN,
    TABLE,
    Chain,
    Container,
    Rule,
    Slot,
    family_digit,
)
from lvskeeper.fullnat.pools import LAST_PORT, Pool
from lvskeeper.fullnat.synproxy import Cookies
from lvskeeper.ipvs.types import Family, ServiceKey
from lvskeeper.units import format_address

GUARD_TABLE: Final = "lvskeeper_guard"

HASH_SEED: Final = 0x5EED0001
"""Seed of the hash that picks a LIP; a constant for all directors and versions.

Without one nft draws a seed whenever rules load, and a connection whose conntrack entry is lost
(a flush, a fail-over to the second director) would come back from another LIP and be reset.
"""

PRIORITY: Final = 90
"""Ten before ``srcnat``: the first source translation is the one kept, and a masquerade rule of the
machine's own firewall at the usual place must not win over the LIP."""

MAPS: Final = ("mark4", "port4", "any4", "mark6", "port6", "any6")
"""FULLNAT's maps, in the order in which they are looked up."""

_BASE_CHAIN: Final = "post"
_TRANSPORT: Final = "meta l4proto { tcp, udp, sctp }"
_NAME_LIMIT: Final = 96


@final
@dataclass(frozen=True, slots=True)
class Source:
    """Where the connections of a service come from, as its real servers see it."""

    pool: str = ""
    """Name of the pool of LIPs; none keeps the clients' own addresses."""
    ports: tuple[int, int] | None = None
    """First and last port on the LIPs; none leaves the choice to the kernel (1024 to 65535)."""

    def chain(self, family: Family) -> str:
        """Return the chain that translates to it: ``lip4.NAME``, with a range ``.FIRST-LAST``.

        Where NAME is no nft identifier, a hash tells it from others.
        """
        return _chain_name(self.pool, self.ports, family) if self.pool else PLAIN


@lru_cache(maxsize=1024)  # once a service, of which there are far more than pools
def _chain_name(pool: str, ports: tuple[int, int] | None, family: Family) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", pool)[:_NAME_LIMIT]
    if name != pool:
        name += f".{hashlib.sha256(pool.encode()).hexdigest()[:12]}"
    suffix = ".{}-{}".format(*ports) if ports else ""
    return f"lip{family_digit(family)}.{name}{suffix}"


KEEP: Final = Source()
"""The service keeps its clients' source addresses."""


@final
@dataclass(frozen=True, slots=True)
class Ruleset:
    """Pools, the services with the source that each uses (see :func:`covering`), and the rest.

    Raises ``ValueError`` where a service names a pool that is not there or has no address of its
    family, where a range of ports is none, or where two pools share a name: the configuration
    refuses these long before.
    """

    pools: tuple[Pool, ...] = ()
    services: Mapping[ServiceKey, Source] = field(default_factory=dict)
    cookies: Cookies = field(default_factory=Cookies)
    defences: Defences = field(default_factory=Defences)
    hold: Hold = field(default_factory=Hold)
    direct: bool = False
    """Some real servers of the services are reached by DR: these see the clients' own addresses."""

    def __post_init__(self) -> None:
        named = {pool.name: pool for pool in self.pools}
        if len(named) != len(self.pools):
            raise ValueError("two pools share a name")
        for key, source in self.services.items():
            if source == KEEP:
                continue
            if source.pool not in named:
                raise ValueError(f"{key}: there is no pool {source.pool}")
            if not named[source.pool].addresses(key.family):
                raise ValueError(f"{key}: pool {source.pool} has no {key.family.name} address")
            if source.ports and not 0 < source.ports[0] <= source.ports[1] <= LAST_PORT:
                raise ValueError(f"{key}: {source.ports[0]}-{source.ports[1]} is no port range")
        object.__setattr__(self, "pools", tuple(sorted(self.pools, key=lambda pool: pool.name)))

    @property
    def used(self) -> bool:
        """Whether there is to be a table at all."""
        parts = (self.cookies, self.defences, self.hold)
        return bool(self.services) or any(part.used for part in parts)

    def elements(self) -> dict[Slot, str]:
        """Return the elements of all maps and sets, with their targets."""
        found = {slot_of(key): source.chain(key.family) for key, source in self.services.items()}
        found |= self.cookies.elements() | self.defences.elements()
        return found | self.hold.elements()

    def containers(self) -> tuple[Container, ...]:
        """Return all maps and sets."""
        translating = tuple(CONTAINERS[name] for name in MAPS)
        parts = (self.cookies, self.defences, self.hold)
        return (*translating, *(one for part in parts for one in part.containers()))

    def chains(self) -> tuple[Chain, ...]:
        """Return all chains; those that others go to come first."""
        return (
            *self._pool_chains(),
            _POSTROUTING_DIRECT if self.direct else _POSTROUTING,
            *self.cookies.chains(),
            *self.defences.chains(),
            *self.hold.chains(),
        )

    def _pool_chains(self) -> Iterator[Chain]:
        ranged: dict[str, set[tuple[int, int]]] = {}
        for source in self.services.values():
            if source.ports:
                ranged.setdefault(source.pool, set()).add(source.ports)
        for pool in self.pools:
            sources = [Source(pool.name)]
            sources += [Source(pool.name, ports) for ports in sorted(ranged.get(pool.name, ()))]
            for source in sources:
                for family in Family:
                    if pool.addresses(family):
                        yield _pool_chain(source, family, pool)


def covering(
    fullnat: Mapping[ServiceKey, Source], others: Iterable[ServiceKey]
) -> dict[ServiceKey, Source]:
    """Return the services of a ruleset: *fullnat* with their sources, and what they must not catch.

    Of *others*, the services that are not FULLNAT, those count that IPVS prefers where our maps
    would see a FULLNAT service as well: a port of an address whose other ports are FULLNAT, and a
    firewall mark on packets to a FULLNAT address.
    """
    result = dict(fullnat)
    for key in others:
        if fullnat and (key.fwmark or (key.port and replace(key, port=0) in fullnat)):
            result[key] = KEEP
    return result


def render(ruleset: Ruleset) -> str:
    """Return the whole table as one nft transaction that replaces it atomically.

    ``delete``, not ``flush``: a flush leaves the elements of maps behind. Live connections keep
    their LIP, as nat chains see only the first packet of each, and their translated sequence
    numbers. Where nothing is to be there the text removes the table.
    """
    head = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    if not ruleset.used:
        return head
    lines = _structure(ruleset)
    comment = f'comment "{DIGEST_PREFIX}{_digest(lines)}"'
    # nft 1.0.6 leaves a table's comment out of its JSON listing, a rule's it shows.
    marked = [f"{line} {comment}" if line == _MARKED_LINE else line for line in lines]
    body = "".join(f"\t{line}\n" for line in (comment, *marked))
    table = f"table {FAMILY} {TABLE} {{\n{body}}}\n"
    return head + table + _elements("add", ruleset.elements())


def changes(old: Ruleset, new: Ruleset) -> str:
    """Return the transaction that turns the table of *old* into that of *new*.

    Where only elements differ (services, who serves, defended addresses) that is these; else the
    whole table. Empty where nothing differs. It is for a table known to hold *old*: otherwise nft
    refuses it, or leaves leftovers.
    """
    if old == new or not (old.used or new.used):
        return ""
    if not (old.used and new.used) or _structure(old) != _structure(new):
        return render(new)
    return _turn(old.elements(), new.elements())


def serving_changes(old: Cookies, new: Cookies) -> str:
    """Return the transaction between two that differ in nothing but ``serverless``.

    It costs nothing for services that stay as they are, however many there are.
    """
    moved = old.serverless ^ new.serverless
    return _turn(dict(old.elements_of(moved)), dict(new.elements_of(moved)))


def _turn(old: Mapping[Slot, str], new: Mapping[Slot, str]) -> str:
    gone = {slot: target for slot, target in old.items() if new.get(slot) != target}
    come = {slot: target for slot, target in new.items() if old.get(slot) != target}
    return _elements("delete", gone) + _elements("add", come)


def expected_content(ruleset: Ruleset) -> Content | None:
    """Return what a listing of the table shows after ``render(ruleset)``; ``None``: no table."""
    if not ruleset.used:
        return None
    return Content(
        _digest(_structure(ruleset)),
        frozenset(container.name for container in ruleset.containers()),
        {chain.name: chain.listed() for chain in ruleset.chains()},
        ruleset.elements(),
    )


def adopting(wanted: Ruleset, found: Content | None) -> Ruleset:
    """Return *wanted* as it is to be where the table *found* is in the kernel.

    Hooks of SYN cookies that are there stay, with or without services: connections may live that
    a cookie began, and without the hooks their timestamps are no longer translated.
    """
    if found is None or not found.hooked:
        return wanted
    return replace(wanted, cookies=replace(wanted.cookies, hooked=True))


def guard_text() -> str:
    """Return the table that keeps the nat and conntrack hooks alive through a foreign flush.

    ``flags owner`` (kernel 5.12) ties it to the netlink socket that sends it: ``flush ruleset`` of
    others passes over it, and the kernel removes it when that socket closes. While any nat chain
    with a conntrack expression is there, established connections go on being translated.
    """
    return (
        f"table {FAMILY} {GUARD_TABLE} {{\n"
        "\tflags owner;\n"
        "\tchain keep {\n"
        "\t\ttype nat hook postrouting priority 110; policy accept;\n"
        "\t\tct state invalid counter\n"
        "\t}\n"
        "}\n"
    )


def guard_cookies_text() -> str:
    """Return what the guard table gets besides where SYN cookies are in use.

    A ``synproxy`` statement keeps the hooks that translate sequence numbers and timestamps, also
    in a chain that no packet ever sees. It goes through the socket of the table.
    """
    chain = f"{FAMILY} {GUARD_TABLE} cookies"
    return f"add chain {chain}\nadd rule {chain} synproxy mss 1460 wscale 7\n"


def _base_rules(family: str, daddr: str, digit: str) -> tuple[Rule, Rule, Rule]:
    # The protocol match comes first because nft cannot size `ct original proto-dst` without it.
    scope = f"meta nfproto {family} {_TRANSPORT}"
    destination = f"meta l4proto . ct original {daddr} daddr"
    mark, port, every = f"@mark{digit}", f"@port{digit}", f"@any{digit}"
    return (
        Rule(f"{scope} meta mark vmap {mark}", (mark,)),
        Rule(f"{scope} {destination} . ct original proto-dst vmap {port}", (port,)),
        Rule(f"{scope} {destination} vmap {every}", (every,)),
    )


_POSTROUTING: Final = Chain(
    _BASE_CHAIN,
    (*_base_rules("ipv4", "ip", "4"), *_base_rules("ipv6", "ip6", "6")),
    f"nat postrouting {PRIORITY}",
)
# By DR the packet still goes to the VIP. Its server answers past us; answers to a LIP would come to
# us from an address that is ours, and the kernel drops such.
_POSTROUTING_DIRECT: Final = replace(
    _POSTROUTING, rules=(Rule("fib daddr type local accept", ("accept",)), *_POSTROUTING.rules)
)
_MARKED_LINE: Final = f"\t{_POSTROUTING.rules[0].text}"


def _pool_chain(source: Source, family: Family, pool: Pool) -> Chain:
    protocol = "ip" if family is Family.INET else "ip6"
    addresses = tuple(map(format_address, pool.addresses(family)))
    choice = addresses[0]
    if len(addresses) > 1:
        numbered = ", ".join(f"{number} : {text}" for number, text in enumerate(addresses))
        choice = (
            f"jhash {protocol} saddr . th sport mod {len(addresses)}"
            f" seed {HASH_SEED:#x} map {{ {numbered} }}"
        )
    elif source.ports and family is Family.INET6:
        choice = f"[{choice}]"
    references = addresses
    if source.ports:
        ports = "{}-{}".format(*source.ports)
        choice, references = f"{choice}:{ports}", (*addresses, ports)
    rule = Rule(f"{_TRANSPORT} snat {protocol} to {choice}", references)
    return Chain(source.chain(family), (rule,))


def _structure(ruleset: Ruleset) -> list[str]:
    """Return the lines of the table without its elements."""
    counters = (*ruleset.defences.counters(), *ruleset.hold.counters())
    lines = [f"counter {name} {{ }}" for name in counters]
    lines += [container.declaration() for container in ruleset.containers()]
    for chain in ruleset.chains():
        lines += chain.lines()
    return lines


def _digest(structure: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(structure).encode()).hexdigest()


def _order(item: tuple[Slot, str]) -> tuple[object, ...]:
    # As the keys themselves compare, but ten times as fast.
    key = item[0].key
    return key.family, key.protocol, key.address, key.port, key.fwmark


def _elements(verb: str, elements: Mapping[Slot, str]) -> str:
    """Return the ``add`` or ``delete`` commands, one a container, with one element a line."""
    # Sorted by container: a sort lets no other thread run, and that of all elements takes long.
    grouped: dict[str, list[tuple[Slot, str]]] = {}
    for item in elements.items():
        grouped.setdefault(item[0].container, []).append(item)
    return "".join(
        f"{verb} element {FAMILY} {TABLE} {name} {{\n"
        f"{''.join(_lines(verb, container, sorted(grouped[name], key=_order)))}}}\n"
        for name, container in CONTAINERS.items()
        if name in grouped
    )


def _lines(verb: str, container: Container, elements: Iterable[tuple[Slot, str]]) -> Iterator[str]:
    for slot, target in elements:
        text = container.element(slot.key)
        if target and verb == "add":
            text += f" : {target if target == PLAIN else f'goto {target}'}"
        yield f"\t{text},\n"
