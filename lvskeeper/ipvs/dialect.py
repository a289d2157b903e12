"""Which IPVS a kernel speaks, and what follows from it, as data.

The FULLNAT fork and the mainline kernel share a family name and a version number, and mainline
accepts, stores and echoes what only the fork understands. So the dialect is told by the commands
that the kernel registers, before anything is written.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final, final

from lvskeeper.ipvs.wire import (
    GENERIC,
    NLM_F_REQUEST,
    PAYLOAD,
    CodecError,
    attribute,
    command_of,
    message,
    walk,
)

FAMILY_NAME: Final = "IPVS"
FAMILY_VERSION: Final = 1

GENL_ID_CTRL: Final = 16
CTRL_CMD_NEWFAMILY: Final = 1
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_ID: Final = 1
CTRL_ATTR_FAMILY_NAME: Final = 2
CTRL_ATTR_OPS: Final = 6
CTRL_ATTR_OP_ID: Final = 1

LOCAL_ADDRESS_COMMANDS: Final = frozenset({18, 19, 20})
"""NEW_LADDR, DEL_LADDR, GET_LADDR: registered by the FULLNAT fork, by nobody else."""

V3_SYSCTLS: Final = ("conn_max_num", "reserve_core", "csum_offload", "fast_response_xmit_inside")
"""Files below ``/proc/sys/net/ipv4/vs`` that the fork's third version has and the second lacks."""

_U16: Final = Struct("=H")
_U32: Final = Struct("=I")


@final
class Dialect(Enum):
    """The three IPVS interfaces; the value is the name that operators see."""

    MAINLINE = "mainline"
    FORK_V2 = "fork-v2"
    FORK_V3 = "fork-v3"


@final
@dataclass(frozen=True, slots=True)
class Traits:
    """What a dialect can do, and where it differs on the wire."""

    dialect: Dialect
    native_fullnat: bool
    """Forwarding method 5 and local addresses are real."""
    native_synproxy: bool
    """Service flag 0x8000 is real."""
    established_timeout: bool
    """Service attribute 11 is the established timeout (u32), sent with every SET_SERVICE."""
    engines: bool
    """Service attribute 11 is the name of a persistence engine."""
    tunnels: bool
    """Destinations have a tunnel type, port and flags."""
    mixed_families: bool
    """Destinations tell their address family, and it may differ from the service's."""
    zero: bool
    """Counters can be zeroed; fork v3 answers EACCES to everybody."""
    destination_head: tuple[tuple[int, int], ...]
    """Attributes of a dumped destination before the connection counters: (type, value length)."""
    destination_family: int
    """Offset of the family attribute in a dumped destination, 0 where there is none."""
    established_default: int | None = None
    """Seconds that a service gets which asks for none; read from the kernel, fork v3 only."""


_FORK_HEAD: Final = ((1, 16), (2, 2), (3, 4), (4, 4), (5, 4), (6, 4))
_MAINLINE_HEAD: Final = (
    (1, 16), (2, 2), (3, 4), (4, 4), (13, 1), (14, 2), (15, 2), (5, 4), (6, 4),
)  # fmt: skip

MAINLINE: Final = Traits(
    dialect=Dialect.MAINLINE,
    native_fullnat=False,
    native_synproxy=False,
    established_timeout=False,
    engines=True,
    tunnels=True,
    mixed_families=True,
    zero=True,
    destination_head=_MAINLINE_HEAD,
    destination_family=108,
)
FORK_V2: Final = Traits(
    dialect=Dialect.FORK_V2,
    native_fullnat=True,
    native_synproxy=True,
    established_timeout=False,
    engines=False,
    tunnels=False,
    mixed_families=False,
    zero=True,
    destination_head=_FORK_HEAD,
    destination_family=0,
)
FORK_V3: Final = Traits(
    dialect=Dialect.FORK_V3,
    native_fullnat=True,
    native_synproxy=True,
    established_timeout=True,
    engines=False,
    tunnels=False,
    mixed_families=False,
    zero=False,
    destination_head=_FORK_HEAD,
    destination_family=0,
)

TRAITS: Final = {traits.dialect: traits for traits in (MAINLINE, FORK_V2, FORK_V3)}


@final
@dataclass(frozen=True, slots=True)
class FamilyReply:
    """What the kernel answers to a lookup of a generic netlink family."""

    number: int
    """Message type of the family's messages; changes when the module is loaded again."""
    name: str
    operations: frozenset[int]
    """Registered commands."""


def family_request(sequence: int) -> bytes:
    """Return the lookup of the IPVS family (CTRL_CMD_GETFAMILY)."""
    name = attribute(CTRL_ATTR_FAMILY_NAME, FAMILY_NAME.encode() + b"\0")
    payload = GENERIC.pack(CTRL_CMD_GETFAMILY, 1, 0) + name
    return message(GENL_ID_CTRL, NLM_F_REQUEST, sequence, payload)


def parse_family(data: bytes, start: int, end: int) -> FamilyReply:
    """Return the family in the CTRL_CMD_NEWFAMILY message at *start*; raise :class:`CodecError`."""
    if command_of(data, start, end) != CTRL_CMD_NEWFAMILY:
        raise CodecError("not the description of a generic netlink family")
    number, name, operations = 0, "", frozenset[int]()
    for kind, first, last in walk(data, start + PAYLOAD, end):
        match kind:
            case 1 if last - first == 2:  # CTRL_ATTR_FAMILY_ID
                number = _U16.unpack_from(data, first)[0]
            case 2:  # CTRL_ATTR_FAMILY_NAME
                name = data[first:last].rstrip(b"\0").decode("ascii", "replace")
            case 6:  # CTRL_ATTR_OPS
                operations = _operations(data, first, last)
            case _:
                pass
    if not number:
        raise CodecError("a generic netlink family without its number")
    return FamilyReply(number, name, operations)


def _operations(data: bytes, start: int, end: int) -> frozenset[int]:
    found = set()
    for _, first, last in walk(data, start, end):
        for kind, value, stop in walk(data, first, last):
            if kind == CTRL_ATTR_OP_ID and stop - value == 4:
                found.add(_U32.unpack_from(data, value)[0])
    return frozenset(found)


def probe(
    operations: AbstractSet[int],
    *,
    sysctls: AbstractSet[str] = frozenset(),
    established_seen: bool = False,
) -> Dialect:
    """Return the dialect of a kernel that registers *operations*.

    *sysctls* are the names below ``/proc/sys/net/ipv4/vs``; *established_seen* tells that a dumped
    service carried attribute 11. Each is enough to tell the fork's third version from the second.
    """
    if not operations >= LOCAL_ADDRESS_COMMANDS:
        return Dialect.MAINLINE
    if established_seen or not sysctls.isdisjoint(V3_SYSCTLS):
        return Dialect.FORK_V3
    return Dialect.FORK_V2
