"""A kernel's IPVS in memory: as strict as the real one, in all three dialects.

:class:`FakeIpvs` is its table and its rules, errors included. :meth:`FakeIpvs.socket` is a socket
factory, so the real client can talk to it in bytes.
"""

import errno
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from struct import pack
from typing import TypeVar

from lvskeeper.ipvs.control import SyncState, Timeouts
from lvskeeper.ipvs.decode import (
    read_destination,
    read_local_address,
    read_service,
    read_service_key,
)
from lvskeeper.ipvs.decode_control import read_daemon
from lvskeeper.ipvs.dialect import (
    GENL_ID_CTRL,
    MAINLINE,
    V3_SYSCTLS,
    Dialect,
    Traits,
)
from lvskeeper.ipvs.encode import Command, Encoder, netmask, service_key
from lvskeeper.ipvs.operation import Operation
from lvskeeper.ipvs.types import (
    HASHED,
    SCHEDULERS,
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceKey,
    TunnelType,
)
from lvskeeper.ipvs.wire import (
    GENERIC,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    message,
    messages,
)
from lvskeeper.units import Address, format_address

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

FAMILY = 0x2A
EST_DEFAULT = 90
SCHEDULERS_OF_THE_FORK = frozenset(
    {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq"}
)


@dataclass
class _Held:
    service: Service
    destinations: dict[DestKey, Destination] = field(default_factory=dict)
    locals: dict[Address, None] = field(default_factory=dict)


class FakeIpvs:
    """The table, and what the kernel says to each request."""

    def __init__(
        self,
        traits: Traits = MAINLINE,
        *,
        schedulers: frozenset[str] = frozenset(SCHEDULERS),
        own: frozenset[Address] = frozenset(),
    ) -> None:
        self.traits = traits
        self.own = own
        """Addresses of the director itself."""
        self.active: dict[DestKey, int] = {}
        """Active connections of destinations, 7 where nothing is said."""
        self.idle = 8
        """Inactive connections of each."""
        self.templates = 9
        """Templates of persistence of each."""
        self.locals_counted: dict[Address, tuple[int, int]] = {}
        """Conflicts and connections of local addresses."""
        self.family = FAMILY
        """Number of the family; another one after the module was loaded anew."""
        self.loaded = True
        """Whether the module is there."""
        self.permitted = True
        self.newborn: set[SyncState] = set()
        """Sync daemons whose thread has not run yet."""
        self.daemons: dict[SyncState, bytes] = {}
        """Sync daemons that run, as they were asked for."""
        self.timeouts = Timeouts(900, 120, 300)
        self.writes: list[Command] = []
        """Commands that would change something, in order of arrival."""
        fork = traits.native_fullnat
        self.schedulers = schedulers & SCHEDULERS_OF_THE_FORK if fork else schedulers
        self._held: dict[ServiceKey, _Held] = {}

    @property
    def table(self) -> dict[ServiceKey, Entry]:
        """What it holds."""
        return {
            key: Entry(held.service, dict(held.destinations), frozenset(held.locals))
            for key, held in self._held.items()
        }

    def load(self, table: dict[ServiceKey, Entry]) -> None:
        """Hold *table*, without a question."""
        self._held = {
            key: _Held(
                entry.service, dict(entry.destinations), dict.fromkeys(entry.local_addresses)
            )
            for key, entry in table.items()
        }

    def apply(self, operations: Sequence[Operation]) -> list[tuple[Operation, int]]:
        """Do *operations* through their bytes; return those that failed, with their errno."""
        encoder = Encoder(self.family, self.traits)
        failed = []
        for number, operation in enumerate(operations, start=1):
            request = encoder.operation(operation, number)
            if code := self.handle(request):
                failed.append((operation, code))
        return failed

    def sysctls(self) -> frozenset[str]:
        """Names below /proc/sys/net/ipv4/vs."""
        return frozenset(V3_SYSCTLS if self.traits.dialect is Dialect.FORK_V3 else ())

    def handle(self, request: bytes) -> int:  # noqa: PLR0911 - a rule a return, in the kernel's order
        """Carry out one changing request; return its errno, 0 for success."""
        command = Command(request[16])
        self.writes.append(command)
        if command in (Command.NEW_LADDR, Command.DEL_LADDR) and not self.traits.native_fullnat:
            return errno.EOPNOTSUPP
        if command is Command.FLUSH:
            self._held.clear()
            return 0
        if command is Command.SET_CONFIG:
            return 0
        key = read_service_key(request, 0, len(request))
        if key is None:
            return errno.EINVAL
        if command in (Command.NEW_SERVICE, Command.SET_SERVICE):
            return self._service(command, key, request)
        held = self._held.get(key)
        if held is None:
            return errno.ESRCH
        if command is Command.ZERO:
            return 0 if self.traits.zero else errno.EACCES
        if command is Command.DEL_SERVICE:
            del self._held[key]
            return 0
        if command in (Command.NEW_LADDR, Command.DEL_LADDR):
            address = read_local_address(request, 0, len(request), key.family).address
            return _put(held.locals, address, None, add=command is Command.NEW_LADDR)
        return self._destination(command, held, request)

    def _service(self, command: Command, key: ServiceKey, request: bytes) -> int:
        service = read_service(request, 0, len(request), self.traits)
        assert service is not None
        held = self._held.get(key)
        if command is Command.NEW_SERVICE and held is not None:
            return errno.EEXIST
        if command is Command.SET_SERVICE and held is None:
            return errno.ESRCH
        if service.scheduler not in self.schedulers:
            return errno.ENOENT
        if self.traits.established_timeout:
            tcp = key.protocol is Protocol.TCP
            established = (service.established or EST_DEFAULT) if tcp else None
            service = replace(service, established=established)
        if held is None:
            self._held[key] = _Held(service)
        else:
            held.service = service
        return 0

    def _destination(self, command: Command, held: _Held, request: bytes) -> int:
        family = held.service.key.family
        destination = read_destination(request, 0, len(request), family)
        if command is Command.DEL_DEST:
            return _put(held.destinations, destination.key, destination, add=False)
        if code := _refusal(destination, family, self.traits):
            return code
        if self.traits.native_fullnat and destination.key.address in self.own:
            destination = destination._replace(forward=Forward.LOCAL)
        if command is Command.SET_DEST:
            if destination.key not in held.destinations:
                return errno.ENOENT
            held.destinations[destination.key] = destination
            return 0
        return _put(held.destinations, destination.key, destination, add=True)

    def socket(self) -> "FakeSocket":
        """Return a socket to this kernel."""
        return FakeSocket(self)

    def answer(self, request: bytes) -> list[bytes]:  # noqa: PLR0911 - a rule a return
        """Return the datagrams that answer one message."""
        _, kind, flags, sequence, _ = HEADER.unpack_from(request)
        if kind == GENL_ID_CTRL:
            return [self._lookup(sequence)]
        if kind != self.family or not self.loaded:
            return [_error(sequence, errno.ENOENT, request)]
        if not self.permitted:
            return [_error(sequence, errno.EPERM, request)]
        command = request[16]
        if flags & NLM_F_DUMP:
            return self._dump(command, sequence, request)
        match command:
            case Command.GET_SERVICE:
                return [self._get_service(sequence, request)]
            case Command.GET_INFO:
                body = attribute(1, pack("=I", 0x10201)) + attribute(2, pack("=I", 4096))
                return [_reply(sequence, Command.SET_INFO, body)]
            case Command.GET_CONFIG:
                values = (self.timeouts.tcp, self.timeouts.tcp_fin, self.timeouts.udp)
                parts = [attribute(4 + at, pack("=I", each)) for at, each in enumerate(values)]
                return [_reply(sequence, Command.SET_CONFIG, b"".join(parts))]
            case Command.NEW_DAEMON | Command.DEL_DAEMON:
                return self._daemon(command, sequence, request)
            case _:
                code = self.handle(request)
                return [_error(sequence, code, request)] if code or flags & NLM_F_ACK else []

    def _daemon(self, command: int, sequence: int, request: bytes) -> list[bytes]:
        state = read_daemon(request, 0, len(request)).state
        if command == Command.NEW_DAEMON:
            self.daemons[state] = request[20:]
            return [_error(sequence, 0, request)]
        if state in self.newborn:
            self.newborn.remove(state)
            return []  # its thread ends with EINTR, which netlink_rcv_skb() does not tell
        if self.daemons.pop(state, None) is None:
            return [_error(sequence, errno.ESRCH, request)]
        return []

    def _lookup(self, sequence: int) -> bytes:
        if not self.loaded:
            return _error(sequence, errno.ENOENT, b"")
        numbers = [*range(1, 14), 15, 16, 17]
        if self.traits.native_fullnat:
            numbers += (18, 19, 20)
        operations = b"".join(
            attribute(at, attribute(1, pack("=I", number)) + attribute(2, pack("=I", 11)))
            for at, number in enumerate(numbers, start=1)
        )
        body = (
            attribute(2, b"IPVS\0")
            + attribute(1, pack("=H", self.family))
            + attribute(6, operations)
        )
        return message(GENL_ID_CTRL, 0, sequence, GENERIC.pack(1, 2, 0) + body)

    def _get_service(self, sequence: int, request: bytes) -> bytes:
        key = read_service_key(request, 0, len(request))
        held = self._held.get(key) if key else None
        if held is None:
            return _error(sequence, errno.ESRCH, request)
        return _reply(sequence, Command.NEW_SERVICE, self._format_service(held.service))

    def _dump(self, command: int, sequence: int, request: bytes) -> list[bytes]:
        parts: list[bytes] = []
        if command == Command.GET_SERVICE:
            parts = [
                _reply(
                    sequence, Command.NEW_SERVICE, self._format_service(held.service), NLM_F_MULTI
                )
                for held in self._held.values()
            ]
        elif command == Command.GET_DAEMON:
            parts = [
                _reply(sequence, Command.NEW_DAEMON, daemon, NLM_F_MULTI)
                for daemon in self.daemons.values()
            ]
        elif command in (Command.GET_DEST, Command.GET_LADDR):
            key = read_service_key(request, 0, len(request))
            held = self._held.get(key) if key else None
            if held is not None and command == Command.GET_DEST:
                parts = [
                    _reply(sequence, Command.NEW_DEST, self._format_destination(each), NLM_F_MULTI)
                    for each in reversed(held.destinations.values())
                ]
            elif held is not None:
                parts = [
                    _reply(sequence, Command.NEW_LADDR, self._format_local(each), NLM_F_MULTI)
                    for each in held.locals
                ]
        done = message(NLMSG_DONE, NLM_F_MULTI, sequence, pack("=i", 0))
        groups = [b"".join(parts[at : at + 17]) for at in range(0, len(parts), 17)]
        return [*groups, done]

    def _format_service(self, service: Service) -> bytes:
        flags = pack("=II", service.flags | HASHED, 0xFFFFFFFF)
        parts = [service_key(service.key), attribute(6, service.scheduler.encode() + b"\0")]
        if service.engine:
            parts.append(attribute(11, service.engine.encode() + b"\0"))
        parts += (
            attribute(7, flags),
            attribute(8, pack("=I", service.persistence)),
            attribute(9, netmask(service.key.family, service.prefix)),
        )
        if self.traits.established_timeout:
            parts.append(attribute(11, pack("=I", service.established or 0)))
        parts.append(self._counters())
        return attribute(1, b"".join(parts))

    def _format_destination(self, destination: Destination) -> bytes:
        address = destination.key.address
        values: dict[int, bytes] = {
            1: address.ljust(16, b"\0"),
            2: destination.key.port.to_bytes(2, "big"),
            3: pack("=I", destination.forward),
            4: pack("=i", destination.weight),
            5: pack("=I", destination.upper),
            6: pack("=I", destination.lower),
            13: bytes([destination.tunnel_type]),
            14: destination.tunnel_port.to_bytes(2, "big"),
            15: pack("=H", destination.tunnel_flags),
        }
        parts = [attribute(kind, values[kind]) for kind, _ in self.traits.destination_head]
        active = self.active.get(destination.key, 7)
        counts = (7, active), (8, self.idle), (9, self.templates)
        parts += (attribute(kind, pack("=I", count)) for kind, count in counts)
        if self.traits.mixed_families:
            parts.append(attribute(11, pack("=H", Family.of(address))))
        parts.append(self._counters())
        return attribute(2, b"".join(parts))

    def _format_local(self, address: Address) -> bytes:
        return _local(address, *self.locals_counted.get(address, (0, 0)))

    def _counters(self) -> bytes:
        narrow = not self.traits.native_fullnat
        widths = "=I" if narrow else "=Q"
        parts = [attribute(kind, pack(widths, kind)) for kind in (1, 2, 3)]
        parts += (attribute(kind, pack("=Q", kind)) for kind in (4, 5))
        parts += (attribute(kind, pack("=I", 0)) for kind in range(6, 11))
        return attribute(10, b"".join(parts))


def _local(address: Address, conflicts: int, connections: int) -> bytes:
    return attribute(
        7,
        attribute(1, address.ljust(16, b"\0"))
        + attribute(2, pack("=Q", conflicts))
        + attribute(3, pack("=I", connections)),
    )


def _put(held: dict[_Key, _Value], key: _Key, value: _Value, *, add: bool) -> int:
    if add and key in held:
        return errno.EEXIST
    if not add and key not in held:
        return errno.ENOENT
    if add:
        held[key] = value
    else:
        del held[key]
    return 0


def _refusal(destination: Destination, family: Family, traits: Traits) -> int:
    """Return the errno of a destination that the kernel does not take."""
    address = ip_address(format_address(destination.key.address))
    if destination.weight < 0 or destination.lower > destination.upper:
        return errno.ERANGE
    if address.is_multicast or address.is_unspecified:
        return errno.EINVAL
    mixed = Family.of(destination.key.address) is not family
    if mixed and (not traits.mixed_families or destination.forward is not Forward.TUN):
        return errno.EINVAL
    gue = destination.tunnel_type is TunnelType.GUE
    return errno.EINVAL if gue and not destination.tunnel_port else 0


def _reply(sequence: int, command: Command, body: bytes, flags: int = 0) -> bytes:
    return message(FAMILY, flags, sequence, GENERIC.pack(command, 1, 0) + body)


def _error(sequence: int, code: int, request: bytes) -> bytes:
    echo = request[:16].ljust(16, b"\0")
    return message(NLMSG_ERROR, 0, sequence, pack("=i", -code) + echo)


class FakeSocket:
    """A netlink socket whose other end is a :class:`FakeIpvs`."""

    def __init__(self, kernel: FakeIpvs) -> None:
        self._kernel = kernel
        self._answers: deque[bytes] = deque()
        self.closed = False

    def send(self, data: bytes, /) -> None:
        for _, _, start, end in messages(data):
            self._answers.extend(self._kernel.answer(data[start:end]))

    def recv(self) -> bytes:
        if not self._answers:
            raise TimeoutError("nothing to receive")
        return self._answers.popleft()

    def close(self) -> None:
        self.closed = True
