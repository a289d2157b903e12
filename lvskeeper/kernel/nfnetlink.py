"""What the parts of netfilter have in common on netlink (``linux/netfilter/nfnetlink.h``)."""

from struct import Struct
from typing import Final

from lvskeeper.ipvs.wire import HEADER_SIZE, NLM_F_REQUEST, message, walk

NETLINK_NETFILTER: Final = 12
NFTABLES: Final = 10
"""``NFNL_SUBSYS_NFTABLES``; the type of a message has its subsystem in the high byte."""
INET: Final = 1
"""``NFPROTO_INET``."""
NESTED: Final = 0x8000
"""``NLA_F_NESTED``."""

_HEADER: Final = Struct("!BBH")
"""``struct nfgenmsg``: family, version, resource."""
FIRST: Final = HEADER_SIZE + _HEADER.size
"""Offset of the first attribute of a message."""


def request(
    kind: int, flags: int, sequence: int, family: int = 0, body: bytes = b"", *, resource: int = 0
) -> bytes:
    """Return a message to the kernel; *body* are its attributes."""
    header = _HEADER.pack(family, 0, resource)
    return message(kind, flags | NLM_F_REQUEST, sequence, header + body)


def attributes(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the values of the attributes in a range by their types.

    Raises :class:`~lvskeeper.ipvs.wire.CodecError`.
    """
    return {kind: data[at:stop] for kind, at, stop in walk(data, start, end)}
