"""Single requests from a namespace of the laboratory, and the ICMP errors that come of them."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from lvskeeper.lab.netns import Namespace, inside

TIMEOUT = 15.0
"""Seconds for one request; enough for an emulated machine under load."""
PAGE_LIMIT = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Page:
    """An answer of a laboratory's server."""

    server: str
    peer: str
    """Address that the server saw."""
    seconds: float
    """From before the connection to the end of the answer."""
    rest: bytes = b""
    """What came after the facts."""


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def ask(
    namespace: Namespace,
    address: str,
    port: int,
    *,
    filler: int = 0,
    source_port: int = 0,
    timeout: float = TIMEOUT,
) -> Page:
    """Ask for a page by a new connection; *filler* bytes go along in the request's head.

    Raises ``OSError`` where there is no answer.
    """
    started = time.monotonic()
    with inside(namespace.name, lambda: socket.socket(family_of(address))) as sock:
        sock.settimeout(timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source_port:
            sock.bind(("", source_port))
        sock.connect((address, port))
        head = f"GET / HTTP/1.1\r\nHost: laboratory\r\nX-Filler: {'.' * filler}\r\n"
        sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
        page = b"".join(iter(lambda: sock.recv(65536), b""))
    facts = json.loads(page.partition(b"\r\n\r\n")[2])
    return Page(facts["server"], facts["peer"], time.monotonic() - started)


def fetch(namespace: Namespace, address: str, port: int, path: str) -> int:
    """Return how many bytes the answer to *path* has, its head included."""
    with inside(namespace.name, lambda: socket.create_connection((address, port), TIMEOUT)) as sock:
        request = f"GET {path} HTTP/1.1\r\nHost: laboratory\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        return sum(map(len, iter(lambda: sock.recv(65536), b"")))


def ask_udp(namespace: Namespace, address: str, port: int, data: bytes = b"?") -> Page:
    """Send a datagram and return the answer; raises ``OSError`` as the socket does."""
    started = time.monotonic()
    kind = socket.SOCK_DGRAM
    with inside(namespace.name, lambda: socket.socket(family_of(address), kind)) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect((address, port))
        sock.send(data)
        facts, _, rest = sock.recv(PAGE_LIMIT).partition(b"\n")
    told = json.loads(facts)
    return Page(told["server"], told["peer"], time.monotonic() - started, rest)


@final
class IcmpWitness:
    """Reads what ICMP errors a namespace gets."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def sources(self, kind: int, code: int, timeout: float = TIMEOUT) -> set[str]:
        """Return who has sent an error of *kind* and *code*; wait for the first."""
        deadline = time.monotonic() + timeout
        found: set[str] = set()
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(0.0 if found else left)
            try:
                packet, (sender, *_) = self._socket.recvfrom(2048)
            except (TimeoutError, BlockingIOError):
                break
            # A raw IPv4 socket shows the IP header too, an IPv6 one does not
            ipv4 = self._socket.family == socket.AF_INET
            header = (packet[0] & 15) * 4 if ipv4 else 0
            if (packet[header], packet[header + 1]) == (kind, code):
                found.add(sender)
        return found


@contextlib.contextmanager
def icmp_witness(namespace: Namespace, family: socket.AddressFamily) -> Iterator[IcmpWitness]:
    """Listen for ICMP errors that come from now on."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with inside(namespace.name, lambda: socket.socket(family, socket.SOCK_RAW, protocol)) as sock:
        yield IcmpWitness(sock)
