"""TCP_CHECK: find out whether a connection can be made.

The socket is closed in the ordinary way (FIN), as keepalived does. A reset (``SO_LINGER`` 0) would
spare the director a TIME_WAIT entry a probe, but every server would log a broken connection. The
entries are bounded by ``net.ipv4.tcp_max_tw_buckets``.
"""

import asyncio
import errno
import os
import socket
from typing import Final

from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult
from lvskeeper.probes.offer import read_offer
from lvskeeper.units import format_duration

WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "the kernel gave up connecting",
    errno.EADDRNOTAVAIL: "no local address or port to connect from",
}
"""How an operator reads the usual errors; others go by the C library's text."""

OWN_SHORTAGE: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Errors that tell of the director, not of the server: they must not take a server down."""


def describe_os_error(error: OSError) -> str:
    """Return a network error in words, in lower case."""
    if error.errno is None:
        return str(error) or type(error).__name__
    return WORDS.get(error.errno) or os.strerror(error.errno).lower()


def connect_phase(error: OSError) -> Phase:
    """Return whether *error*, met while connecting, tells of the server or of the director."""
    return Phase.INTERNAL if error.errno in OWN_SHORTAGE else Phase.CONNECT


def timeout_detail(doing: str, limit: float) -> str:
    """Return the words for running out of *limit* seconds while *doing* something."""
    return f"timed out after {format_duration(limit)} while {doing}"


async def probe_tcp(spec: CheckSpec) -> ProbeResult:
    """Connect once to the address and port of *spec*, within ``connect_timeout``."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    family = socket.AF_INET if len(spec.address) == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            async with asyncio.timeout(spec.connect_timeout):
                await loop.sock_connect(sock, (socket.inet_ntop(family, spec.address), spec.port))
            offer = read_offer(sock)
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:  # with a number: the kernel's
            phase, detail = Phase.TIMEOUT, timeout_detail("connecting", spec.connect_timeout)
        else:
            phase, detail = connect_phase(error), describe_os_error(error)
        return ProbeResult(phase, detail, loop.time() - start)
    return ProbeResult(Phase.DONE, elapsed=loop.time() - start, offer=offer)
