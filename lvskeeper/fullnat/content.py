"""What our nftables table holds, as a value: expected from a ruleset, or read from a listing."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from lvskeeper.fullnat.parts import (
    CONTAINERS,
    MEMBER,
    PLAIN,
    Container,
    References,
    Shape,
    Slot,
    family_digit,
)
from lvskeeper.fullnat.synproxy import HOOKS
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import format_address, parse_address

DIGEST_PREFIX: Final = "lvskeeper sha256:"

_HEAD: Final = re.compile(r'\s*\{\s*"nftables"\s*:\s*\[\s*')
_GAP: Final = re.compile(r"\s*,?\s*")
_TAIL: Final = re.compile(r"\]\s*\}\s*")
_PROTOCOLS: Final = frozenset(Protocol)
_HOOK: Final = "{type} {hook} {prio}"


@final
@dataclass(frozen=True, slots=True)
class Content:
    """The parts of the table that decide what becomes of a packet."""

    digest: str = ""
    """SHA-256 of maps, sets, chains and pools (not of the elements), as a rule's comment."""
    containers: frozenset[str] = frozenset()
    """Names of the maps and sets."""
    chains: Mapping[str, tuple[References, ...]] = field(default_factory=dict)
    """Per chain: its hook (base chain only), then one entry a rule."""
    elements: Mapping[Slot, str] = field(default_factory=dict)
    """The elements of the maps with their targets (a chain, or ``PLAIN``), those of the sets."""
    foreign: tuple[str, ...] = ()
    """Elements that no ruleset of ours could have."""

    @property
    def hooked(self) -> bool:
        """Whether it is a table with SYN cookies."""
        return self.containers.issuperset(HOOKS)

    @property
    def serving(self) -> frozenset[ServiceKey]:
        """The services whose clients get SYN cookies."""
        return frozenset(
            slot.key for slot in self.elements if slot.container[:-1] in {"syn_port", "syn_any"}
        )


def slot_of(key: ServiceKey) -> Slot:
    """Return where FULLNAT's verdict on the service *key* is."""
    kind = "mark" if key.fwmark else "port" if key.port else "any"
    return Slot(kind + family_digit(key.family), key)


def differences(expected: Content, actual: Content | None) -> tuple[str, ...]:
    """Return, one sentence each, how *actual* (``None``: no such table) differs; empty is equal."""
    if actual is None:
        return ("the table is missing",)
    found: list[str] = []
    if expected.digest != actual.digest:
        found.append("the table is of another version or pool set")
    for name in sorted(expected.containers ^ actual.containers):
        kind = "map" if name in CONTAINERS and CONTAINERS[name].verdicts else "set"
        state = "is missing" if name in expected.containers else "is not ours"
        found.append(f"{kind} {name} {state}")
    for name, rules in expected.chains.items():
        if name not in actual.chains:
            found.append(f"chain {name} is missing")
        elif actual.chains[name] != rules:
            found.append(f"the rules of chain {name} were changed")
    foreign_chains = sorted(actual.chains.keys() - expected.chains.keys())
    found += [f"chain {name} is not ours" for name in foreign_chains]
    found += _element_differences(expected.elements, actual.elements)
    return (*found, *(f"element {text} is not ours" for text in actual.foreign))


def _element_differences(expected: Mapping[Slot, str], actual: Mapping[Slot, str]) -> list[str]:
    wrong = [
        slot
        for slot in expected.keys() | actual.keys()
        if expected.get(slot, None) != actual.get(slot, None)
    ]
    sentences: dict[str, None] = {}
    for slot in sorted(wrong, key=lambda slot: (slot.key, slot.container)):
        what = CONTAINERS[slot.container].what
        where = f" in {what}" if what else ""
        if slot not in actual:
            sentences[f"{slot.key} is missing{where}"] = None
        elif slot not in expected:
            sentences[f"{slot.key} is not wanted{where}"] = None
        else:
            targets = f"goes to {actual[slot]}, not to {expected[slot]}"
            sentences[f"{slot.key} {targets}{where and ','}{where}"] = None
    return list(sentences)


def parse_listing(text: str | bytes) -> Content:
    """Return the content of the one table in *text*, the output of ``nft -j -n list table``.

    Only names, addresses and elements are read: nft 1.0.6 leaves comments of tables out of its
    JSON and prints some statements wrongly. Raises ``ValueError`` where *text* is no such listing.
    """
    digest = ""
    containers: set[str] = set()
    chains: dict[str, list[References]] = {}
    elements: dict[Slot, str] = {}
    foreign: list[str] = []
    try:
        for item in _items(text if isinstance(text, str) else text.decode()):
            match item:
                case {"map": {"name": str(name)} as body} | {"set": {"name": str(name)} as body}:
                    containers.add(name)
                    for element in body.get("elem", ()):
                        _read_element(name, element, elements, foreign)
                case {"chain": {"name": str(name)}}:
                    chain = item["chain"]
                    hooked = "hook" in chain
                    chains[name] = [(_HOOK.format(**chain),)] if hooked else []
                case {"rule": {"chain": str(name), "expr": list(expression)}}:
                    chains[name].append(tuple(_references(expression)))
                    comment = str(item["rule"].get("comment", ""))
                    if comment.startswith(DIGEST_PREFIX):
                        digest = comment.removeprefix(DIGEST_PREFIX)
                case _:  # metainfo, the table itself, counters, and whatever else is listed
                    pass
    except (KeyError, TypeError) as error:
        raise ValueError(f"unexpected listing from nft: {error!r}") from error
    rules = {name: tuple(entries) for name, entries in chains.items()}
    return Content(digest, frozenset(containers), rules, elements, tuple(foreign))


def _items(text: str) -> Iterator[Any]:
    """Yield what is listed, one by one: the JSON parser lets no other thread run meanwhile."""
    decode = json.JSONDecoder().raw_decode
    place = _HEAD.match(text)
    while place is not None and not _TAIL.fullmatch(text, place.end()):
        item, end = decode(text, place.end())
        yield item
        place = _GAP.match(text, end)
    if place is None:
        raise ValueError("unexpected listing from nft: it has another form")


def _read_element(name: str, element: Any, elements: dict[Slot, str], foreign: list[str]) -> None:
    container = CONTAINERS.get(name)
    if container is not None and container.shape is Shape.FAMILY:
        return
    match element:
        case [data, {"goto": {"target": str(target)}}]:
            pass
        case [data, {"accept": None}]:
            target = PLAIN
        case list():
            data, target = None, MEMBER
        case _:
            data, target = element, MEMBER
    key = _read_key(container, data) if container else None
    if container is None or key is None or container.verdicts is (target == MEMBER):
        foreign.append(f"{name} {json.dumps(element)}")
    else:
        elements[Slot(name, key)] = target


def _read_key(container: Container, data: Any) -> ServiceKey | None:
    """Return the key of an element, ``None`` where *container* cannot hold such a one."""
    key: ServiceKey | None = None
    match container.shape, data:
        case Shape.MARK, int(mark):
            key = ServiceKey(container.family, Protocol.TCP, fwmark=mark)
        case ((Shape.ENDPOINT | Shape.EVERY_PORT), {"concat": [int(number), str(address), *port]}):
            if number in _PROTOCOLS:
                packed = parse_address(address)
                key = ServiceKey(Family.of(packed), Protocol(number), packed, *map(int, port))
        case Shape.PORT, {"concat": [str(address), int(port)]}:
            packed = parse_address(address)
            key = ServiceKey(Family.of(packed), container.protocol, packed, port)
        case Shape.ADDRESS, str(address):
            packed = parse_address(address)
            key = ServiceKey(Family.of(packed), container.protocol, packed)
        case _:
            pass
    return key if key is not None and container.holds(key) else None


def _references(expression: Any) -> Iterator[str]:
    match expression:
        case {"synproxy": dict(options)}:
            given = options.get("flags", [])
            flags = [given] if isinstance(given, str) else sorted(given)
            yield " ".join(("synproxy", str(options["mss"]), str(options["wscale"]), *flags))
        case {"range": [int(first), int(last)]}:
            yield f"{first}-{last}"
        case {"counter": str(name)}:
            yield name
        case {"notrack": None} | {"drop": None} | {"accept": None} | {"reset": _}:
            yield next(iter(expression))
        case dict():
            for value in expression.values():
                yield from _references(value)
        case list():
            for value in expression:
                yield from _references(value)
        case str():
            yield from _named(expression)
        case _:
            pass


def _named(text: str) -> Iterator[str]:
    """Return *text* where it is the name of a map or set, or an address."""
    if text.startswith("@"):
        yield text
    elif "." in text or ":" in text:
        with contextlib.suppress(ValueError):
            yield format_address(parse_address(text))
