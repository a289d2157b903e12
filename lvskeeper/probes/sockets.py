"""Sockets of probes: non-blocking, from the address, port and device and with the mark of a check.

The socket is closed in the ordinary way (FIN), as keepalived does. A reset (``SO_LINGER`` 0) would
spare the director a TIME_WAIT entry a probe, but every server would log a broken connection. The
entries are bounded by ``net.ipv4.tcp_max_tw_buckets``. Only a check with a port of its own resets:
the entry would keep the next probe from this port.
"""

import socket
import struct
from typing import Final

from lvskeeper.health.spec import Phase, Source
from lvskeeper.probes.attempt import ProbeError, describe_os_error
from lvskeeper.units import Address, format_address

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""linux/in.h; it counts for IPv6, too."""
_RESET: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, no time."""


def family_of(address: Address) -> socket.AddressFamily:
    """Return the family of *address*."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def endpoint(address: Address, port: int) -> tuple[str, int]:
    """Return *address* and *port* as the socket module has them."""
    return socket.inet_ntop(family_of(address), address), port


def open_socket(
    to: Address, source: Source, kind: socket.SocketKind, protocol: int = 0
) -> socket.SocketType:
    """Return a socket for the family of *to*, set up as *source* says.

    Raise :class:`ProbeError` with ``INTERNAL`` where that fails: it says nothing of the server.
    """
    family = family_of(to)
    try:
        sock = socket.SocketType(family, kind | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise ProbeError(Phase.INTERNAL, describe_os_error(error)) from error
    if source.anywhere:
        return sock
    try:
        _prepare(sock, source, family, kind)
    except OSError as error:
        sock.close()
        raise ProbeError(Phase.INTERNAL, _explain(source, error)) from error
    return sock


def _prepare(sock: socket.SocketType, source: Source, family: int, kind: socket.SocketKind) -> None:
    if source.interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, source.interface.encode())
    if source.mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, source.mark)
    if source.address is None and not source.port:
        return
    if source.port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    elif kind is socket.SOCK_STREAM:
        # The port is chosen when it connects: one port may then serve several servers.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    local = source.address or Address(bytes(4 if family == socket.AF_INET else 16))
    sock.bind(endpoint(local, source.port))


def _explain(source: Source, error: OSError) -> str:
    parts = []
    if source.address is not None:
        parts.append(format_address(source.address))
    if source.port:
        parts.append(f"port {source.port}")
    if source.interface:
        parts.append(source.interface)
    if source.mark:
        parts.append(f"mark {source.mark}")
    text = describe_os_error(error)
    return f"from {', '.join(parts)}: {text}" if parts else text
