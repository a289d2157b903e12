"""The nftables ruleset that makes FULLNAT out of IPVS NAT on a stock kernel.

IPVS rewrites the destination (``-m``, with ``net.ipv4.vs.conntrack=1``); our table rewrites the
source to a LIP. At postrouting the packet shows the real server already, but conntrack still knows
the client's own tuple, so that a map from the *original* destination names the virtual service
exactly. One chain a pool and family, one map element a service: the number of rules depends on
pools alone, and a lookup costs the same with one service or ten thousand.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, final

from lvskeeper.fullnat.content import DIGEST_PREFIX, MAPS, PLAIN, Content, References, map_of
from lvskeeper.fullnat.pools import Pool
from lvskeeper.ipvs.types import Family, ServiceKey
from lvskeeper.units import format_address

FAMILY: Final = "inet"
TABLE: Final = "lvskeeper"
GUARD_TABLE: Final = "lvskeeper_guard"

HASH_SEED: Final = 0x5EED0001
"""Seed of the hash that picks a LIP; a constant for all directors and versions.

Without one nft draws a seed whenever rules load, and a connection whose conntrack entry is lost
(a flush, a fail-over to the second director) would come back from another LIP and be reset.
"""

NO_POOL: Final = ""
"""In place of a pool's name: the service keeps its clients' source addresses."""

PRIORITY: Final = 90
"""Ten before ``srcnat``: the first source translation is the one kept, and a masquerade rule of the
machine's own firewall at the usual place must not win over the LIP."""

_BASE_CHAIN: Final = "post"
_TRANSPORT: Final = "meta l4proto { tcp, udp, sctp }"
_NAME_LIMIT: Final = 96


@final
@dataclass(frozen=True, slots=True)
class Ruleset:
    """Pools, and the services with the name of the pool that each uses (see :func:`covering`).

    Raises ``ValueError`` where a service names a pool that is not there or has no address of its
    family, or where two pools share a name: the configuration refuses these long before.
    """

    pools: tuple[Pool, ...] = ()
    services: Mapping[ServiceKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {pool.name: pool for pool in self.pools}
        if len(named) != len(self.pools):
            raise ValueError("two pools share a name")
        for key, name in self.services.items():
            if name == NO_POOL:
                continue
            if name not in named:
                raise ValueError(f"{key}: there is no pool {name}")
            if not named[name].addresses(key.family):
                raise ValueError(f"{key}: pool {name} has no {key.family.name} address")
        object.__setattr__(self, "pools", tuple(sorted(self.pools, key=lambda pool: pool.name)))


def covering(
    fullnat: Mapping[ServiceKey, str], others: Iterable[ServiceKey]
) -> dict[ServiceKey, str]:
    """Return the services of a ruleset: *fullnat* with their pools, and what they must not catch.

    Of *others*, the services that are not FULLNAT, those count that IPVS prefers where our maps
    would see a FULLNAT service as well: a port of an address whose other ports are FULLNAT, and a
    firewall mark on packets to a FULLNAT address.
    """
    result = dict(fullnat)
    for key in others:
        if fullnat and (key.fwmark or (key.port and replace(key, port=0) in fullnat)):
            result[key] = NO_POOL
    return result


def render(ruleset: Ruleset) -> str:
    """Return the whole table as one nft transaction that replaces it atomically.

    ``delete``, not ``flush``: a flush leaves the elements of maps behind. Live connections keep
    their LIP, as nat chains see only the first packet of each. Without services the text removes
    the table.
    """
    head = f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
    if not ruleset.services:
        return head
    comment = f'comment "{DIGEST_PREFIX}{_digest(ruleset)}"'
    lines = [f"table {FAMILY} {TABLE} {{", f"\t{comment}"]
    lines += [f"\tmap {name} {{ type {_MAP_TYPES[name]} : verdict; }}" for name in MAPS]
    lines += [f"\tchain {name} {{ {rule}; }}" for name, rule in _pool_chains(ruleset.pools)]
    lines.append(f"\tchain {_BASE_CHAIN} {{")
    lines.append(f"\t\ttype nat hook postrouting priority {PRIORITY}; policy accept;")
    # nft 1.0.6 leaves a table's comment out of its JSON listing, a rule's it shows.
    lines.append(f"\t\t{_BASE_RULES[0]} {comment}")
    lines += [f"\t\t{rule}" for rule in _BASE_RULES[1:]]
    lines += ["\t}", "}"]
    return head + "\n".join(lines) + "\n" + _elements("add", ruleset.services.items())


def changes(old: Ruleset, new: Ruleset) -> str:
    """Return the transaction that turns the table of *old* into that of *new*.

    Where only services differ that is their elements; else the whole table. Empty where nothing
    differs. It is for a table known to hold *old*: otherwise nft refuses it, or leaves leftovers.
    """
    if old == new:
        return ""
    if not (old.services and new.services) or _digest(old) != _digest(new):
        return render(new) if old.services or new.services else ""
    gone = [item for item in old.services.items() if new.services.get(item[0]) != item[1]]
    come = [item for item in new.services.items() if old.services.get(item[0]) != item[1]]
    return _elements("delete", gone) + _elements("add", come)


def expected_content(ruleset: Ruleset) -> Content | None:
    """Return what a listing of the table shows after ``render(ruleset)``; ``None``: no table."""
    if not ruleset.services:
        return None
    chains: dict[str, tuple[References, ...]] = {
        _BASE_CHAIN: ((f"nat postrouting {PRIORITY}",), *((f"@{name}",) for name in MAPS))
    }
    for pool in ruleset.pools:
        for family in Family:
            addresses = pool.addresses(family)
            if addresses:
                chains[chain_name(pool.name, family)] = (tuple(map(format_address, addresses)),)
    services = {
        key: chain_name(name, key.family) if name else PLAIN
        for key, name in ruleset.services.items()
    }
    return Content(_digest(ruleset), frozenset(MAPS), chains, services)


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


def chain_name(pool: str, family: Family) -> str:
    """Return the chain of a pool: ``lip4.NAME``, with a hash where NAME is no nft identifier."""
    prefix = "lip4." if family is Family.INET else "lip6."
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", pool)[:_NAME_LIMIT]
    if safe == pool:
        return prefix + pool
    return f"{prefix}{safe}.{hashlib.sha256(pool.encode()).hexdigest()[:12]}"


_MAP_TYPES: Final = {
    "port4": "inet_proto . ipv4_addr . inet_service",
    "any4": "inet_proto . ipv4_addr",
    "mark4": "mark",
    "port6": "inet_proto . ipv6_addr . inet_service",
    "any6": "inet_proto . ipv6_addr",
    "mark6": "mark",
}


def _base_rules(family: str, daddr: str, digit: str) -> tuple[str, str, str]:
    # The protocol match comes first because nft cannot size `ct original proto-dst` without it.
    scope = f"meta nfproto {family} {_TRANSPORT}"
    destination = f"meta l4proto . ct original {daddr} daddr"
    return (
        f"{scope} meta mark vmap @mark{digit}",
        f"{scope} {destination} . ct original proto-dst vmap @port{digit}",
        f"{scope} {destination} vmap @any{digit}",
    )


_BASE_RULES: Final = (*_base_rules("ipv4", "ip", "4"), *_base_rules("ipv6", "ip6", "6"))


def _pool_chains(pools: Iterable[Pool]) -> list[tuple[str, str]]:
    chains = []
    for pool in pools:
        for family, protocol in ((Family.INET, "ip"), (Family.INET6, "ip6")):
            addresses = [format_address(address) for address in pool.addresses(family)]
            if not addresses:
                continue
            choice = addresses[0]
            if len(addresses) > 1:
                numbered = ", ".join(f"{number} : {text}" for number, text in enumerate(addresses))
                choice = (
                    f"jhash {protocol} saddr . th sport mod {len(addresses)}"
                    f" seed {HASH_SEED:#x} map {{ {numbered} }}"
                )
            rule = f"{_TRANSPORT} snat {protocol} to {choice}"
            chains.append((chain_name(pool.name, family), rule))
    return chains


def _digest(ruleset: Ruleset) -> str:
    parts = [*_MAP_TYPES.values(), str(PRIORITY), *_BASE_RULES]
    parts += [f"{name} {rule}" for name, rule in _pool_chains(ruleset.pools)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _elements(verb: str, items: Iterable[tuple[ServiceKey, str]]) -> str:
    """Return the ``add`` or ``delete`` commands, one a map, with one element a line."""
    grouped: dict[str, list[str]] = {}
    for key, pool in sorted(items):
        verdict = f"goto {chain_name(pool, key.family)}" if pool else PLAIN
        value = f" : {verdict}" if verb == "add" else ""
        grouped.setdefault(map_of(key), []).append(f"\t{_element_key(key)}{value},\n")
    return "".join(
        f"{verb} element {FAMILY} {TABLE} {name} {{\n{''.join(grouped[name])}}}\n"
        for name in MAPS
        if name in grouped
    )


def _element_key(key: ServiceKey) -> str:
    if key.fwmark:
        return str(key.fwmark)
    text = f"{key.protocol.name.lower()} . {format_address(key.address)}"
    return f"{text} . {key.port}" if key.port else text
