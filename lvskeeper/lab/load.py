"""Many connections that live, and new ones at a steady rate, at the least cost a request.

``python -m lvskeeper.lab.load --target 198.51.100.1 80 --hold 200 --rate 50`` keeps 200
connections, each of which asks again after a pause, and opens 50 a second for one request each. It
tells the score as a line of JSON each half second. :class:`Load` runs that in a namespace.

:mod:`lvskeeper.lab.traffic` tells more about each request; this one is for an emulated machine,
where its loop of plain sockets carries several times as many.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Self, final

from lvskeeper.lab.netns import Namespace
from lvskeeper.lab.teller import Teller

LIMIT: Final = 20.0
"""Seconds for one answer; more than TCP's first four retransmissions take."""
PAUSE: Final = 5.0
"""Seconds between an answer on a connection that lives, and its next request."""
TOLD_EVERY: Final = 0.5
STOP_DEADLINE: Final = 40.0
WORDS_KEPT: Final = 10
"""Causes of failures that the score names."""
KEEP: Final = b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n"
CLOSE: Final = b"GET / HTTP/1.1\r\nHost: laboratory\r\nConnection: close\r\n\r\n"


@final
@dataclass(frozen=True, slots=True)
class Score:
    """What became of the connections so far."""

    held: int = 0
    """Connections that live, and have had an answer."""
    answers: int = 0
    """Answers on connections that live."""
    lost: int = 0
    """Connections that were to live and ended, or never began."""
    opened: int = 0
    """Connections for one request that have ended, well or not."""
    failed: int = 0
    """Those of them without an answer."""
    slowest: float = 0.0
    """Longest time for one answer, in seconds."""
    words: list[str] = field(default_factory=list)
    """Why some failed or were lost."""


@final
class _Connection:
    """One connection's place in the generator."""

    __slots__ = ("answered", "asked", "page", "sock", "stays", "target", "writing")

    def __init__(self, target: tuple[str, int], now: float, *, stays: bool) -> None:
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.target = target
        self.stays = stays
        self.asked = now
        self.page = b""
        self.writing = True
        self.answered = False
        with contextlib.suppress(BlockingIOError):
            self.sock.connect(target)


@final
class Generator:
    """The loop: one epoll, one heap of deadlines."""

    def __init__(self, targets: Sequence[tuple[str, int]], hold: int, rate: float) -> None:
        self._targets = itertools.cycle(targets)
        self._hold = hold
        self._rate = rate
        self._epoll = select.epoll()
        self._there: dict[int, _Connection] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._stopping = False
        self._score: dict[str, float] = dict.fromkeys(("answers", "lost", "opened", "failed"), 0)
        self._slowest = 0.0
        self._words: list[str] = []

    def stop(self, *_: object) -> None:
        """Open no more, let requests under way end, and leave :meth:`run`."""
        self._stopping = True

    def run(self) -> None:
        """Work until :meth:`stop`, and tell the score."""
        # Those that live begin one after the other too: a burst of them would be a load of its own
        for number in range(self._hold):
            self._at(number / max(self._rate, 10.0), lambda: self._open(stays=True))
        if self._rate:
            self._at(0.0, self._steadily)
        self._at(0.0, self._tell)
        while not self._stopping or any(item.asked for item in self._there.values()):
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else TOLD_EVERY
            for descriptor, _ in self._epoll.poll(min(wait, TOLD_EVERY)):
                if connection := self._there.get(descriptor):
                    self._ready(connection)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
        self._print()

    def _at(self, delay: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay, next(self._numbers), work))

    def _tell(self) -> None:
        self._print()
        self._at(TOLD_EVERY, self._tell)

    def _print(self) -> None:
        held = sum(1 for item in self._there.values() if item.stays and item.answered)
        counts = {name: int(value) for name, value in self._score.items()}
        score = Score(held=held, slowest=round(self._slowest, 6), words=self._words, **counts)
        sys.stdout.write(json.dumps(asdict(score)) + "\n")
        sys.stdout.flush()

    def _steadily(self) -> None:
        if not self._stopping:
            self._open(stays=False)
            self._at(1 / self._rate, self._steadily)

    def _open(self, *, stays: bool) -> None:
        if self._stopping:
            return
        try:
            connection = _Connection(next(self._targets), time.monotonic(), stays=stays)
        except OSError as error:
            self._count_failure(str(error), stays=stays)
            return
        self._there[connection.sock.fileno()] = connection
        self._epoll.register(connection.sock, select.EPOLLOUT)
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        asked = connection.asked

        def check() -> None:
            if connection.asked == asked and connection.sock.fileno() >= 0:
                self._fail(connection, f"no answer within {LIMIT:g} s")

        self._at(LIMIT, check)

    def _ready(self, connection: _Connection) -> None:
        try:
            if connection.writing:
                # Where the connection failed, this raises why
                connection.sock.send(KEEP if connection.stays else CLOSE)
                connection.writing = False
                self._epoll.modify(connection.sock, select.EPOLLIN)
                return
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, str(error))
            return
        connection.page += data
        whole = connection.page.rstrip().endswith(b"}")
        if connection.stays and not data:
            self._fail(connection, "the connection was closed")
        elif connection.stays and whole:
            self._score["answers"] += 1
            self._answered(connection)
            self._at(PAUSE, lambda: self._ask_again(connection))
        elif not data and whole:
            self._score["opened"] += 1
            self._answered(connection)
            self._close(connection)
        elif not data:
            self._fail(connection, "the answer was cut")

    def _answered(self, connection: _Connection) -> None:
        self._slowest = max(self._slowest, time.monotonic() - connection.asked)
        connection.asked = 0.0
        connection.answered = True
        connection.page = b""

    def _ask_again(self, connection: _Connection) -> None:
        if connection.sock.fileno() < 0 or self._stopping:
            return
        connection.asked = time.monotonic()
        try:
            connection.sock.send(KEEP)
        except OSError as error:
            self._fail(connection, str(error))
        else:
            self._watch(connection)

    def _fail(self, connection: _Connection, why: str) -> None:
        address, port = connection.target
        self._count_failure(f"{address} {port}: {why}", stays=connection.stays)
        self._close(connection)

    def _count_failure(self, why: str, *, stays: bool) -> None:
        for name in ("lost",) if stays else ("opened", "failed"):
            self._score[name] += 1
        if len(self._words) < WORDS_KEPT:
            self._words.append(why)

    def _close(self, connection: _Connection) -> None:
        del self._there[connection.sock.fileno()]
        connection.asked = 0.0
        connection.sock.close()


@final
class Load:
    """The generator in a namespace, with its live score. A context manager that stops it."""

    def __init__(
        self, namespace: Namespace, *targets: tuple[str, int], hold: int = 0, rate: float = 0.0
    ) -> None:
        arguments = ["-m", "lvskeeper.lab.load", "--hold", str(hold), "--rate", str(rate)]
        for address, port in targets:
            arguments += ["--target", address, str(port)]
        self._score = Score()
        self._teller = Teller(namespace, arguments, self._take, patience=STOP_DEADLINE)

    def __enter__(self) -> Self:
        self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def score(self) -> Score:
        """The score as of the last half second."""
        return self._score

    def stop(self) -> Score:
        """End it, let requests under way finish, and return the whole score."""
        self._teller.stop()
        return self.score

    def wait_for(self, predicate: Callable[[Score], bool], timeout: float = 60.0) -> Score:
        """Wait until the score is as wanted and return it; raises ``TimeoutError`` with it."""
        return self._teller.wait_for(lambda: self._score, predicate, timeout)

    def _take(self, line: str) -> None:
        self._score = Score(**json.loads(line))


def main() -> None:
    """Parse the command line and work."""
    parser = argparse.ArgumentParser(prog="python -m lvskeeper.lab.load", description=__doc__)
    parser.add_argument(
        "--target", nargs=2, action="append", required=True, metavar=("ADDRESS", "PORT")
    )
    parser.add_argument("--hold", type=int, default=0, help="connections that live")
    parser.add_argument("--rate", type=float, default=0.0, help="new connections a second")
    options = parser.parse_args()
    targets = [(address, int(port)) for address, port in options.target]
    generator = Generator(targets, options.hold, options.rate)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, generator.stop)
    generator.run()


if __name__ == "__main__":
    main()
