"""Connections of several kinds that outlive what is done to directors, or do not.

Servers that speak send one endless pattern, which their clients compare byte for byte.
"""

import contextlib
import json
import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Self, TypeAlias, final

from lvskeeper.lab.longlived import LongLived, connect_in
from lvskeeper.lab.netns import Namespace, inside

BLOCK: Final = 500
CHAT_PAUSE: Final = 2.0
"""Seconds between an answer and the next question of a connection that talks."""
DOWNLOAD_PACE: Final = 0.5
"""Seconds between two blocks of a download; an emulated machine carries dozens of them."""
UPLOAD_PACE: Final = 1.0
"""The same of an upload."""
FOR_EVER: Final = 1e9
PATIENCE: Final = 90.0
ANSWER_TIME: Final = 45.0
"""Seconds for one answer of a connection that talks, across a take-over."""
POLL: Final = 0.2
ASK_AGAIN: Final = 1.0
"""Seconds without an answer after which a datagram is sent again."""
RIGHT, WRONG = b"+", b"-"
"""What a :class:`Sink` says to a block."""
_PATTERN: Final = bytes(range(251)) * 300
_QUESTION: Final = b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n"


class _Server(ABC):
    """Serves connections to *port* of all *servers* in a thread; a context manager, to stop it."""

    def __init__(self, servers: Sequence[Namespace], port: int) -> None:
        self._listening = [inside(space.name, lambda: _listen(port)) for space in servers]
        self._bytes: dict[socket.socket, int] = {}
        """How far in the pattern each connection is."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for sock in (*self._listening, *self._bytes):
            sock.close()

    @abstractmethod
    def _serve(self) -> None:
        """Do so until :attr:`_stop` is set."""


@final
class Source(_Server):
    """Sends a block to whoever connects to *port* of a server, then one each *pace* seconds."""

    def __init__(self, servers: Sequence[Namespace], port: int, pace: float = FOR_EVER) -> None:
        super().__init__(servers, port)
        self._pace = pace
        self._lock = threading.Lock()

    def speak(self) -> None:
        """Send a block to all."""
        with self._lock:
            for sock in list(self._bytes):
                self._send(sock)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listening in self._listening:
                selector.register(listening, selectors.EVENT_READ)
            due = time.monotonic() + self._pace
            while not self._stop.is_set():
                for key, _ in selector.select(min(POLL, self._pace)):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    with self._lock:
                        if sock in self._bytes:
                            # All that its client has to say. A socket that were kept would be in
                            # the way of a later one from the same LIP and port.
                            selector.unregister(sock)
                            del self._bytes[sock]
                            sock.close()
                            continue
                        sock, _ = sock.accept()
                        sock.setblocking(False)
                        selector.register(sock, selectors.EVENT_READ)
                        self._bytes[sock] = 0
                        self._send(sock)
                if time.monotonic() >= due:
                    self.speak()
                    due = time.monotonic() + self._pace

    def _send(self, sock: socket.socket) -> None:
        sent = self._bytes[sock]
        with contextlib.suppress(OSError):  # it is full, or about to be seen to have ended
            self._bytes[sock] = sent + sock.send(_pattern(sent, BLOCK))


@final
class Sink(_Server):
    """Takes blocks of the pattern on *port* of a server, and says of each whether it is right."""

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listening in self._listening:
                selector.register(listening, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select(POLL):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock in self._bytes:
                        if not self._take(sock):
                            selector.unregister(sock)
                            del self._bytes[sock]
                            sock.close()
                        continue
                    sock, _ = sock.accept()
                    sock.setblocking(False)
                    self._bytes[sock] = 0
                    selector.register(sock, selectors.EVENT_READ)

    def _take(self, sock: socket.socket) -> bool:
        """Take what has come; return whether the connection goes on."""
        got = self._bytes[sock]
        try:
            data = sock.recv(1 << 16)
            if not data:
                return False
            self._bytes[sock] = got + len(data)
            blocks = self._bytes[sock] // BLOCK - got // BLOCK
            sock.send(RIGHT * blocks if data == _pattern(got, len(data)) else WRONG)
        except OSError:
            return False
        return True


@final
class Stream:
    """A client of a :class:`Source`, which never says a word itself."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        self._socket = connect_in(namespace, address, port, PATIENCE)
        self._socket.setblocking(False)
        self._got = self._mark = 0
        self._error = ""

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def begin(self) -> None:
        """Count from here."""
        self._read()
        self._mark = self._got

    def works(self) -> bool:
        """Whether a block has come since :meth:`begin`, and nothing wrong."""
        self._read()
        return self._got >= self._mark + BLOCK and not self._error

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self._error:
                try:
                    data = self._socket.recv(1 << 16)
                except ConnectionError as error:
                    self._error = str(error)
                    return
                if data != _pattern(self._got, len(data)) or not data:
                    self._error = "not what was sent"
                self._got += len(data)


@final
class Idle:
    """A connection that has had one answer, and is silent until it is asked for."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        self._socket = connect_in(namespace, address, port, PATIENCE)
        self._answer = b""
        self.begin()
        deadline = time.monotonic() + PATIENCE
        while not self.works():
            if time.monotonic() > deadline:
                raise TimeoutError("no first answer")
            time.sleep(POLL)

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def begin(self) -> None:
        """Ask."""
        self._answer = b""
        self._socket.setblocking(False)
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(_QUESTION)

    def works(self) -> bool:
        """Whether there was an answer since :meth:`begin`."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._answer += self._socket.recv(1 << 16)
        return b"}" in self._answer


@final
class Chatty:
    """A connection that asks every :data:`CHAT_PAUSE`."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        self._talk = LongLived(namespace, address, port, patience=ANSWER_TIME, pause=CHAT_PAUSE)
        self._talk.__enter__()
        self._mark = 0

    def close(self) -> None:
        """End it."""
        self._talk.__exit__()

    def begin(self) -> None:
        """Count from here."""
        self._mark = self._talk.answers

    def works(self) -> bool:
        """Whether two answers have come since :meth:`begin`, one of them to a new question."""
        return self._talk.alive and self._talk.answers >= self._mark + 2


@final
class Upload:
    """Sends a block to a :class:`Sink` every :data:`UPLOAD_PACE`."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        self._socket = connect_in(namespace, address, port, PATIENCE)
        self._socket.setblocking(False)
        self._sent = self._right = self._mark = 0
        self._error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def begin(self) -> None:
        """Count from here."""
        self._mark = self._right

    def works(self) -> bool:
        """Whether a block more has come there, and nothing wrong."""
        return self._right > self._mark and not self._error

    def _send(self) -> None:
        while not self._stop.wait(UPLOAD_PACE) and not self._error:
            try:
                with contextlib.suppress(BlockingIOError):
                    self._sent += self._socket.send(_pattern(self._sent, BLOCK))
                with contextlib.suppress(BlockingIOError):
                    said = self._socket.recv(1 << 16)
                    self._right += said.count(RIGHT)
                    self._error = "" if said and WRONG not in said else "not what was sent"
            except OSError as error:
                self._error = str(error)


@final
class Datagrams:
    """Datagrams that one real server answers, which is to see them from one address and port."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = inside(namespace.name, lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.connect((address, port))
        self._socket.setblocking(False)
        self._through: tuple[str, str, int] | None = None
        self._right = self._wrong = False
        self._asked = 0.0

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def begin(self) -> None:
        """Ask."""
        self._read()
        self._right, self._asked = False, 0.0

    def works(self) -> bool:
        """Whether there was an answer since :meth:`begin`, on the way of the first one."""
        if not self._right and time.monotonic() - self._asked > ASK_AGAIN:
            self._asked = time.monotonic()
            with contextlib.suppress(OSError):  # what ICMP said of an earlier one
                self._socket.send(b"?\n")
        self._read()
        return self._right and not self._wrong

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                told = json.loads(self._socket.recv(1 << 16).partition(b"\n")[0])
                through = told["server"], told["peer"], told["port"]
                self._through = self._through or through
                self._right, self._wrong = True, self._wrong or through != self._through


Connection: TypeAlias = Chatty | Datagrams | Idle | Stream | Upload


def _listen(port: int) -> socket.socket:
    # With a full queue the server's kernel answers by cookies, and forgets a client that is silent.
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
    )


def _pattern(start: int, size: int) -> bytes:
    return _PATTERN[start % 251 :][:size]
