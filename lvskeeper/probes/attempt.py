"""One attempt: how far it has come, and what its failure means."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.health.spec import Phase, ProbeResult, TcpOffer
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
    {
        errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
    }
)  # fmt: skip
"""Errors that tell of the director, not of the server: they must not take a server down."""


@final
class ProbeError(Exception):
    """The probe has failed in *phase*, for the reason *detail*."""

    def __init__(self, phase: Phase, detail: str) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail


@final
@dataclass(slots=True)
class Progress:
    """How far an attempt has come. A failure is of its *phase*, a delay is what it is *doing*."""

    phase: Phase = Phase.CONNECT
    doing: str = "connecting"
    limit: float = 0.0
    """Seconds for what it is doing."""
    offer: TcpOffer | None = None


async def attempt(work: Callable[[Progress], Awaitable[None]], limit: float) -> ProbeResult:
    """Do *work*, which has *limit* seconds for each of its requests, and return how it ended."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    progress = Progress(limit=limit)
    phase, detail = Phase.DONE, ""
    try:
        await work(progress)
    except ProbeError as error:
        phase, detail = error.phase, error.detail
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:  # with a number: the kernel's
            phase, detail = Phase.TIMEOUT, timeout_detail(progress.doing, progress.limit)
        else:
            phase, detail = os_error_phase(error, progress.phase), describe_os_error(error)
    return ProbeResult(phase, detail, loop.time() - start, progress.offer)


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
