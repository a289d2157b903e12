"""Probes over TCP and TLS: a connection for each request, and a machine that leads it."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, final

from lvskeeper.health.spec import Phase, Regex, Source, Tls
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


@final
@dataclass(slots=True)
class Step:
    """One connection of a probe. Without a *talk* it is enough that it is made."""

    to: Address
    port: int
    source: Source
    limit: float
    """Seconds from connecting to the last byte, and the search for a regex."""
    talk: Talk | None = None
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


@final
class StreamFlow(Flow):
    """Takes one step after the other; the first failure ends it."""

    __slots__ = ("_cancel_search", "_secure", "_step", "_steps", "_talk", "_tools", "_unsent",
                 "_wait")  # fmt: skip

    def __init__(
        self, engine: Engine, on_end: Callable[[Flow], None], steps: Iterator[Step], tools: Tools
    ) -> None:
        super().__init__(engine, on_end)
        self._steps = steps
        self._step: Step | None = None
        self._tools = tools
        self._talk: Talk | None = None
        self._secure: TlsTalk | None = None
        self._unsent = b""
        self._wait: Callable[[int], None] = self._on_connected
        self._cancel_search: Callable[[], None] | None = None

    def end(self, phase: Phase, detail: str = "") -> None:
        """End, with what the step is about before the words."""
        if self._step is not None and self._step.about and phase is not Phase.DONE:
            detail = f"{self._step.about}: {detail}"
        super().end(phase, detail)

    def expire(self) -> None:
        """Take that the time is over; files that are not there yet are not the server's fault."""
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
            self._connect(step)
            return
        self.phase, self.doing = Phase.INTERNAL, "reading files of TLS"
        self._tools.contexts.use(step.tls, self._on_context)

    def _on_context(self) -> None:
        """Go on: the files of TLS are read, or are no good."""
        if self.result is None and self._step is not None:
            self._guard(self._connect_tls)

    def _connect_tls(self) -> None:
        step = self._step
        assert step is not None
        assert step.tls is not None
        assert step.talk is not None
        context = self._tools.contexts.take(step.tls)
        self._secure = TlsTalk(step.talk, context, step.name, step.tls)
        self._connect(step)

    def _connect(self, step: Step) -> None:
        self.phase, self.doing = Phase.CONNECT, "connecting"
        self._talk = self._secure or step.talk
        sock = self._sock = open_socket(step.to, step.source, socket.SOCK_STREAM)
        code = sock.connect_ex(endpoint(step.to, step.port))
        if code not in {0, errno.EINPROGRESS}:
            raise OSError(code, "")
        self._wait = self._on_connected
        self._engine.watch(self, sock, WRITE)

    def _ready(self, mask: int) -> None:
        self._wait(mask)

    def _on_connected(self, mask: int) -> None:
        sock, step = self._sock, self._step
        assert sock is not None
        assert step is not None
        if mask & FAILED and (code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            raise OSError(code, "")
        if step.own:
            self.offer = read_offer(sock)
        talk = self._talk
        if talk is None:
            self._leave()
            return
        self.phase, self.doing = Phase.SEND, "sending"
        self._say(sock, talk, talk.start())

    def _on_sendable(self, _: int) -> None:
        sock, talk = self._sock, self._talk
        assert sock is not None
        assert talk is not None
        self._say(sock, talk, self._unsent)

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
                if self._wait != self._on_sendable:
                    self._wait = self._on_sendable
                    self._engine.change(sock, WRITE)
                return
            self._unsent = b""
        if talk.done:
            self._leave()
            return
        self.phase, self.doing = talk.phase, talk.doing
        if self._wait != self._on_readable:
            self._wait = self._on_readable
            self._engine.change(sock, READ)

    def _on_readable(self, _: int) -> None:
        sock, talk = self._sock, self._talk
        assert sock is not None
        assert talk is not None
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
        if self._secure is not None:
            self.expires = self._secure.expires
        self._close()
        if step.regex is None:
            self._take_step()
            return
        self.phase, self.doing = Phase.BODY, "waiting for others' searches"
        self._cancel_search = self._tools.searcher.search(
            step.regex, bytes(step.text or b""), self._on_search, self._on_found
        )

    def _on_search(self) -> None:
        self.doing = "searching the body"

    def _on_found(self, error: ProbeError | None) -> None:
        self._cancel_search = None
        if self.result is not None:
            return
        if error is not None:
            self.end(error.phase, error.detail)
        else:
            self._guard(self._take_step)

    def _close(self) -> None:
        if self._secure is not None and self._sock is not None:
            with contextlib.suppress(OSError):  # where it goes without waiting
                self._sock.send(self._secure.farewell())
            self._secure = None
        super()._close()
        if self._cancel_search is not None:
            self._cancel_search()
            self._cancel_search = None
