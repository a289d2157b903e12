"""Probes over TCP and TLS: a connection for each request, and a machine that leads it."""

import contextlib
import errno
import socket
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, assert_never, final

from lvskeeper.health.spec import CheckSpec, Phase, Regex, Source, Tls
from lvskeeper.probes.attempt import ProbeError
from lvskeeper.probes.engine import FAILED, READ, WRITE, Engine, Flow
from lvskeeper.probes.offer import read_offer
from lvskeeper.probes.search import Searcher
from lvskeeper.probes.sockets import endpoint, open_socket
from lvskeeper.probes.tls import Contexts, TlsTalk
from lvskeeper.units import Address

READ_SIZE: Final = 65_536
"""Bytes that are read at a time; then others have their turn."""


class Talk(Protocol):
    """The machine of one conversation: fed with bytes, it says what to send. It has no socket.

    Each method raises :class:`ProbeError` where the server does not answer as it should.
    """

    phase: Phase
    """What a failure now would be of."""
    doing: str
    """What it waits for, in words."""
    done: bool
    """All has been said, and was well."""

    def start(self) -> bytes:
        """Return what to send at once."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take what came, and return what to send."""
        ...

    def end(self) -> None:
        """Take the end of what the server sends."""
        ...


_UNDER_WAY: Final = frozenset({0, errno.EINPROGRESS})


@final
class _Wait(Enum):
    """What the socket of a step has to be ready for."""

    CONNECT = "connect"
    WRITE = "write"
    READ = "read"


@final
@dataclass(slots=True)
class Step:
    """One connection of a probe."""

    to: Address
    port: int
    source: Source
    limit: float
    """Seconds from connecting to the last byte, and the search for a regex."""
    talk: Talk
    tls: Tls | None = None
    name: str | None = None
    """What TLS asks for."""
    regex: Regex | None = None
    text: bytearray | None = None
    """What the regex is searched in."""
    about: str = ""
    """What a failure's words begin with."""
    own: bool = True
    """It is the real server that is asked."""


@final
@dataclass(frozen=True, slots=True)
class Tools:
    """What all probes share."""

    contexts: Contexts
    searcher: Searcher


class ConnectedFlow(Flow):
    """A probe over TCP."""

    __slots__ = ()

    def _connect(self, to: Address, port: int, source: Source) -> None:
        sock = self._sock = open_socket(to, source, socket.SOCK_STREAM)
        code = sock.connect_ex(endpoint(to, port))
        if code not in _UNDER_WAY:
            raise OSError(code, "")
        self._watch(sock, WRITE)

    @staticmethod
    def _connected(sock: socket.SocketType, mask: int) -> None:
        """Raise ``OSError`` where the connection was not made."""
        if mask & FAILED and (code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            raise OSError(code, "")


@final
class TcpFlow(ConnectedFlow):
    """TCP_CHECK: connects, and that is all."""

    __slots__ = ("_spec",)

    def __init__(self, engine: Engine, key: Hashable, spec: CheckSpec) -> None:
        super().__init__(engine, key)
        self._spec = spec

    def _begin(self) -> None:
        spec = self._spec
        self._engine.limit(self, spec.connect_timeout)
        self._connect(spec.address, spec.port, spec.source)

    def _ready(self, mask: int) -> None:
        sock = self._sock
        assert sock is not None
        self._connected(sock, mask)
        self.offer = read_offer(sock)
        self.end(Phase.DONE)


@final
class StreamFlow(ConnectedFlow):
    """Takes one step after the other; the first failure ends it."""

    __slots__ = ("_cancel_search", "_secure", "_step", "_steps", "_talk", "_tools", "_unsent",
                 "_wait")  # fmt: skip

    def __init__(self, engine: Engine, key: Hashable, steps: Iterator[Step], tools: Tools) -> None:
        super().__init__(engine, key)
        self._steps = steps
        self._step: Step | None = None
        self._tools = tools
        self._talk: Talk | None = None
        self._secure: TlsTalk | None = None
        self._unsent = b""
        self._wait = _Wait.CONNECT
        self._cancel_search: Callable[[], None] | None = None

    def end(self, phase: Phase, detail: str = "") -> None:
        """End, with what the step is about before the words."""
        if self._step is not None and self._step.about and phase is not Phase.DONE:
            detail = f"{self._step.about}: {detail}"
        super().end(phase, detail)

    def expire(self) -> None:
        """Take that the time is over; that is not the server's fault where it waits for us.

        So it is while files are not read yet, and while all threads search for others.
        """
        if self.phase is Phase.INTERNAL:
            self.end(Phase.INTERNAL, f"{self.doing} takes too long")
        else:
            super().expire()

    def _begin(self) -> None:
        self._take_step()

    def _take_step(self) -> None:
        step = self._step = next(self._steps, None)
        if step is None:
            self.end(Phase.DONE)
            return
        self._engine.limit(self, step.limit)
        if step.tls is None:
            self._go(step)
            return
        self.phase, self.doing = Phase.INTERNAL, "reading files of TLS"
        self._tools.contexts.use(step.tls, self._on_context)

    def _on_context(self) -> None:
        """Go on: the files of TLS are read, or are no good."""
        step = self._step
        if self.result is not None or step is None or step.tls is None:
            return
        try:
            context = self._tools.contexts.take(step.tls)
            self._secure = TlsTalk(step.talk, context, step.name, step.tls)
            self._go(step)
        except Exception as error:  # noqa: BLE001 - as in all that is not called by the engine
            self._fail(error)

    def _go(self, step: Step) -> None:
        self.phase, self.doing = Phase.CONNECT, "connecting"
        self._talk = self._secure or step.talk
        self._wait = _Wait.CONNECT
        self._connect(step.to, step.port, step.source)

    def _ready(self, mask: int) -> None:
        sock, talk, step = self._sock, self._talk, self._step
        assert sock is not None
        assert talk is not None
        assert step is not None
        match self._wait:
            case _Wait.CONNECT:
                self._connected(sock, mask)
                if step.own:
                    self.offer = read_offer(sock)
                self._say(sock, talk, talk.start())
            case _Wait.WRITE:
                self._say(sock, talk, self._unsent)
            case _Wait.READ:
                self._hear(sock, talk)
            case _:
                assert_never(self._wait)

    def _say(self, sock: socket.SocketType, talk: Talk, data: bytes) -> None:
        """Send *data*, then wait for what the server says."""
        if data:
            self.phase, self.doing = Phase.SEND, "sending"
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self._unsent = data[sent:]
                if self._wait is _Wait.READ:
                    self._watch_for(WRITE)
                self._wait = _Wait.WRITE
                return
            self._unsent = b""
        if talk.done:
            self._leave()
            return
        self.phase, self.doing = talk.phase, talk.doing
        if self._wait is not _Wait.READ:
            self._wait = _Wait.READ
            self._watch_for(READ)

    def _hear(self, sock: socket.SocketType, talk: Talk) -> None:
        data = sock.recv(READ_SIZE)
        if data:
            self._say(sock, talk, talk.receive(data))
        else:
            talk.end()
            if talk.done:
                self._leave()

    def _leave(self) -> None:
        """Leave the server: it has said what was wanted of it."""
        step = self._step
        assert step is not None
        if self._secure is not None and (end := self._secure.expires) is not None:
            self.expires = end if self.expires is None else min(end, self.expires)
        self._close()
        if step.regex is None:
            self._take_step()
            return
        self.phase, self.doing = Phase.INTERNAL, "waiting for others' searches"
        self._cancel_search = self._tools.searcher.search(
            step.regex, bytes(step.text or b""), self._on_search, self._on_found
        )

    def _on_search(self) -> None:
        self.phase, self.doing = Phase.BODY, "searching the body"

    def _on_found(self, error: ProbeError | None) -> None:
        self._cancel_search = None
        if self.result is not None:
            return
        if error is not None:
            self._fail(error)
            return
        try:
            self._take_step()
        except Exception as caught:  # noqa: BLE001 - as in all that is not called by the engine
            self._fail(caught)

    def _close(self) -> None:
        if self._secure is not None and self._sock is not None:
            with contextlib.suppress(OSError):  # where it goes without waiting
                self._sock.send(self._secure.farewell())
            self._secure = None
        super()._close()
        if self._cancel_search is not None:
            self._cancel_search()
            self._cancel_search = None
