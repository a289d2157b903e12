"""Words of the entries of addresses, routes and rules: how one is walked, and the kernel's names.

Names are those that the kernel itself gives (``linux/rtnetlink.h``). Files such as ``rt_tables``
are not read here, so other names have to be written as numbers.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.numbers import to_address, to_int
from lvskeeper.config.values import one_of
from lvskeeper.units import Address, format_address

WordReader: TypeAlias = Callable[[str, int], object]
"""From a word and its index to a value."""

MAX_U32: Final = 2**32 - 1
MAX_SIZE: Final = 65_535
"""Most bytes of a packet."""
FAMILIES: Final = {"inet": 4, "inet6": 6}
EVERYWHERE: Final = frozenset({"default", "all", "any"})
DEFAULT6: Final = "default6"
ONE_FAMILY: Final = "all addresses of an entry are of one family"
TABLES: Final = {"default": 253, "main": 254, "local": 255}
SCOPES: Final = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
PROTOCOLS: Final = {
    "redirect": 1,
    "kernel": 2,
    "boot": 3,
    "static": 4,
    "gated": 8,
    "ra": 9,
    "mrt": 10,
    "zebra": 11,
    "bird": 12,
    "dnrouted": 13,
    "xorp": 14,
    "ntk": 15,
    "dhcp": 16,
    "mrouted": 17,
    "keepalived": 18,
    "babel": 42,
    "openr": 99,
    "bgp": 186,
    "isis": 187,
    "ospf": 188,
    "rip": 189,
    "eigrp": 192,
}

_ECN: Final = 0b11
_HEX: Final = re.compile(r"\A0[xX][0-9a-fA-F]{1,8}\Z")
_DEVICE: Final = re.compile(r"\A[^\s/:]{1,15}\Z")
_NETWORK: Final = re.compile(r"\A[0-9][0-9./]*\Z|\A[0-9a-fA-F:]*:[0-9a-fA-F:./]*\Z")
_GROUP: Final = re.compile(r"\A\S+\Z")


@final
@dataclass(frozen=True, slots=True)
class Grammar:
    """The words that an entry may have after its first part."""

    what: str
    """As in "is no word of an address"."""
    options: Mapping[str, tuple[str, WordReader]]
    """Words with a value: the key of the value, and its reader."""
    flags: Mapping[str, tuple[str, object]]
    """Words that stand alone: their key and value."""
    unserved: Collection[str]
    """Words that keepalived knows and that are not served yet."""
    hints: Mapping[str, str]
    """What to do about a word that is refused."""
    bare: str = ""
    """Option that a network stands for without its word."""


def walk(
    grammar: Grammar, words: Sequence[str], start: int = 0
) -> tuple[dict[str, object], dict[str, int]]:
    """Return the values of the words from *start* on, and the index of the word of each."""
    values: dict[str, object] = {}
    places: dict[str, int] = {}
    index = start
    while index < len(words):
        word = words[index]
        if word in grammar.options:
            key, read = grammar.options[word]
            once(places, key, word, index)
            if word == "via" and index + 2 < len(words) and words[index + 1] in FAMILIES:
                index += 1
                places["inet"] = index
            if index + 1 == len(words) or not words[index + 1]:
                raise BadValueError(index, f"'{word}' needs a value", f"write {word} VALUE")
            index += 1
            values[key] = read(words[index], index)
        elif word in grammar.flags:
            key, value = grammar.flags[word]
            once(places, key, word, index)
            values[key] = value
        elif grammar.bare and word not in grammar.unserved and is_network(word):
            key, read = grammar.options[grammar.bare]
            once(places, key, word, index)
            values[key] = read(word, index)
        else:
            raise _unknown(grammar, word, index)
        places[key] = index
        index += 1
    return values, places


def is_network(word: str) -> bool:
    """Whether *word* looks like an address, a network or a name for all of them."""
    return word in EVERYWHERE or word == DEFAULT6 or _NETWORK.match(word) is not None


def once(places: Mapping[str, int], key: str, word: str, index: int) -> None:
    """Refuse a second word for the same value."""
    if key in places:
        message = f"'{word}' is given twice"
        if key != word:
            message = f"'{word}' sets again what this entry has set already"
        raise BadValueError(index, message, "leave one of the two out")


def _unknown(grammar: Grammar, word: str, index: int) -> BadValueError:
    hint = grammar.hints.get(word, "")
    if word in grammar.unserved:
        message = f"'{word}' is a word of keepalived that is not served yet"
        return BadValueError(index, message, hint or "leave it out, with its value if it has one")
    if is_network(word) and "from" in grammar.options:
        hint = f"write from {word}, or to {word}"
    known = [*grammar.options, *grammar.flags, *grammar.unserved]
    message = f"'{word}' is no word of {grammar.what}"
    return BadValueError(index, message, hint or _close(word, known) or _list(grammar))


def _list(grammar: Grammar) -> str:
    return f"one of {one_of([*grammar.options, *grammar.flags])}"


def _close(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - good files need no hints

    lower = word.lower()
    close = [lower] if lower in known else get_close_matches(lower[:40], known, n=1, cutoff=0.65)
    return f"did you mean '{close[0]}'?" if close else ""


def device(word: str, index: int) -> str:
    """Read the name of a network device, by the kernel's rule for them."""
    if not _DEVICE.match(word) or word in {".", ".."}:
        message = f"'{word}' is not the name of a network device"
        raise BadValueError(index, message, "at most 15 characters, without blanks, '/' and ':'")
    return word


def group_name(word: str, index: int) -> str:
    """Read the name of a track group."""
    if not _GROUP.match(word):
        raise BadValueError(index, f"'{word}' is not a name")
    return word


def number(low: int, high: int, what: str = "a whole number") -> WordReader:
    """Return a reader of a decimal number."""

    def read(word: str, index: int) -> int:
        return to_int(word, index, low, high, what)

    return read


def hexadecimal(word: str, index: int, high: int, what: str) -> int:
    """Read a number in decimal, or in hexadecimal after ``0x``."""
    if not _HEX.match(word):
        return to_int(word, index, 0, high, what)
    value = int(word, 16)
    if value > high:
        raise BadValueError(index, f"{word} is not within 0 to {high:#x}")
    return value


def named(names: Mapping[str, int], low: int, high: int, what: str) -> WordReader:
    """Return a reader of one of *names*, or of the number that it stands for."""

    def read(word: str, index: int) -> int:
        if word in names:
            return names[word]
        if word.isdecimal() or _HEX.match(word):
            value = hexadecimal(word, index, high, what)
            if value < low:
                raise BadValueError(index, f"{word} is not within {low} to {high}")
            return value
        close = _close(word, list(names))
        hint = f"write the number of {what}: only the kernel's own names are known"
        raise BadValueError(index, f"'{word}' is not {what}", f"{close} {hint}".lstrip())

    return read


table: Final = named(TABLES, 1, MAX_U32, "a routing table")
scope: Final = named(SCOPES, 0, 255, "a scope")
protocol: Final = named(PROTOCOLS, 1, 255, "a routing protocol")


def tos(word: str, index: int) -> int:
    """Read a type of service; as in keepalived it is decimal without ``0x``, unlike in ``ip``."""
    value = hexadecimal(word, index, 255, "a type of service")
    if value & _ECN:
        message = f"{word} has one of the two lowest bits set, which the kernel refuses"
        raise BadValueError(index, message, "they belong to ECN; a number without 0x is decimal")
    return value


def prefix(word: str, index: int) -> tuple[Address, int | None]:
    """Read ``ADDRESS[/LENGTH]``."""
    head, slash, length = word.partition("/")
    there = to_address(head, index)
    if not slash:
        return there, None
    most = len(there) * 8
    if length.count(".") == 3:
        hint = "write the prefix length, such as /24, not a netmask"
        raise BadValueError(index, f"'{length}' is not a prefix length", hint)
    value = to_int(length, index, 0, MAX_U32, "a prefix length")
    if value > most:
        message = f"/{length} is longer than an address of IPv{family(there)}"
        raise BadValueError(index, message, f"a prefix length from 0 to {most}")
    return there, value


def text(word: str, index: int) -> str:  # noqa: ARG001 - a WordReader
    """Read a word as it is; who asks for it checks it with the others."""
    return word


def address(word: str, index: int) -> Address:
    """Read one address."""
    return to_address(word, index)


def size(word: str, index: int) -> int:
    """Read the size of a packet or segment, in bytes."""
    if word == "lock":
        message = "'lock' is a word of keepalived that is not served yet"
        raise BadValueError(index, message, "leave it out: path MTU discovery may lower the value")
    return to_int(word, index, 1, MAX_SIZE)


def mark(word: str, index: int) -> tuple[int, int]:
    """Read ``MARK[/MASK]``."""
    value, slash, mask = word.partition("/")
    what = "a firewall mark"
    bits = hexadecimal(mask, index, MAX_U32, what) if slash else MAX_U32
    return hexadecimal(value, index, MAX_U32, what), bits


def destination(word: str, index: int) -> str:
    """Read a network, or one of the words for all of them, whose family others may tell."""
    family_of(word, index)
    return word


def family_of(word: str, index: int) -> int:
    """Return 4 or 6, or 0 where the network of *word* may be of either."""
    if word in EVERYWHERE:
        return 0
    return 6 if word == DEFAULT6 else family(prefix(word, index)[0])


def network_of(word: str, index: int, other: int) -> tuple[Address, int]:
    """Return the address and prefix length of a network of the family *other*."""
    if family_of(word, index) not in {0, other}:
        message = f"'{word}' is not of IPv{other}, as the entry is"
        raise BadValueError(index, message, ONE_FAMILY)
    if word in EVERYWHERE or word == DEFAULT6:
        return Address(bytes(4 if other == 4 else 16)), 0
    there, length = prefix(word, index)
    return there, full(there, length)


def full(address: Address, length: int | None) -> int:
    """Return *length*, or that of a single address."""
    return len(address) * 8 if length is None else length


def network(address: Address, length: int) -> Address:
    """Return *address* with all bits after the prefix cleared."""
    bits = len(address) * 8
    kept = int.from_bytes(address) >> (bits - length) << (bits - length)
    return Address(kept.to_bytes(len(address)))


def family(address: Address) -> int:
    """Return 4 or 6."""
    return 4 if len(address) == 4 else 6


def same_family(address: Address, other: int, index: int) -> None:
    """Refuse an address that is not of the family *other*."""
    if family(address) != other:
        message = f"{format_address(address)} is of IPv{family(address)}, the entry of IPv{other}"
        raise BadValueError(index, message, ONE_FAMILY)
