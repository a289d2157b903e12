"""A question and an answer in datagrams, over a socket that is connected: so errors are told.

An ICMP error that says the port or host is not reachable comes as an error of the socket.
"""

import asyncio
import socket
from typing import Final, Protocol

from lvskeeper.health.spec import CheckSpec, Phase
from lvskeeper.probes.attempt import Progress
from lvskeeper.probes.sockets import endpoint, open_socket

_RECVERR: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
"""Level and number of ``IP_RECVERR`` and ``IPV6_RECVERR`` (linux/in.h, linux/in6.h)."""

MAX_ANSWER: Final = 65_536
"""Bytes of the longest datagram."""
MAX_STRANGE: Final = 64
"""Datagrams that are none of the answer which are passed over in a turn of the loop."""


class Question(Protocol):
    """The machine of one exchange. It has no socket."""

    def ask(self) -> bytes:
        """Return what to send."""
        ...

    def answer(self, data: bytes) -> bool:
        """Take a datagram; return whether it is the answer.

        Raise :class:`~lvskeeper.probes.attempt.ProbeError` where it is, and not the wanted one.
        """
        ...


async def exchange(
    spec: CheckSpec,
    question: Question,
    progress: Progress,
    *,
    protocol: int = 0,
) -> None:
    """Send *question*, and wait for its answer for ``connect_timeout``.

    Raise :class:`~lvskeeper.probes.attempt.ProbeError`, ``TimeoutError``, or ``OSError`` with the
    phase in *progress*.
    """
    loop = asyncio.get_running_loop()
    with open_socket(spec.address, spec.source, socket.SOCK_DGRAM, protocol) as sock:
        _hear_all_errors(sock)
        async with asyncio.timeout(spec.connect_timeout):
            sock.connect(endpoint(spec.address, spec.port))  # it only sets the peer
            progress.phase, progress.doing = Phase.SEND, "sending"
            await loop.sock_sendall(sock, question.ask())
            progress.phase, progress.doing = Phase.STATUS, "waiting for the answer"
            passed = 0
            while not question.answer(await loop.sock_recv(sock, MAX_ANSWER)):
                passed += 1
                if passed % MAX_STRANGE == 0:
                    await asyncio.sleep(0)


def _hear_all_errors(sock: socket.socket) -> None:
    """Be told of hosts and networks out of reach, too; without it of closed ports only."""
    level, option = _RECVERR[socket.AddressFamily(sock.family)]
    sock.setsockopt(level, option, 1)
