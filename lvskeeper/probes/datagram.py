"""Probes by datagrams: a question and its answer, over a socket that is connected.

So an ICMP error that says the port or host is not reachable comes as an error of the socket.
"""

import errno
import secrets
import socket
from collections.abc import Hashable
from typing import Final, Protocol, final

from lvskeeper.health.spec import CheckKind, CheckSpec, Dns, Phase, Udp
from lvskeeper.probes.attempt import ProbeError
from lvskeeper.probes.dns import DnsQuestion
from lvskeeper.probes.engine import READ, WRITE, Engine, Flow
from lvskeeper.probes.ping import TOKEN, PingQuestion
from lvskeeper.probes.sockets import endpoint, open_socket
from lvskeeper.probes.udp import UdpQuestion

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

    @property
    def silence_is_well(self) -> bool:
        """No answer within the time is no failure."""
        ...

    def ask(self) -> bytes:
        """Return what to send."""
        ...

    def answer(self, data: bytes) -> bool:
        """Take a datagram; return whether it is the answer.

        Raise :class:`~lvskeeper.probes.attempt.ProbeError` where it is, and not the wanted one.
        """
        ...


def question_of(spec: CheckSpec) -> Question:
    """Return the machine for one probe of *spec*."""
    match spec.kind:
        case CheckKind.DNS:
            return DnsQuestion(spec.dns or Dns(), secrets.randbelow(1 << 16))
        case CheckKind.PING:
            return PingQuestion(secrets.token_bytes(TOKEN), ipv6=len(spec.address) == 16)
        case _:
            return UdpQuestion(spec.udp or Udp())


@final
class DatagramFlow(Flow):
    """Sends a question, and waits for its answer for ``connect_timeout``."""

    __slots__ = ("_question", "_spec")

    def __init__(self, engine: Engine, key: Hashable, spec: CheckSpec) -> None:
        super().__init__(engine, key)
        self._spec = spec
        self._question = question_of(spec)

    def expire(self) -> None:
        """Take that no answer has come."""
        if self._question.silence_is_well and self.phase is Phase.STATUS:
            self.end(Phase.DONE)
        else:
            super().expire()

    def _begin(self) -> None:
        spec = self._spec
        self._engine.limit(self, spec.connect_timeout)
        sock = self._sock = self._open(spec)
        level, option = _RECVERR[socket.AddressFamily(sock.family)]
        # Of hosts and networks out of reach, too; without it of closed ports only.
        sock.setsockopt(level, option, 1)
        sock.connect(endpoint(spec.address, spec.port))  # it only sets the peer
        self.phase, self.doing = Phase.SEND, "sending"
        try:
            self._ask(sock)
        except BlockingIOError:
            self._watch(sock, WRITE)
        else:
            self._watch(sock, READ)

    def _open(self, spec: CheckSpec) -> socket.SocketType:
        if spec.kind is not CheckKind.PING:
            return open_socket(spec.address, spec.source, socket.SOCK_DGRAM)
        ipv6 = len(spec.address) == 16
        protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
        try:
            return open_socket(spec.address, spec.source, socket.SOCK_DGRAM, protocol)
        except ProbeError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.EACCES:
                detail = "net.ipv4.ping_group_range leaves our group out"
                raise ProbeError(Phase.INTERNAL, detail) from error
            raise

    def _ask(self, sock: socket.SocketType) -> None:
        sock.send(self._question.ask())
        self.phase, self.doing = Phase.STATUS, "waiting for the answer"

    def _ready(self, _: int) -> None:
        sock = self._sock
        assert sock is not None
        if self.phase is Phase.SEND:
            self._ask(sock)
            self._watch_for(READ)
            return
        for _ in range(MAX_STRANGE):
            if self._question.answer(sock.recv(MAX_ANSWER)):
                self.end(Phase.DONE)
                return
