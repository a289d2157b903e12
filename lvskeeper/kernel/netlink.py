"""A synchronous netlink transport.

The kernel answers generic netlink and rtnetlink while it is being asked: replies wait in the socket
when ``send`` returns, and a dump is produced inside ``recv``. So blocking calls with a deadline are
right here, and an event loop would only add turns. Anything that can send and receive datagrams can
stand behind a :data:`SocketFactory`: a recording, or a kernel elsewhere.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, Protocol, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.wire import NLMSG_DONE, NLMSG_ERROR, error_of, last_message, messages
from lvskeeper.kernel.sockets import set_receive_buffer, set_send_buffer

DEADLINE: Final = 5.0
"""Seconds that one send or one receive may take."""
BUFFER: Final = 8 << 20
"""Socket buffers in bytes: a batch of 1,000 requests, and an error for every one of them."""
DATAGRAM: Final = 1 << 16
"""Longest datagram that is received; the kernel's dumps come in 32 KiB at most."""

NETLINK_ROUTE: Final = 0
NETLINK_GENERIC: Final = 16
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
"""Errors come back without an echo of the whole request."""
NETLINK_GET_STRICT_CHK: Final = 12
"""The kernel heeds what the header of a dump of routes asks for (since 4.20)."""

_TIMEVAL: Final = Struct("@ll")

Part: TypeAlias = tuple[bytes, int, int]
"""One received message: the datagram, start and end."""


@final
class NetlinkError(Exception):
    """The kernel answered a request with an error number."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number: Final = number


@final
class NetlinkLostError(Exception):
    """Answers were lost (full buffer, deadline): what the kernel did must be read anew."""


class NetlinkSocket(Protocol):
    """A datagram socket to a kernel; ``OSError`` reports what goes wrong."""

    def send(self, data: bytes, /) -> None:
        """Send one datagram, which may hold several messages."""

    def recv(self) -> bytes:
        """Return the next datagram; raise ``TimeoutError`` or ``BlockingIOError`` in its want."""

    def close(self) -> None:
        """Give the socket back."""


SocketFactory: TypeAlias = Callable[[], NetlinkSocket]


@final
class KernelSocket:
    """A netlink socket in the network namespace of the thread that makes it."""

    def __init__(self, deadline: float = DEADLINE, protocol: int = NETLINK_GENERIC) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        whole = int(deadline)
        limit = _TIMEVAL.pack(whole, int((deadline - whole) * 1e6))
        # The kernel's own time-outs spare the poll that a Python time-out adds to every call.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        set_send_buffer(self._socket, BUFFER)
        set_receive_buffer(self._socket, BUFFER)
        with contextlib.suppress(OSError):  # kernels before 4.3 lack it and echo the request
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        if protocol == NETLINK_ROUTE:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))

    def send(self, data: bytes, /) -> None:
        """Send one datagram to the kernel, which handles it before this returns."""
        self._socket.send(data)

    def recv(self) -> bytes:
        """Return the next datagram."""
        return self._socket.recv(DATAGRAM)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def open_socket() -> NetlinkSocket:
    """Return a generic netlink socket to this kernel; the default :data:`SocketFactory`."""
    return KernelSocket()


def open_route_socket() -> NetlinkSocket:
    """Return an rtnetlink socket to this kernel."""
    return KernelSocket(protocol=NETLINK_ROUTE)


@final
class Channel:
    """Requests and answers over one socket, which is made anew after anything went wrong."""

    def __init__(self, factory: SocketFactory) -> None:
        self._factory: Final = factory
        self._socket: NetlinkSocket | None = None
        self._sequence = 0

    def sequence(self) -> int:
        """Return the next sequence number, never 0."""
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def close(self) -> None:
        """Close the socket; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, request: bytes, sequence: int) -> list[Part]:
        """Return the messages that answer a request, up to its acknowledgement or single answer.

        Raises :class:`NetlinkError` and :class:`NetlinkLostError`.
        """
        self._send(request)
        while True:
            data = self._recv()
            for kind, number, start, end in messages(data):
                if number != sequence:
                    continue  # left over from a request that was given up
                if kind == NLMSG_ERROR:
                    if code := error_of(data, start, end):
                        raise NetlinkError(code)
                    return []
                return [(data, start, end)]

    def dump(self, request: bytes, sequence: int) -> list[Part]:
        """Return all messages of a dump; else as :meth:`dump_datagrams`."""
        return [
            (data, start, end)
            for data in self.dump_datagrams(request, sequence)
            for kind, number, start, end in messages(data)
            if number == sequence and kind not in (NLMSG_DONE, NLMSG_ERROR)
        ]

    def dump_datagrams(self, request: bytes, sequence: int) -> list[bytes]:
        """Return what answers a dump, its end included; repeat it once if the socket was busy.

        Raises :class:`NetlinkError` and :class:`NetlinkLostError`.
        """
        try:
            return list(self.stream(request, sequence))
        except NetlinkError as error:
            if error.number != errno.EBUSY:
                raise
        except NetlinkLostError:
            pass
        self.close()
        return list(self.stream(request, sequence))

    def batch(self, requests: bytes, last: int) -> dict[int, int]:
        """Send many requests at once; return errno by sequence number of those that failed.

        Only the request with sequence number *last* need ask for an acknowledgement: errors come
        back in any case, and in order. Raises :class:`NetlinkLostError`.
        """
        self._send(requests)
        failed: dict[int, int] = {}
        while True:
            data = self._recv()
            for kind, number, start, end in messages(data):
                if kind != NLMSG_ERROR:
                    continue
                if code := error_of(data, start, end):
                    failed[number] = code
                if number == last:
                    return failed

    def stream(self, request: bytes, sequence: int) -> Iterator[bytes]:
        """Yield the datagrams of a dump as they come; who stops before its end closes the channel.

        Raises :class:`NetlinkError` and :class:`NetlinkLostError`.
        """
        self._send(request)
        while True:
            data = self._recv()
            # Whatever ends a dump is the last message of its datagram.
            kind, number, start, end = last_message(data)
            yield data
            if number == sequence and kind in (NLMSG_DONE, NLMSG_ERROR):
                if code := error_of(data, start, end):
                    raise NetlinkError(code)
                return

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            try:
                self._socket = self._factory()
            except OSError as error:
                raise OperatorError(
                    f"cannot open a netlink socket: {error.strerror}", status=ExitStatus.KERNEL
                ) from error
        try:
            self._socket.send(data)
        except OSError as error:
            self.close()
            raise NetlinkLostError(f"netlink send: {error.strerror or error}") from error

    def _recv(self) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv()
        except OSError as error:
            self.close()
            raise NetlinkLostError(f"netlink receive: {error.strerror or error}") from error
