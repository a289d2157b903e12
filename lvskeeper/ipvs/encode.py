"""Requests to the IPVS family, byte for byte.

Integers are in host order but for ports and the IPv4 netmask. Addresses always take 16 bytes and
nests go without ``NLA_F_NESTED``, as every kernel since 2.6.28 understands.
"""

from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias, final

from lvskeeper.ipvs.control import SyncDaemon, SyncState, Timeouts
from lvskeeper.ipvs.dialect import FAMILY_VERSION, Traits
from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import (
    Destination,
    Family,
    Forward,
    Service,
    ServiceFlag,
    ServiceKey,
    TunnelType,
)
from lvskeeper.ipvs.wire import (
    GENERIC,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attribute,
    message,
)
from lvskeeper.units import Address


@final
class Command(IntEnum):
    """``IPVS_CMD_*``; the last three are the FULLNAT fork's."""

    NEW_SERVICE = 1
    SET_SERVICE = 2
    DEL_SERVICE = 3
    GET_SERVICE = 4
    NEW_DEST = 5
    SET_DEST = 6
    DEL_DEST = 7
    GET_DEST = 8
    NEW_DAEMON = 9
    DEL_DAEMON = 10
    GET_DAEMON = 11
    SET_CONFIG = 12
    GET_CONFIG = 13
    SET_INFO = 14
    GET_INFO = 15
    ZERO = 16
    FLUSH = 17
    NEW_LADDR = 18
    DEL_LADDR = 19
    GET_LADDR = 20


ATTR_SERVICE: Final = 1
ATTR_DEST: Final = 2
ATTR_DAEMON: Final = 3
ATTR_LADDR: Final = 7

NESTED: Final = frozenset({ATTR_SERVICE, ATTR_DEST, ATTR_DAEMON, ATTR_LADDR})
"""Top-level attributes that hold attributes, in all messages but the answer to GET_INFO."""

ALL_FLAGS: Final = 0xFFFFFFFF
"""Mask of the flags attribute: replace them all. The kernel adds HASHED by itself."""

# Members of an enumeration as plain globals: in a loop over a table the look-ups would show.
_FULLNAT: Final = Forward.FULLNAT
_INET6: Final = Family.INET6
_IPIP: Final = TunnelType.IPIP

_HEAD: Final = Struct("=IHHIIBBH")
_U8: Final = Struct("=B")
_U16: Final = Struct("=H")
_U32: Final = Struct("=I")
_FLAGS: Final = Struct("=II")
_KEY: Final = Struct("=HHH2xHHH2xHH16sHH2s2x")
_MARK_KEY: Final = Struct("=HHH2xHHI")
_DEST: Final = Struct("=HHHH16sHH2s2xHHIHHiHHIHHI")
_DEST_KEY: Final = Struct("=HHHH16sHH2s2x")
_DEST_FAMILY: Final = Struct("=HHH2x")
_TUNNEL: Final = Struct("=HHB3xHH2s2xHHH2x")

_Full: TypeAlias = AddService | SetService
_KeyOnly: TypeAlias = DelService | AddDest | SetDest | DelDest | AddLocal | DelLocal


@final
class DialectError(Exception):
    """A bug of ours: something was about to leave for a kernel that would swallow it in silence."""


def netmask(family: Family, prefix: int) -> bytes:
    """Return the netmask attribute's value: IPv4 mask in network order, IPv6 prefix length."""
    if family is Family.INET6:
        return _U32.pack(prefix)
    return (0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF).to_bytes(4, "big")


def service_key(key: ServiceKey) -> bytes:
    """Return the attributes that name a service, without their nest."""
    if key.fwmark:
        return _MARK_KEY.pack(6, 1, key.family, 8, 5, key.fwmark)
    port = key.port.to_bytes(2, "big")
    return _KEY.pack(6, 1, key.family, 6, 2, key.protocol, 20, 3, key.address, 6, 4, port)


def service_nest(service: Service, traits: Traits) -> bytes:
    """Return the full service attribute, as NEW_SERVICE and SET_SERVICE need it.

    Raises :class:`DialectError` for what the dialect does not know.
    """
    _check_service(service, traits)
    key = service.key
    parts = [service_key(key), attribute(6, service.scheduler.encode("ascii") + b"\0")]
    if service.engine:
        parts.append(attribute(11, service.engine.encode("ascii") + b"\0"))
    parts += (
        attribute(7, _FLAGS.pack(service.flags, ALL_FLAGS)),
        attribute(8, _U32.pack(service.persistence)),
        attribute(9, netmask(key.family, service.prefix)),
    )
    if service.established is not None:
        parts.append(attribute(11, _U32.pack(service.established)))
    return attribute(ATTR_SERVICE, b"".join(parts))


def _check_service(service: Service, traits: Traits) -> None:
    if service.flags & ServiceFlag.SYNPROXY and not traits.native_synproxy:
        raise DialectError(f"SYNPROXY flag of {service.key} for {traits.dialect.value}")
    if service.established is not None and not traits.established_timeout:
        raise DialectError(f"established timeout of {service.key} for {traits.dialect.value}")
    if service.engine and not traits.engines:
        raise DialectError(f"persistence engine of {service.key} for {traits.dialect.value}")


def destination_nest(destination: Destination, family: Family, traits: Traits) -> bytes:
    """Return the full destination attribute, as NEW_DEST and SET_DEST need it.

    *family* is the service's; family and tunnel attributes are sent where they are not the default.
    Raises :class:`DialectError` for what the dialect does not know.
    """
    address = destination.key.address
    forward = destination.forward
    if forward is _FULLNAT and not traits.native_fullnat:
        raise DialectError(f"FULLNAT destination {destination.key} for {traits.dialect.value}")
    rest = b""
    if (len(address) == 16) != (family is _INET6):
        if not traits.mixed_families:
            raise DialectError(f"destination {destination.key} in a service of another family")
        rest = _DEST_FAMILY.pack(6, 11, Family.of(address))
    kind, tunnel_port = destination.tunnel_type, destination.tunnel_port
    flags = destination.tunnel_flags
    if kind is not _IPIP or tunnel_port or flags:
        if not traits.tunnels:
            raise DialectError(f"tunnel of destination {destination.key}")
        rest += _TUNNEL.pack(5, 13, kind, 6, 14, tunnel_port.to_bytes(2, "big"), 6, 15, flags)
    return (
        _DEST.pack(
            _DEST.size + len(rest), ATTR_DEST, 20, 1, address,
            6, 2, destination.key.port.to_bytes(2, "big"), 8, 3, forward,
            8, 4, destination.weight, 8, 5, destination.upper, 8, 6, destination.lower,
        )
        + rest
    )  # fmt: skip


@final
class Encoder:
    """Makes requests for one kernel: its family number and its dialect."""

    def __init__(self, number: int, traits: Traits) -> None:
        self.number: Final = number
        self.traits: Final = traits
        self._key: ServiceKey | None = None
        self._nest = b""

    def operation(self, operation: Operation, sequence: int, *, acknowledge: bool = True) -> bytes:
        """Return the request for *operation*; raise :class:`DialectError`."""
        if isinstance(operation, AddService | SetService):
            return self._service(operation, sequence, acknowledge=acknowledge)
        key = operation.service
        command, rest = self._rest(operation, key.family)
        flags = NLM_F_REQUEST | NLM_F_ACK if acknowledge else NLM_F_REQUEST
        nest = self._service_key(key)
        size = _HEAD.size + len(nest) + len(rest)
        head = _HEAD.pack(size, self.number, flags, sequence, 0, command, FAMILY_VERSION, 0)
        return head + nest + rest

    def _rest(self, operation: _KeyOnly, family: Family) -> tuple[Command, bytes]:
        """Return the command and what follows the key of the service."""
        match operation:
            case AddDest(destination=destination):
                return Command.NEW_DEST, destination_nest(destination, family, self.traits)
            case SetDest(destination=destination):
                return Command.SET_DEST, destination_nest(destination, family, self.traits)
            case DelDest(destination=destination):
                return Command.DEL_DEST, self._destination_key(destination, family)
            case DelService():
                return Command.DEL_SERVICE, b""
            case AddLocal(address=address):
                return Command.NEW_LADDR, self._local(address)
            case DelLocal(address=address):
                return Command.DEL_LADDR, self._local(address)

    def request(
        self, command: Command, sequence: int, payload: bytes = b"", *, flags: int = NLM_F_ACK
    ) -> bytes:
        """Return a request with ready-made attributes."""
        head = GENERIC.pack(command, FAMILY_VERSION, 0)
        return message(self.number, NLM_F_REQUEST | flags, sequence, head + payload)

    def get_service(self, key: ServiceKey, sequence: int) -> bytes:
        """Return the request for one service; its answer is a single message."""
        return self.request(Command.GET_SERVICE, sequence, self._service_key(key), flags=0)

    def dump_services(self, sequence: int) -> bytes:
        """Return the request for all services."""
        return self.request(Command.GET_SERVICE, sequence, flags=NLM_F_DUMP)

    def dump_destinations(self, key: ServiceKey, sequence: int) -> bytes:
        """Return the request for all destinations of a service."""
        return self.request(Command.GET_DEST, sequence, self._service_key(key), flags=NLM_F_DUMP)

    def dump_local_addresses(self, key: ServiceKey, sequence: int) -> bytes:
        """Return the request for all local addresses of a service; raise :class:`DialectError`."""
        if not self.traits.native_fullnat:
            raise DialectError(f"local addresses of {key} for {self.traits.dialect.value}")
        return self.request(Command.GET_LADDR, sequence, self._service_key(key), flags=NLM_F_DUMP)

    def zero(self, sequence: int, key: ServiceKey | None = None) -> bytes:
        """Return the request to zero the counters of one service, or of all."""
        payload = self._service_key(key) if key else b""
        return self.request(Command.ZERO, sequence, payload)

    def flush(self, sequence: int) -> bytes:
        """Return the request to delete every service, ours or not."""
        return self.request(Command.FLUSH, sequence)

    def info(self, sequence: int) -> bytes:
        """Return the request for version and table size."""
        return self.request(Command.GET_INFO, sequence, flags=0)

    def timeouts(self, sequence: int) -> bytes:
        """Return the request for the connection timeouts."""
        return self.request(Command.GET_CONFIG, sequence, flags=0)

    def set_timeouts(self, timeouts: Timeouts, sequence: int) -> bytes:
        """Return the request to set the connection timeouts; 0 keeps one."""
        values = (timeouts.tcp, timeouts.tcp_fin, timeouts.udp)
        payload = b"".join(
            attribute(kind, _U32.pack(value)) for kind, value in enumerate(values, start=4)
        )
        return self.request(Command.SET_CONFIG, sequence, payload)

    def start_daemon(self, daemon: SyncDaemon, sequence: int) -> bytes:
        """Return the request to start a sync daemon."""
        parts = [
            attribute(1, _U32.pack(daemon.state)),
            attribute(2, daemon.interface.encode() + b"\0"),
            attribute(3, _U32.pack(daemon.sync_id)),
        ]
        if daemon.payload:
            parts.append(attribute(4, _U16.pack(daemon.payload)))
        if daemon.group:
            parts.append(attribute(5 if len(daemon.group) == 4 else 6, daemon.group))
        if daemon.port:
            parts.append(attribute(7, _U16.pack(daemon.port)))
        if daemon.ttl:
            parts.append(attribute(8, _U8.pack(daemon.ttl)))
        payload = attribute(ATTR_DAEMON, b"".join(parts))
        return self.request(Command.NEW_DAEMON, sequence, payload)

    def stop_daemon(self, state: SyncState, sequence: int) -> bytes:
        """Return the request to stop the sync daemon of one direction."""
        payload = attribute(ATTR_DAEMON, attribute(1, _U32.pack(state)))
        return self.request(Command.DEL_DAEMON, sequence, payload)

    def dump_daemons(self, sequence: int) -> bytes:
        """Return the request for the running sync daemons."""
        return self.request(Command.GET_DAEMON, sequence, flags=NLM_F_DUMP)

    def _service_key(self, key: ServiceKey) -> bytes:
        """Keep the nest of the last service: operations and dumps come service by service."""
        if key is not self._key:
            self._nest = attribute(ATTR_SERVICE, service_key(key))
            self._key = key
        return self._nest

    def _service(self, operation: _Full, sequence: int, *, acknowledge: bool) -> bytes:
        added = isinstance(operation, AddService)
        command = Command.NEW_SERVICE if added else Command.SET_SERVICE
        nest = service_nest(operation.wanted, self.traits)
        return self.request(command, sequence, nest, flags=NLM_F_ACK if acknowledge else 0)

    def _destination_key(self, destination: Destination, family: Family) -> bytes:
        address, port = destination.key.address, destination.key.port.to_bytes(2, "big")
        rest = b""
        if (len(address) == 16) != (family is Family.INET6):
            rest = _DEST_FAMILY.pack(6, 11, Family.of(address))
        size = _DEST_KEY.size + len(rest)
        return _DEST_KEY.pack(size, ATTR_DEST, 20, 1, address, 6, 2, port) + rest

    def _local(self, address: Address) -> bytes:
        if not self.traits.native_fullnat:
            raise DialectError(f"local address for {self.traits.dialect.value}")
        return attribute(ATTR_LADDR, attribute(1, address.ljust(16, b"\0")))
