"""Destinations out of whole dumps, in a few steps each.

A kernel writes the messages of a dump with one header and one length, and their attributes in one
fixed order. From one destination to the next little differs but address and weight: these are
unpacked, and what the runs of bytes around the weight mean is remembered. Whatever is not built so
is read attribute by attribute.
"""

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final, TypeAlias, final

from lvskeeper.ipvs.decode import FORWARDS, MEMO_LIMIT, read_destination, unsigned
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.encode import ATTR_DEST, Command
from lvskeeper.ipvs.types import Destination, DestKey, Family, Forward, TunnelType
from lvskeeper.ipvs.wire import (
    ATTRIBUTE,
    HEADER,
    HEADER_SIZE,
    NLA_TYPE_MASK,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    PAYLOAD,
    CodecError,
    aligned,
    messages,
    walk,
)

_NEST: Final = PAYLOAD + 4
"""Offset of a destination's attributes in a message."""
_HEAD: Final = Struct("=B3xHHI")
"""What follows the netlink header: command, nest, header of the address."""
_HEAD_END: Final = HEADER_SIZE + _HEAD.size
_FORM: Final = Struct("=I2s2xIII")
"""Port and forwarding method with their headers, and the header of the weight."""
_TAIL: Final = _HEAD_END + 16 + _FORM.size + 4
"""Offset of what follows the weight."""

_TUNNEL_KINDS: Final = frozenset(TunnelType)
_MARKS: Final = {family: pack("=HHH2x", 6, 11, family) for family in Family}
"""A destination's own family as the attribute that tells it."""

_Form: TypeAlias = tuple[int, Forward]
_Tail: TypeAlias = tuple[int, int, TunnelType, int, int]


def _word(kind: int, size: int) -> int:
    """Return the header of an attribute as the one number that it is in memory."""
    return unsigned(ATTRIBUTE.pack(size + 4, kind), 0, 4)


_ADDRESS_WORD: Final = _word(1, 16)
_FORM_WORDS: Final = _word(2, 2), _word(3, 4), _word(4, 4)


@final
class DestinationReader:
    """Reads the destinations in GET_DEST dumps of one kernel."""

    def __init__(self, traits: Traits) -> None:
        self._tail_kinds: Final = {kind for kind, _ in traits.destination_head} - {1, 2, 3, 4}
        whole = sum(4 + aligned(size) for _, size in traits.destination_head)
        self._tail_end: Final = _NEST + whole
        self._mark: Final = traits.destination_family and _NEST + traits.destination_family
        self._layouts: dict[tuple[int, bytes, Family], Struct | None] = {}
        self._forms: dict[bytes, _Form] = {}
        self._tails: dict[bytes, _Tail] = {}

    def read(
        self, datagrams: Iterable[bytes], sequence: int, family: Family
    ) -> dict[DestKey, Destination]:
        """Return the destinations in the answer to request *sequence*.

        *family* is the service's. Raises :class:`~lvskeeper.ipvs.wire.CodecError`.
        """
        found: dict[DestKey, Destination] = {}
        for data in datagrams:
            if self._read_alike(data, sequence, family, found):
                continue
            for kind, number, start, end in messages(data):
                if number == sequence and kind not in (NLMSG_DONE, NLMSG_ERROR):
                    destination = read_destination(data, start, end, family)
                    found[destination.key] = destination
        return found

    def _read_alike(
        self, data: bytes, sequence: int, family: Family, found: dict[DestKey, Destination]
    ) -> bool:
        """Read messages that are all built alike; return ``False`` where there is another."""
        length, kind, _, number, _ = HEADER.unpack_from(data)
        head = data[:_HEAD_END]
        layout = self._layout(length, head[HEADER_SIZE:], family)
        if number != sequence or kind < NLMSG_MIN_TYPE or layout is None or len(data) % length:
            return False
        mark = _MARKS[family] if self._mark else b""
        new = tuple.__new__  # what named tuples call, without a Python function around it
        known: tuple[bytes, bytes] = b"", b""
        port, forward = 0, Forward.NAT
        upper, lower, tunnel, tunnel_port, flags = 0, 0, TunnelType.IPIP, 0, 0
        for begin, address, form, weight, tail, told in layout.iter_unpack(data):
            if begin != head or told != mark:
                return False
            if known != (form, tail):  # seldom: the servers of a service are much alike
                usual = self._forms.get(form) or self._learn_form(form)
                rest = self._tails.get(tail) or self._learn_tail(tail)
                if usual is None or rest is None:
                    return False
                known = form, tail
                port, forward = usual
                upper, lower, tunnel, tunnel_port, flags = rest
            key = new(DestKey, (address, port))
            found[key] = new(
                Destination, (key, forward, weight, upper, lower, tunnel, tunnel_port, flags)
            )
        return True

    def _layout(self, length: int, head: bytes, family: Family) -> Struct | None:
        """Return how a message of *length* is unpacked, ``None`` where *head* is unusual."""
        key = length, head, family
        if key in self._layouts:
            return self._layouts[key]
        layout = None
        mark = self._mark or self._tail_end
        size = len(_MARKS[family]) if self._mark else 0
        if len(head) == _HEAD.size and length == aligned(length) and length >= mark + size:
            command, nest, kind, word = _HEAD.unpack(head)
            if (
                command == Command.NEW_DEST
                and kind & NLA_TYPE_MASK == ATTR_DEST
                and mark + size <= PAYLOAD + nest <= length
                and word == _ADDRESS_WORD
            ):
                address = "4s12x" if family is Family.INET else "16s"
                layout = Struct(
                    f"={_HEAD_END}s{address}{_FORM.size}si{self._tail_end - _TAIL}s"
                    f"{mark - self._tail_end}x{size}s{length - mark - size}x"
                )
        if len(self._layouts) >= MEMO_LIMIT:
            self._layouts.clear()
        self._layouts[key] = layout
        return layout

    def _learn_form(self, form: bytes) -> _Form | None:
        port_word, port, forward_word, forward, weight_word = _FORM.unpack(form)
        if (port_word, forward_word, weight_word) != _FORM_WORDS:
            return None
        if len(self._forms) >= MEMO_LIMIT:
            self._forms.clear()
        found = int.from_bytes(port, "big"), FORWARDS[forward & 7]
        self._forms[form] = found
        return found

    def _learn_tail(self, tail: bytes) -> _Tail | None:
        values: dict[int, bytes] = {}
        try:
            values = {kind: tail[start:end] for kind, start, end in walk(tail, 0, len(tail))}
        except CodecError:
            return None
        if values.keys() != self._tail_kinds:
            return None
        number = {kind: unsigned(value, 0, len(value)) for kind, value in values.items()}
        if number.get(13, 0) not in _TUNNEL_KINDS:
            return None
        found = (
            number[5],
            number[6],
            TunnelType(number.get(13, 0)),
            int.from_bytes(values.get(14, b""), "big"),
            number.get(15, 0),
        )
        if len(self._tails) >= MEMO_LIMIT:
            self._tails.clear()
        self._tails[tail] = found
        return found
