"""Raw sockets that send and receive VRRP adverts: protocol 112, and 51 with AH.

A :class:`Receiver` for each interface, family and protocol hears all virtual routers there; a
:class:`Sender` speaks for all instances of an interface and family, each with its own source
address and TTL. Nothing blocks. The caller registers ``fileno()`` of a receiver with its loop.

The kernel neither makes nor checks the checksum of IPv6 (``IPV6_CHECKSUM`` stays off, its default
for raw sockets of this protocol): we know the source address anyway, and a kernel that checks
would drop a wrong advert without a trace where we count it.
"""

import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final, Self, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.sockets import attach_filter, set_receive_buffer
from lvskeeper.units import NO_ADDRESS, Address, format_address
from lvskeeper.vrrp.packet import AH, GROUP4, GROUP6, LOCAL_TTL, VRRP
from lvskeeper.vrrp.validate import Received, Reject, received_ipv4, received_ipv6

DRAIN: Final = 1024
"""Most packets of one :meth:`Receiver.drain`: some 20 ms of work."""
RECEIVE_BUFFER: Final = 1 << 20
"""Bytes; the kernel counts about 800 for an advert, and doubles what is asked."""
LONGEST: Final = 8192
"""Bytes read of a packet; the longest advert has 4,088 and a trailer."""
KNOWN: Final = 1024
"""Addresses whose text or ancillary data are kept, and packets that are taken apart once."""

_NAME_SIZE: Final = 16
_VRRP: Final = bytes([VRRP])
_TOS_CONTROL: Final = 0xC0
_IP_PKTINFO: Final = 8  # socket.IP_PKTINFO came with Python 3.14
_IP_MULTICAST_ALL: Final = 49
_BPF_RETURN: Final = 0x06
_INT: Final = Struct("@i")
_MREQN: Final = Struct("@4s4si")
_MREQ6: Final = Struct("@16si")
_PKTINFO4: Final = Struct("@i4s4s")
_PKTINFO6: Final = Struct("@16si")
_ANCILLARY_SPACE: Final = socket.CMSG_SPACE(_INT.size) + socket.CMSG_SPACE(_PKTINFO6.size)

_Ancillary: TypeAlias = tuple[tuple[int, int, bytes], ...]

_OPEN_HINTS: Final = {
    errno.EPERM: "run as root, or with CAP_NET_RAW",
    errno.EACCES: "run as root, or with CAP_NET_RAW",
    errno.EAFNOSUPPORT: "this kernel has no IPv6",
    errno.EADDRNOTAVAIL: "the interface cannot join the group: is IPv6 switched off on it?",
    errno.ENOBUFS: "too many multicast groups: see net.ipv4.igmp_max_memberships",
}
_SEND_HINTS: Final = {
    errno.EPERM: "a firewall rule drops them: let IP protocols 112 and 51 out",
    errno.EINVAL: "the source is no address of this host, or still tentative",
    errno.EADDRNOTAVAIL: "the source is no address of this host, or still tentative",
    errno.ENETDOWN: "the interface is down",
    errno.ENETUNREACH: "no route, the interface is down, or the source is no address of this host",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.EAGAIN: "the transmit queue is full",
    errno.ENOBUFS: "the transmit queue is full",
    errno.EMSGSIZE: "the MTU of the interface is too small",
}


@final
class InterfaceGoneError(OperatorError):
    """The interface does not exist, or no longer; to be opened again once it is back."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"interface {name} does not exist",
            status=ExitStatus.KERNEL,
            hint="create it, or correct its name in the VRRP instance",
        )


@final
@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it was when it was looked up."""

    name: str
    index: int


def find_interface(name: str) -> Interface:
    """Return the interface *name*; raise :class:`InterfaceGoneError` where there is none."""
    try:
        return Interface(name, socket.if_nametoindex(name))
    except OSError:
        raise InterfaceGoneError(name) from None


def _where(interface: Interface | None) -> str:
    return f"on {interface.name}" if interface else "on any interface"


def _refused(
    error: OSError, doing: str, interface: Interface | None, hints: dict[int, str]
) -> OperatorError:
    """Return what the operator is told of *error*."""
    number = error.errno or 0
    if number == errno.ENODEV and interface:
        return InterfaceGoneError(interface.name)
    forbidden = hints is _OPEN_HINTS and isinstance(error, PermissionError)
    return OperatorError(
        f"cannot {doing} {_where(interface)}: {os.strerror(number)}",
        status=ExitStatus.PERMISSION if forbidden else ExitStatus.KERNEL,
        hint=hints.get(number, ""),
    )


def _raw_socket(family: int, protocol: int, interface: Interface | None) -> socket.socket:
    """Open a raw socket, on *interface* if one is given."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind, protocol)
    if interface:
        try:
            name = interface.name.encode()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        except OSError:
            made.close()
            raise
    return made


class _Socket:
    """What both directions share: the socket's life."""

    def __init__(self, raw: socket.socket, interface: Interface | None) -> None:
        self._socket: Final = raw
        self.interface: Final = interface

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    def present(self) -> bool:
        """Tell whether the interface is there; one of its name that was made anew is another.

        One that was renamed is not the one meant any more.
        """
        try:
            name = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _NAME_SIZE)
        except OSError:
            return False
        return not self.interface or name.rstrip(b"\0") == self.interface.name.encode()

    def _unsent(self, error: OSError, doing: str) -> OperatorError:
        """Return what the operator is told of an advert that was not sent."""
        # IPv4 calls it an unreachable network
        if self.interface and not self.present():
            return InterfaceGoneError(self.interface.name)
        return _refused(error, doing, self.interface, _SEND_HINTS)

    def close(self) -> None:
        """Give the socket back; twice is harmless."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class Receiver(_Socket):
    """Hears the adverts that arrive on an interface: of the groups it joins, and unicast.

    In IPv6 also those of groups that another receiver has joined there: one that joins them all is
    enough.
    Without an *interface* it hears unicast from everywhere, for instances that name none; then a
    packet for a bound receiver comes here too. Raises :class:`OperatorError`.
    """

    def __init__(
        self,
        interface: Interface | None,
        family: int,
        *,
        protocol: int = VRRP,
        groups: Iterable[Address] | None = None,
    ) -> None:
        """Open it; *groups* are those of RFC 5798 unless they are given (``vrrp_mcast_group4``)."""
        if groups is None:
            groups = (GROUP6 if family == 6 else GROUP4,) if interface else ()
        try:
            raw = _raw_socket(family, protocol, interface)
            try:
                _prepare_receiver(raw, family)
                for group in groups:
                    _join(raw, interface, group)
            except OSError:
                raw.close()
                raise
        except OSError as error:
            raise _refused(error, "receive VRRP", interface, _OPEN_HINTS) from error
        super().__init__(raw, interface)
        self._read: Final = self._read6 if family == 6 else self._read4
        self._known: dict[object, Received | Reject] = {}
        """What arrived before: a master says the same again and again."""

    def drain(self, limit: int = DRAIN) -> list[Received | Reject]:
        """Return what has arrived, oldest first; never waits.

        To be called before silence is judged. Fewer than *limit* packets mean that nothing was
        left. The same packet is the same object, as a rule. Raises :class:`OperatorError` where
        the kernel refuses.
        """
        found: list[Received | Reject] = []
        read = self._read
        try:
            while len(found) < limit:
                found.append(read())
        except BlockingIOError:
            pass
        except OSError as error:
            raise _refused(error, "receive VRRP", self.interface, {}) from error
        return found

    def _read4(self) -> Received | Reject:
        data = self._socket.recv(LONGEST)
        if data[9:10] != _VRRP:
            return received_ipv4(data)
        # What is left out tells one packet from another: identification, fragment, checksum.
        name = data[:4] + data[8:10] + data[12:]
        return self._known.get(name) or self._learn(name, received_ipv4(data))

    def _read6(self) -> Received | Reject:
        data, ancillary, _, sender = self._socket.recvmsg(LONGEST, _ANCILLARY_SPACE)
        name = (data, sender[0], *ancillary)
        known = self._known.get(name)
        if known is not None:
            return known
        hop_limit, destination = 0, Address(bytes(16))
        for _, kind, value in ancillary:
            if kind == socket.IPV6_HOPLIMIT:
                (hop_limit,) = _INT.unpack(value)
            elif kind == socket.IPV6_PKTINFO:
                destination = Address(value[:16])
        received = received_ipv6(data, _packed6(sender[0]), destination, hop_limit)
        return self._learn(name, received)

    def _learn(self, name: object, received: Received | Reject) -> Received | Reject:
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[name] = received
        return received


def _prepare_receiver(raw: socket.socket, family: int) -> None:
    set_receive_buffer(raw, RECEIVE_BUFFER)
    if family == 6:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        # TTL and destination are in the IP header, which comes along. By default the socket would
        # hear the groups that others of this host have joined; in IPv6 it does so in any case.
        raw.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)


def _join(raw: socket.socket, interface: Interface | None, group: Address) -> None:
    index = interface.index if interface else 0
    if len(group) == 16:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _MREQ6.pack(group, index))
    else:
        member = _MREQN.pack(group, bytes(4), index)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)


@lru_cache(maxsize=KNOWN)
def _packed6(text: str) -> Address:
    return Address(socket.inet_pton(socket.AF_INET6, text))


@lru_cache(maxsize=KNOWN)
def _text(address: Address) -> str:
    return format_address(address)


def _drop_all(raw: socket.socket) -> None:
    """Let *raw* queue nothing: every raw socket gets a copy of what arrives for its protocol."""
    attach_filter(raw, [(_BPF_RETURN, 0, 0, 0)])


def _open_sender(
    interface: Interface | None, family: int, protocol: int, *, header: bool
) -> socket.socket:
    """Open a socket that only sends; its own host does not hear its multicast."""
    try:
        raw = _raw_socket(family, protocol, interface)
        try:
            _drop_all(raw)
            index = interface.index if interface else 0
            if family == 6:
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TOS_CONTROL)
            else:
                member = _MREQN.pack(bytes(4), bytes(4), index)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, member)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS_CONTROL)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, LOCAL_TTL)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, LOCAL_TTL)
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, int(header))
        except OSError:
            raw.close()
            raise
    except OSError as error:
        raise _refused(error, "send VRRP", interface, _OPEN_HINTS) from error
    return raw


@final
class Membership(_Socket):
    """Only joins *groups* on an interface, so that a switch sends them there; hears nothing.

    For the interface below a VMAC, whose own reports do not leave the host: a switch would learn
    the virtual MAC from those of a backup. Raises :class:`OperatorError`.
    """

    def __init__(self, interface: Interface, family: int, groups: Iterable[Address]) -> None:
        try:
            raw = _raw_socket(family, VRRP, interface)
            try:
                _drop_all(raw)
                for group in groups:
                    _join(raw, interface, group)
            except OSError:
                raw.close()
                raise
        except OSError as error:
            raise _refused(error, "join groups", interface, _OPEN_HINTS) from error
        super().__init__(raw, interface)


@final
class Sender(_Socket):
    """Sends what :func:`lvskeeper.vrrp.packet.encode` returns; raises :class:`OperatorError`.

    Without an *interface* the route to a unicast peer decides.
    """

    def __init__(self, interface: Interface | None, family: int) -> None:
        super().__init__(_open_sender(interface, family, VRRP, header=False), interface)
        self._index: Final = interface.index if interface else 0
        self._bound = NO_ADDRESS
        """Source of what is sent without ancillary data."""

    def send(
        self, message: bytes, source: Address, destination: Address, ttl: int = LOCAL_TTL
    ) -> None:
        """Send an advert from *source*, an address of this host, to a group or a unicast peer.

        Never waits. Raises :class:`InterfaceGoneError`, or :class:`OperatorError` for all other
        refusals: what was not sent is lost, and the next advert may get through.
        """
        there = _text(destination)
        try:
            if len(source) == 16:
                ancillary = _ancillary6(source, ttl)
                self._socket.sendmsg((message,), ancillary, 0, (there, 0, 0, self._index))
            elif ttl != LOCAL_TTL:
                self._socket.sendmsg((message,), _ancillary4(source, ttl), 0, (there, 0))
            else:
                # A third quicker, and there are thousands a second
                if source != self._bound:
                    self._socket.bind((_text(source), 0))
                    self._bound = source
                self._socket.sendto(message, (there, 0))
        except OSError as error:
            doing = f"send VRRP from {_text(source)} to {there}"
            raise self._unsent(error, doing) from error


@final
class SignedSender(_Socket):
    """Sends what :func:`lvskeeper.vrrp.packet.encode_signed` returns, IP header and all."""

    def __init__(self, interface: Interface | None) -> None:
        super().__init__(_open_sender(interface, 4, AH, header=True), interface)

    def send(self, packet: bytes) -> None:
        """Send *packet* to where its IP header says, as :meth:`Sender.send` does."""
        there = _text(Address(packet[16:20]))
        try:
            self._socket.sendto(packet, (there, 0))
        except OSError as error:
            doing = f"send VRRP with AH to {there}"
            raise self._unsent(error, doing) from error


@lru_cache(maxsize=KNOWN)
def _ancillary4(source: Address, ttl: int) -> _Ancillary:
    """Return source address and TTL; the interface is the socket's."""
    return (
        (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, source, bytes(4))),
        (socket.IPPROTO_IP, socket.IP_TTL, _INT.pack(ttl)),
    )


@lru_cache(maxsize=KNOWN)
def _ancillary6(source: Address, hop_limit: int) -> _Ancillary:
    return (
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(source, 0)),
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, _INT.pack(hop_limit)),
    )
