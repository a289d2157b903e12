"""A server that speaks first, as those of SSH and SMTP do, and shows its sockets."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, final

from lvskeeper.lab.longlived import connect_in
from lvskeeper.lab.netns import Namespace, inside

BANNER: Final = b"220 laboratory\r\n"
TIMEOUT: Final = 20.0
TIMESTAMPS, SACK, WSCALE = 1, 2, 4
"""Bits of ``tcpi_options`` (include/uapi/linux/tcp.h)."""


@final
@dataclass(frozen=True, slots=True)
class Agreed:
    """What a side of a connection has agreed to, as its kernel tells."""

    options: int
    sends_scaled: int
    """Scale of the windows that the other side announces."""
    receives_scaled: int
    """Scale of those that this side announces."""

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        options, scales = struct.unpack_from("BB", info, 5)
        return cls(options & (TIMESTAMPS | SACK | WSCALE), scales & 15, scales >> 4)


@final
class Speaker:
    """Greets everybody who connects to *port* in *namespace*, and keeps the connections."""

    def __init__(self, namespace: Namespace, port: int) -> None:
        self._listening = inside(namespace.name, lambda: _listening(port))
        self._accepted: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        for sock in self._accepted.values():
            sock.close()

    def known(self, port: int) -> Agreed | None:
        """Return what was agreed with the client of source port *port*, if it is here."""
        with self._lock:
            sock = self._accepted.get(port)
            return Agreed.of(sock) if sock else None

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if old := self._accepted.pop(peer[1], None):
                    old.close()
                self._accepted[peer[1]] = sock
            sock.sendall(BANNER)


@final
@dataclass(frozen=True, slots=True)
class Greeting:
    """A connection that has had its banner."""

    sock: socket.socket
    seconds: float
    """From before the connection to the banner."""


@contextlib.contextmanager
def greeted(
    namespace: Namespace, address: str, port: int, *, timeout: float = TIMEOUT
) -> Iterator[Greeting]:
    """Connect and wait for the banner; raises ``OSError`` where there is none."""
    started = time.monotonic()
    with connect_in(namespace, address, port, timeout) as sock:
        assert sock.recv(len(BANNER), socket.MSG_WAITALL) == BANNER
        yield Greeting(sock, time.monotonic() - started)


def _listening(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
