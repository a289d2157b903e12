"""What our nftables table holds, as a value: expected from a ruleset, or read from a listing."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import format_address, parse_address

MAPS: Final = ("mark4", "port4", "any4", "mark6", "port6", "any6")
"""Verdict maps: services by fwmark, with a port, with port 0 (every port); one each a family.

Looked up in this order, which is that of IPVS (``ip_vs_service_find``)."""

PLAIN: Final = "accept"
"""Target of a service whose clients' source addresses stay."""

DIGEST_PREFIX: Final = "lvskeeper sha256:"

_PROTOCOLS: Final = frozenset(Protocol)
_HOOK: Final = "{type} {hook} {prio}"

References = tuple[str, ...]
"""What tells a rule from another: the maps (``@port4``) and addresses that it names, in order."""


@final
@dataclass(frozen=True, slots=True)
class Content:
    """The parts of the table that decide where a connection gets its LIP from."""

    digest: str = ""
    """SHA-256 of maps, chains and pools (not of the elements), as the first rule's comment."""
    maps: frozenset[str] = frozenset()
    chains: Mapping[str, tuple[References, ...]] = field(default_factory=dict)
    """Per chain: its hook (base chain only), then one entry a rule."""
    services: Mapping[ServiceKey, str] = field(default_factory=dict)
    """Virtual service to pool chain (or ``PLAIN``): the elements of the verdict maps."""
    foreign: tuple[str, ...] = ()
    """Elements that no ruleset of ours could have."""


def map_of(key: ServiceKey) -> str:
    """Return the name of the verdict map that holds *key*."""
    kind = "mark" if key.fwmark else "port" if key.port else "any"
    return kind + ("4" if key.family is Family.INET else "6")


def differences(expected: Content, actual: Content | None) -> tuple[str, ...]:
    """Return, one sentence each, how *actual* (``None``: no such table) differs; empty is equal."""
    if actual is None:
        return ("the table is missing",)
    found: list[str] = []
    if expected.digest != actual.digest:
        found.append("the table is of another version or pool set")
    found += [f"map {name} is missing" for name in sorted(expected.maps - actual.maps)]
    for name, rules in expected.chains.items():
        if name not in actual.chains:
            found.append(f"chain {name} is missing")
        elif actual.chains[name] != rules:
            found.append(f"the rules of chain {name} were changed")
    foreign_chains = sorted(actual.chains.keys() - expected.chains.keys())
    found += [f"chain {name} is not ours" for name in foreign_chains]
    found += _service_differences(expected.services, actual.services)
    return (*found, *(f"element {text} is not ours" for text in actual.foreign))


def _service_differences(
    expected: Mapping[ServiceKey, str], actual: Mapping[ServiceKey, str]
) -> Iterator[str]:
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            yield f"{key} is missing"
        elif key not in expected:
            yield f"{key} is not wanted"
        elif expected[key] != actual[key]:
            yield f"{key} goes to {actual[key]}, not to {expected[key]}"


def parse_listing(text: str | bytes) -> Content:
    """Return the content of the one table in *text*, the output of ``nft -j -p list table``.

    Only names, addresses and elements are read: nft 1.0.6 leaves comments of tables out of its
    JSON and prints some statements wrongly. Raises ``ValueError`` where *text* is no such listing.
    """
    digest = ""
    maps: set[str] = set()
    chains: dict[str, list[References]] = {}
    services: dict[ServiceKey, str] = {}
    foreign: list[str] = []
    try:
        for item in json.loads(text)["nftables"]:
            match item:
                case {"map": {"name": str(name)}}:
                    maps.add(name)
                    for element in item["map"].get("elem", ()):
                        _read_element(name, element, services, foreign)
                case {"chain": {"name": str(name)}}:
                    chain = item["chain"]
                    hooked = "hook" in chain
                    chains[name] = [(_HOOK.format(**chain),)] if hooked else []
                case {"rule": {"chain": str(name), "expr": list(expression)}}:
                    chains[name].append(tuple(_references(expression)))
                    comment = str(item["rule"].get("comment", ""))
                    if comment.startswith(DIGEST_PREFIX):
                        digest = comment.removeprefix(DIGEST_PREFIX)
                case _:  # metainfo, the table itself, and whatever else is listed with it
                    pass
    except (KeyError, TypeError) as error:
        raise ValueError(f"unexpected listing from nft: {error!r}") from error
    rules = {name: tuple(entries) for name, entries in chains.items()}
    return Content(digest, frozenset(maps), rules, services, tuple(foreign))


def _read_element(
    name: str, element: Any, services: dict[ServiceKey, str], foreign: list[str]
) -> None:
    key: ServiceKey | None = None
    match element:
        case [{"concat": [int(number), str(address), *port]}, _] if number in _PROTOCOLS:
            packed = parse_address(address)
            key = ServiceKey(Family.of(packed), Protocol(number), packed, *map(int, port))
        case [int(mark), _] if name in {"mark4", "mark6"}:
            family = Family.INET if name == "mark4" else Family.INET6
            key = ServiceKey(family, Protocol.TCP, fwmark=mark)
    match element:
        case [_, {"goto": {"target": str(target)}}]:
            pass
        case [_, {"accept": None}]:
            target = PLAIN
        case _:
            target = ""
    if key is None or not target or map_of(key) != name:
        foreign.append(f"{name} {json.dumps(element)}")
    else:
        services[key] = target


def _references(expression: Any) -> Iterator[str]:
    match expression:
        case dict():
            for value in expression.values():
                yield from _references(value)
        case list():
            for value in expression:
                yield from _references(value)
        case str() if expression.startswith("@"):
            yield expression
        case str() if "." in expression or ":" in expression:
            try:
                yield format_address(parse_address(expression))
            except ValueError:
                return
        case _:
            pass
