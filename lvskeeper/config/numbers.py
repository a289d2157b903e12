"""Numbers, addresses, ports and ranges: the parts of values that several readers share."""

import re
from ipaddress import ip_network
from typing import Final

from lvskeeper.config.bad import BadValueError
from lvskeeper.units import Address, format_address, parse_address

MAX_RANGE: Final = 4096
"""Most addresses that one range may stand for."""

_BYTES: Final = {str(byte): byte for byte in range(256)}
SUFFIX: Final = re.compile(r"\A(\d+(?:\.\d+)?)\s*(us|ms|s|sec|secs|seconds?|m|min|h)\Z")
"""A number with a unit, which no keyword takes: for hints."""


def to_int(word: str, index: int, low: int, high: int, what: str = "a whole number") -> int:
    """Return *word* as a whole number between *low* and *high*."""
    if not (word.isdecimal() and word.isascii()):
        raise BadValueError(index, f"'{word}' is not {what}", _number_hint(word, low, high))
    if len(word) > 20 or not low <= (number := int(word)) <= high:
        raise BadValueError(index, f"{word} is not within {low} to {high}")
    return number


def _number_hint(word: str, low: int, high: int) -> str:
    if SUFFIX.match(word):
        return "numbers take no unit"
    if word[:1] in {"-", "+"} and low >= 0 and word[1:].isdecimal():
        return f"it takes no sign: write {word[1:]}"
    return f"a decimal number from {low} to {high}"


def to_address(word: str, index: int) -> Address:
    """Return the packed form of a numeric address."""
    try:
        # The usual case at a quarter of the cost; what is odd goes the long way.
        one, two, three, four = word.split(".")
        return Address(bytes((_BYTES[one], _BYTES[two], _BYTES[three], _BYTES[four])))
    except (KeyError, ValueError):
        pass
    try:
        return parse_address(word)
    except ValueError:
        pass
    if "%" in word:
        hint = "leave the zone (%...) out: addresses with a zone are not served"
    elif "/" in word:
        hint = "an address without a prefix length"
    elif re.fullmatch(r"[0-9.]+", word) and any(
        len(part) > 1 and part.startswith("0") for part in word.split(".")
    ):
        hint = "leave leading zeros out: some programs read them as octal"
    else:
        hint = "a numeric IPv4 or IPv6 address; names are not resolved"
    raise BadValueError(index, f"'{word}' is not an address", hint)


def to_port(word: str, index: int) -> int:
    """Return a port; 0 stands for all ports, or the service's."""
    return to_int(word, index, 0, 65_535, "a port number")


def to_range(word: str, index: int, width: int = 1) -> tuple[Address, int]:
    """Return the first address and the count of ``A``, ``A-LAST`` or ``A-B``.

    LAST is the last byte of an IPv4 address in decimal, or the last *width* bytes of an IPv6
    address in hexadecimal: one in the FULLNAT fork's local addresses, two in keepalived's groups.
    """
    head, dash, tail = word.partition("-")
    first = to_address(head, index)
    if not dash:
        return first, 1
    if "." in tail or ":" in tail:
        last = to_address(tail, index)
    else:
        last = _range_end(first, tail, index, 1 if len(first) == 4 else width)
    if len(last) != len(first):
        raise BadValueError(index, "the ends of the range have different families")
    count = int.from_bytes(last) - int.from_bytes(first) + 1
    if count < 1:
        raise BadValueError(index, f"the range ends before it starts: {format_address(last)}")
    if count > MAX_RANGE:
        raise BadValueError(index, f"the range has {count} addresses, more than {MAX_RANGE}")
    return first, count


def _range_end(first: Address, tail: str, index: int, width: int) -> Address:
    base = 10 if len(first) == 4 else 16
    try:
        number = int(tail, base) if tail.isalnum() and tail.isascii() and len(tail) < 5 else -1
    except ValueError:
        number = -1
    if not 0 <= number < 256**width:
        kind = "decimal" if base == 10 else "hexadecimal"
        part = "the last byte" if width == 1 else "the last 16 bits"
        raise BadValueError(
            index, f"'{tail}' does not end a range", f"{part} in {kind}, or an address"
        )
    return Address(first[:-width] + number.to_bytes(width))


def no_network(word: str) -> None:
    """Refuse ``ADDRESS/PREFIX``, and name the range that it may stand for."""
    if "/" not in word:
        return
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        return
    first, last = format_address(Address(network[0].packed)), str(network[-1])
    hint = f"write the range: {first}-{last}"
    if network.num_addresses == 1:
        hint = f"write {first}"
    elif network.num_addresses > MAX_RANGE:
        hint = f"a range of at most {MAX_RANGE} addresses, such as {first}-LAST"
    raise BadValueError(0, f"the network '{word}' is not served here", hint)
