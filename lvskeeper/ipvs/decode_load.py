"""How many connections each destination has, out of a dump, in a few steps each.

Address and numbers stand at the same place in all messages of one length; the first tells where.
"""

from struct import Struct
from typing import Final, final

from lvskeeper.ipvs.decode import MEMO_LIMIT, address_in, nest, unsigned
from lvskeeper.ipvs.encode import ATTR_DEST
from lvskeeper.ipvs.types import DestKey, Family
from lvskeeper.ipvs.wire import ATTRIBUTE, PAYLOAD, CodecError, walk
from lvskeeper.units import Address

_START: Final = PAYLOAD + 4
"""Offset of a destination's attributes in a message."""
_HEAD_SIZE: Final = 20 + 8
"""Address and port, each with its header."""


def _word(kind: int, size: int) -> int:
    return unsigned(ATTRIBUTE.pack(size + 4, kind), 0, 4)


_WORDS: Final = _word(1, 16), _word(2, 2), _word(7, 4), _word(8, 4)


@final
class LoadReader:
    """Reads active and inactive connections, added up, in GET_DEST answers of one kernel."""

    def __init__(self) -> None:
        self._forms: dict[int, Struct] = {}

    def read(self, data: bytes, start: int, end: int, family: Family) -> tuple[DestKey, int]:
        """Return the destination in the message at *start* and its connections.

        *family* is the service's; with FULLNAT it is that of its destinations. Raises
        :class:`~lvskeeper.ipvs.wire.CodecError`.
        """
        form = self._forms.get(end - start)
        if form is not None:
            first, address, second, port, third, active, fourth, idle = form.unpack_from(
                data, start + _START
            )
            if (first, second, third, fourth) == _WORDS:
                if family is Family.INET:
                    address = address[:4]
                key = DestKey(Address(address), int.from_bytes(port, "big"))
                return key, active + idle
        return self._learn(data, start, end, family)

    def _learn(self, data: bytes, start: int, end: int, family: Family) -> tuple[DestKey, int]:
        places: dict[int, tuple[int, int]] = {}
        for kind, at, stop in walk(data, *nest(data, start, end, ATTR_DEST)):
            places[kind] = at, stop
        try:
            address, port, active, idle = (places[kind] for kind in (1, 2, 7, 8))
        except KeyError as error:
            raise CodecError(f"a destination without attribute {error}") from error
        gap = active[0] - 4 - start - _START - _HEAD_SIZE
        if gap >= 0 and idle[0] == active[0] + 8:
            if len(self._forms) >= MEMO_LIMIT:
                self._forms.clear()
            # Whether it fits another message of this length is seen in that one's headers.
            self._forms[end - start] = Struct(f"=I16sI2s2x{gap}xIIII")
        number = int.from_bytes(data[port[0] : port[1]], "big")
        count = unsigned(data, *active) + unsigned(data, *idle)
        return DestKey(address_in(data, *address, family), number), count
