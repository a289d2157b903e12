"""Services, destinations and local addresses as the IPVS family answers them.

Everything is decoded by length: unknown attributes are passed over, 32 and 64 bit counters are told
apart by their size. Functions take a datagram and the range of one message in it, and raise
:class:`~lvskeeper.ipvs.wire.CodecError` for anything that cannot be read.
"""

from struct import Struct
from typing import Final, final

from lvskeeper.ipvs.control import LocalAddressStats
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.encode import ATTR_DEST, ATTR_LADDR, ATTR_SERVICE, Command
from lvskeeper.ipvs.types import (
    HASHED,
    Destination,
    DestKey,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
    ServiceKey,
    TunnelType,
)
from lvskeeper.ipvs.wire import (
    HEADER_SIZE,
    PAYLOAD,
    CodecError,
    command_of,
    walk,
)
from lvskeeper.units import NO_ADDRESS, Address

NO_PREFIX: Final = -1
"""Prefix of a netmask with holes, which the kernel accepts and nobody wants."""

EST_TIMEOUT: Final = 11
"""Service attribute of the established timeout, on fork v3."""
PE_NAME: Final = 11
"""Service attribute of the persistence engine, on mainline: the same number."""

STATS: Final = 10

MEMO_LIMIT: Final = 4_096
"""Runs of bytes that a reader remembers before it starts afresh."""

_ADDRESS_AT: Final = 44
"""Where a kernel writes a service's address in a message, and its port."""
_PORT_AT: Final = 64

_I32: Final = Struct("=i")
_U16: Final = Struct("=H")
_U32: Final = Struct("=I")
_U64: Final = Struct("=Q")

_PROTOCOLS: Final = {int(protocol): protocol for protocol in Protocol}

FORWARDS: Final = (*(Forward(number) for number in range(6)), Forward.BYPASS, Forward.BYPASS)
"""By the three bits of the method. 6 and 7 mean nothing, yet a kernel stores them: as BYPASS they
differ from all that is ever wanted, and get repaired."""


def unsigned(data: bytes, start: int, end: int) -> int:
    """Return an integer of 1, 2, 4 or 8 bytes in host order."""
    match end - start:
        case 4:
            value: int = _U32.unpack_from(data, start)[0]
        case 8:
            value = _U64.unpack_from(data, start)[0]
        case 2:
            value = _U16.unpack_from(data, start)[0]
        case 1:
            value = data[start]
        case size:
            raise CodecError(f"an integer of {size} bytes")
    return value


def _port(data: bytes, start: int, end: int) -> int:
    if end - start != 2:
        raise CodecError(f"a port of {end - start} bytes")
    return int.from_bytes(data[start:end], "big")


def text(data: bytes, start: int, end: int) -> str:
    """Return a nul-terminated string."""
    return data[start:end].split(b"\0", 1)[0].decode("utf-8", "replace")


def _family(number: int) -> Family:
    if number not in (Family.INET, Family.INET6):
        raise CodecError(f"address family {number}")
    return Family.INET if number == Family.INET else Family.INET6


def address_in(data: bytes, start: int, end: int, family: Family) -> Address:
    """Return the address of *family* at the head of an attribute of up to 16 bytes."""
    size = 4 if family is Family.INET else 16
    if end - start < size:
        raise CodecError(f"an address of {end - start} bytes")
    return Address(data[start : start + size])


def nest(data: bytes, start: int, end: int, wanted: int) -> tuple[int, int]:
    """Return the range of the nest of type *wanted* in the message at *start*."""
    for kind, first, last in walk(data, start + PAYLOAD, end):
        if kind == wanted:
            return first, last
    raise CodecError(f"no attribute {wanted} in a message of command {data[start + 16]}")


def expect(data: bytes, start: int, end: int, command: Command) -> None:
    """Raise :class:`CodecError` unless the message at *start* is of *command*."""
    found = command_of(data, start, end)
    if found != command:
        raise CodecError(f"command {found} where {command.name} was expected")


def prefix_of(data: bytes, family: Family) -> int:
    """Return the prefix length that a netmask attribute's 4 bytes tell; :data:`NO_PREFIX` if none.

    Inverse of :func:`lvskeeper.ipvs.encode.netmask`.
    """
    if len(data) != 4:
        raise CodecError(f"a netmask of {len(data)} bytes")
    if family is Family.INET6:
        prefix: int = _U32.unpack(data)[0]
        return prefix
    holes = ~int.from_bytes(data, "big") & 0xFFFFFFFF
    return NO_PREFIX if holes & (holes + 1) else 32 - holes.bit_length()


def _ranges(data: bytes, start: int, end: int) -> dict[int, tuple[int, int]]:
    return {kind: (first, last) for kind, first, last in walk(data, start, end)}


def _number(data: bytes, fields: dict[int, tuple[int, int]], kind: int) -> int:
    return unsigned(data, *fields[kind]) if kind in fields else 0


def read_service(data: bytes, start: int, end: int, traits: Traits) -> Service | None:
    """Return the service in a GET_SERVICE answer or in a request that carries a full one.

    ``None`` where its protocol is none that we know: another program's, and none of ours.
    Persistence and granularity are dropped where the service is not persistent, as the kernel
    ignores them then.
    """
    fields = _ranges(data, *nest(data, start, end, ATTR_SERVICE))
    key = _service_key(data, fields)
    if key is None:
        return None
    try:
        (name, name_end), (flags_at, flags_end), mask = fields[6], fields[7], fields[9]
    except KeyError as error:
        raise CodecError(f"a service without attribute {error}") from error
    flags = ServiceFlag(unsigned(data, flags_at, min(flags_at + 4, flags_end)) & ~HASHED)
    persistence, prefix = 0, key.family.host_prefix
    if flags & ServiceFlag.PERSISTENT:
        persistence = _number(data, fields, 8)
        prefix = prefix_of(data[slice(*mask)], key.family)
    return Service(
        key=key,
        scheduler=text(data, name, name_end),
        flags=flags,
        persistence=persistence,
        prefix=prefix,
        engine=text(data, *fields[PE_NAME]) if traits.engines and PE_NAME in fields else "",
        established=_number(data, fields, EST_TIMEOUT) or None
        if traits.established_timeout
        else None,
    )


@final
class ServiceReader:
    """Reads services of GET_SERVICE dumps, and remembers what the bytes around the address mean.

    A service's counters stand at its end and have one size; what comes before them is the service.
    """

    def __init__(self, traits: Traits) -> None:
        self._traits: Final = traits
        self._memo: dict[bytes, Service | None] = {}
        self._tail = 0
        self._counters = b""

    def read(self, data: bytes, start: int, end: int) -> Service | None:
        """Return the service in the message at *start*, as :func:`read_service` does."""
        cut = end - self._tail
        address, port = start + _ADDRESS_AT, start + _PORT_AT
        shape = b"%b%b%b" % (
            data[start + HEADER_SIZE : address],
            data[address + 16 : port],
            data[port + 2 : cut],
        )
        if shape not in self._memo or data[cut : cut + 4] != self._counters:
            return self._learn(data, start, end)
        like = self._memo[shape]
        if like is None:
            return None
        family, protocol = like.key.family, like.key.protocol
        size = 4 if family is Family.INET else 16
        key = ServiceKey(
            family,
            protocol,
            Address(data[address : address + size]),
            int.from_bytes(data[port : port + 2], "big"),
        )
        return Service(
            key,
            like.scheduler,
            like.flags,
            like.persistence,
            like.prefix,
            like.engine,
            like.established,
        )

    def _learn(self, data: bytes, start: int, end: int) -> Service | None:
        found = read_service(data, start, end, self._traits)
        fields = _ranges(data, *nest(data, start, end, ATTR_SERVICE))
        address, port = start + _ADDRESS_AT, start + _PORT_AT
        usual = fields.get(3) == (address, address + 16) and fields.get(4) == (port, port + 2)
        if not usual or STATS not in fields:
            return found
        cut = fields[STATS][0] - 4
        if end - cut != self._tail or len(self._memo) >= MEMO_LIMIT:
            self._memo.clear()
            self._tail, self._counters = end - cut, data[cut : cut + 4]
        around = data[start + HEADER_SIZE : address] + data[address + 16 : port]
        self._memo[around + data[port + 2 : cut]] = found
        return found


def read_service_key(data: bytes, start: int, end: int) -> ServiceKey | None:
    """Return the key of the service that a request names, ``None`` for an unknown protocol."""
    return _service_key(data, _ranges(data, *nest(data, start, end, ATTR_SERVICE)))


def has_attribute(data: bytes, start: int, end: int, kind: int) -> bool:
    """Return whether the service in the message at *start* carries attribute *kind*."""
    return kind in _ranges(data, *nest(data, start, end, ATTR_SERVICE))


def _service_key(data: bytes, fields: dict[int, tuple[int, int]]) -> ServiceKey | None:
    family = _family(_number(data, fields, 1))
    if mark := _number(data, fields, 5):
        return ServiceKey(family, Protocol.TCP, fwmark=mark)
    protocol = _PROTOCOLS.get(_number(data, fields, 2))
    if protocol is None:
        return None
    try:
        address, port = fields[3], fields[4]
    except KeyError as error:
        raise CodecError(f"a service without attribute {error}") from error
    return ServiceKey(family, protocol, address_in(data, *address, family), _port(data, *port))


def read_destination(data: bytes, start: int, end: int, family: Family) -> Destination:
    """Return the destination in any message that carries a full one, attribute by attribute."""
    first, last = nest(data, start, end, ATTR_DEST)
    fields: dict[int, bytes | int] = {}
    for kind, at, stop in walk(data, first, last):
        match kind:
            case 1:
                fields[kind] = data[at:stop]
            case 2 | 14:
                _port(data, at, stop)
                fields[kind] = data[at:stop]
            case 15:
                fields[kind] = data[at:stop]
            case 4 if stop - at == 4:
                fields[kind] = _I32.unpack_from(data, at)[0]
            case 3 | 5 | 6 | 13:
                fields[kind] = unsigned(data, at, stop)
            case 11:
                family = _family(unsigned(data, at, stop) or family)
            case _:
                pass
    if 1 not in fields or 2 not in fields:
        raise CodecError("a destination without address or port")
    return _destination(fields, family)


def _destination(fields: "dict[int, bytes | int]", family: Family) -> Destination:
    address, port = fields[1], fields[2]
    assert isinstance(address, bytes)
    assert isinstance(port, bytes)
    if len(address) < (4 if family is Family.INET else 16):
        raise CodecError(f"an address of {len(address)} bytes")
    tunnel_port, tunnel_flags = fields.get(14, b"\0\0"), fields.get(15, b"\0\0")
    assert isinstance(tunnel_port, bytes)
    assert isinstance(tunnel_flags, bytes)
    try:
        tunnel = TunnelType(int(fields.get(13, 0)))
    except ValueError as error:
        raise CodecError(str(error)) from error
    return Destination(
        DestKey(
            Address(address[:4] if family is Family.INET else address),
            int.from_bytes(port, "big"),
        ),
        FORWARDS[int(fields.get(3, 0)) & 7],
        int(fields.get(4, 0)),
        int(fields.get(5, 0)),
        int(fields.get(6, 0)),
        tunnel,
        int.from_bytes(tunnel_port, "big"),
        unsigned(tunnel_flags, 0, len(tunnel_flags)),
    )


def read_local_address(data: bytes, start: int, end: int, family: Family) -> LocalAddressStats:
    """Return the local address in a GET_LADDR answer of a service of *family*."""
    first, last = nest(data, start, end, ATTR_LADDR)
    address, conflicts, connections = NO_ADDRESS, 0, 0
    for kind, at, stop in walk(data, first, last):
        match kind:
            case 1:
                address = address_in(data, at, stop, family)
            case 2:
                conflicts = unsigned(data, at, stop)
            case 3:
                connections = unsigned(data, at, stop)
            case _:
                pass
    if not address:
        raise CodecError("a local address without its address")
    return LocalAddressStats(address, conflicts, connections)
