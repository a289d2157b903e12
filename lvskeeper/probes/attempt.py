"""What the failure of an attempt means, and how it is told."""

import errno
import os
from typing import Final, final

from lvskeeper.health.spec import Phase
from lvskeeper.units import format_duration

WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "the kernel gave up connecting",
    errno.EADDRNOTAVAIL: "no local address or port to connect from",
    errno.EAGAIN: "no local port is free",
}
"""How an operator reads the usual errors; others go by the C library's text."""

OWN_SHORTAGE: Final = frozenset(
    {
        errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL,
        errno.EADDRINUSE, errno.EAGAIN,
    }
)  # fmt: skip
"""Errors that tell of the director, not of the server: they must not take a server down.

``EAGAIN`` that is no wait is the kernel's word for a datagram socket that finds no port.
"""


@final
class ProbeError(Exception):
    """The probe has failed in *phase*, for the reason *detail*."""

    def __init__(self, phase: Phase, detail: str) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail


def describe_os_error(error: OSError) -> str:
    """Return a network error in words, in lower case."""
    if error.errno is None:
        return str(error) or type(error).__name__
    return WORDS.get(error.errno) or os.strerror(error.errno).lower()


def os_error_phase(error: OSError, phase: Phase) -> Phase:
    """Return *phase*, or ``INTERNAL`` where *error* tells of the director."""
    return Phase.INTERNAL if error.errno in OWN_SHORTAGE else phase


def timeout_detail(doing: str, limit: float) -> str:
    """Return the words for running out of *limit* seconds while *doing* something."""
    return f"timed out after {format_duration(limit)} while {doing}"


def one_line(text: str, most: int = 80) -> str:
    """Return the start of *text* in one line, for the log; what cannot be printed is ``?``."""
    line = " ".join(text[: 4 * most].split())[:most].rstrip(": ^")
    return "".join(char if char.isprintable() else "?" for char in line)
