"""Netlink messages and attributes as bytes, whatever they mean.

Framing follows ``linux/netlink.h`` and ``linux/genetlink.h``: host byte order, everything padded to
four bytes. The attribute tree is faithful: a parsed message is formatted to the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias, final

HEADER: Final = Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port id."""
HEADER_SIZE: Final = HEADER.size
GENERIC: Final = Struct("=BBH")
"""``struct genlmsghdr``: command, version, reserved."""
PAYLOAD: Final = HEADER_SIZE + GENERIC.size
"""Offset of the first attribute of a generic netlink message."""
ATTRIBUTE: Final = Struct("=HH")
"""``struct nlattr``: length with this header, type."""
ERROR: Final = Struct("=i")

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_MIN_TYPE: Final = 16
"""Types below are netlink's own."""
NLM_F_REQUEST: Final = 0x001
NLM_F_MULTI: Final = 0x002
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLA_TYPE_MASK: Final = 0x3FFF
"""``NLA_F_NESTED`` and ``NLA_F_NET_BYTEORDER`` taken away."""


@final
class CodecError(Exception):
    """Bytes that are no netlink message, or not the one that was expected."""


@final
@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; *kind* keeps the flag bits that came with the type."""

    kind: int
    value: "bytes | tuple[Attribute, ...]"


Attributes: TypeAlias = tuple[Attribute, ...]


@final
@dataclass(frozen=True, slots=True)
class Generic:
    """Body of a generic netlink message."""

    command: int
    version: int
    reserved: int
    attributes: Attributes


@final
@dataclass(frozen=True, slots=True)
class Message:
    """A netlink message; control messages (error, done) keep their body as bytes."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: Generic | bytes


def aligned(length: int) -> int:
    """Return *length* rounded up to netlink's four bytes."""
    return (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield type, sequence, start and end of each message in one received datagram.

    Raises :class:`CodecError` where a length does not fit.
    """
    offset, size, unpack = 0, len(data), HEADER.unpack_from
    while offset < size:
        if size - offset < HEADER_SIZE:
            raise CodecError(f"{size - offset} bytes are too few for a netlink header")
        length, kind, _, sequence, _ = unpack(data, offset)
        end = offset + length
        if length < HEADER_SIZE or end > size:
            raise CodecError(f"a netlink message of {length} bytes in {size - offset}")
        yield kind, sequence, offset, end
        offset = end + 3 & ~3  # aligned(end): a call a message would show


def last_message(data: bytes) -> tuple[int, int, int, int]:
    """Return type, sequence, start and end of the last message in one received datagram.

    Raises :class:`CodecError` where a length does not fit, or where there is no message.
    """
    start, end, size, unpack = 0, 0, len(data), HEADER.unpack_from
    length = kind = sequence = 0
    while end < size:
        start = end + 3 & ~3
        if size - start < HEADER_SIZE:
            break
        length, kind, _, sequence, _ = unpack(data, start)
        end = start + length
        if length < HEADER_SIZE:
            break
        last = size - length
        if not start and data[last : last + HEADER_SIZE] == data[:HEADER_SIZE]:
            return kind, sequence, last, size  # as many like the first one: no need to count them
    if not size or end != size:
        raise CodecError(f"messages that do not fill a datagram of {size} bytes")
    return kind, sequence, start, end


def walk(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield type (without flags), start and end of the value of each attribute in a range.

    Raises :class:`CodecError` where a length does not fit.
    """
    unpack = ATTRIBUTE.unpack_from
    while start < end:
        if end - start < 4:
            raise CodecError(f"{end - start} bytes are too few for an attribute header")
        length, kind = unpack(data, start)
        if length < 4 or start + length > end:
            raise CodecError(f"an attribute of {length} bytes in {end - start}")
        yield kind & NLA_TYPE_MASK, start + 4, start + length
        start += aligned(length)


def error_of(data: bytes, start: int, end: int) -> int:
    """Return the positive errno of an ``NLMSG_ERROR`` or ``NLMSG_DONE``, 0 for success."""
    if end - start < PAYLOAD:
        raise CodecError("an error message without its number")
    value: int = ERROR.unpack_from(data, start + HEADER_SIZE)[0]
    return -value


def command_of(data: bytes, start: int, end: int) -> int:
    """Return the generic netlink command of the message at *start*."""
    if end - start < PAYLOAD:
        raise CodecError("a message without its generic netlink header")
    return data[start + HEADER_SIZE]


def attribute(kind: int, value: bytes) -> bytes:
    """Return *value* as an attribute, padded."""
    length = len(value) + 4
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length & 3)


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return a netlink message around *payload*."""
    return HEADER.pack(HEADER_SIZE + len(payload), kind, flags, sequence, 0) + payload


def parse_attributes(data: bytes, start: int, end: int, nested: frozenset[int]) -> Attributes:
    """Return the attributes in a range; the types in *nested* are opened, one level deep."""
    found = []
    for kind, first, last in walk(data, start, end):
        raw = ATTRIBUTE.unpack_from(data, first - 4)[1]
        value: bytes | Attributes = data[first:last]
        if kind in nested:
            value = parse_attributes(data, first, last, frozenset())
        found.append(Attribute(raw, value))
    return tuple(found)


def parse_message(data: bytes, nested: frozenset[int] = frozenset()) -> Message:
    """Return the single message in *data* as a tree; inverse of :func:`format_message`."""
    found = list(messages(data))
    if len(found) != 1:
        raise CodecError(f"{len(found)} messages instead of one")
    _, _, start, end = found[0]
    _, kind, flags, sequence, port = HEADER.unpack_from(data, start)
    if kind in (NLMSG_ERROR, NLMSG_DONE):
        return Message(kind, flags, sequence, port, data[start + HEADER_SIZE : end])
    command_of(data, start, end)
    command, version, reserved = GENERIC.unpack_from(data, start + HEADER_SIZE)
    attributes = parse_attributes(data, start + PAYLOAD, end, nested)
    return Message(kind, flags, sequence, port, Generic(command, version, reserved, attributes))


def format_attributes(attributes: Sequence[Attribute]) -> bytes:
    """Return *attributes* as bytes."""
    return b"".join(
        attribute(
            each.kind,
            each.value if isinstance(each.value, bytes) else format_attributes(each.value),
        )
        for each in attributes
    )


def format_message(tree: Message) -> bytes:
    """Return the bytes of *tree*."""
    body = tree.body
    if isinstance(body, Generic):
        head = GENERIC.pack(body.command, body.version, body.reserved)
        body = head + format_attributes(body.attributes)
    length = HEADER_SIZE + len(body)
    return HEADER.pack(length, tree.kind, tree.flags, tree.sequence, tree.port) + body
