"""Continuous requests, and what became of each.

``python -m lvskeeper.lab.traffic --url http://198.51.100.1/ --rate 50`` makes a new connection for
each request and writes a line of JSON when it has ended. ``--url udp://198.51.100.1:53`` sends
datagrams. :class:`Traffic` runs that in a namespace and keeps the score.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Self, final
from urllib.parse import SplitResult, urlsplit

from lvskeeper.lab.netns import Namespace
from lvskeeper.lab.teller import Teller

STOP_DEADLINE: Final = 30.0
PAGE_LIMIT: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """One finished request."""

    started: float
    """Monotonic clock of the machine, so it compares with ``time.monotonic()`` elsewhere."""
    ok: bool
    server: str
    peer: str
    """Address that the server saw."""
    ms: float
    error: str

    @property
    def ended(self) -> float:
        """When it had its answer, or was given up."""
        return self.started + self.ms / 1000


@final
@dataclass(frozen=True, slots=True)
class Counts:
    """The score of some requests."""

    sent: int = 0
    """Requests that have ended, well or not."""
    failed: int = 0
    servers: Mapping[str, int] = field(default_factory=dict)
    """Good answers by server."""
    peers: Mapping[str, int] = field(default_factory=dict)
    """Good answers by the address that the server saw."""
    errors: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {count}" for name, count in sorted(self.servers.items()))
        errors = "; ".join(f"{count}x {text}" for text, count in self.errors.items())
        return f"{self.sent} sent, {self.failed} failed ({shares})" + (f": {errors}" * bool(errors))


def count(answers: list[Answer]) -> Counts:
    """Return the score of *answers*."""
    good = [answer for answer in answers if answer.ok]
    return Counts(
        sent=len(answers),
        failed=len(answers) - len(good),
        servers=Counter(answer.server for answer in good),
        peers=Counter(answer.peer for answer in good),
        errors=Counter(answer.error for answer in answers if not answer.ok),
    )


@final
@dataclass(slots=True)
class _Trace:
    """How far a request has come."""

    port: int = 0
    """Of the client; 0 before the server has answered its SYN."""


async def _http(url: SplitResult, trace: _Trace) -> dict[str, Any]:
    host = url.hostname or ""
    reader, writer = await asyncio.open_connection(host, url.port or 80, limit=PAGE_LIMIT)
    trace.port = writer.get_extra_info("sockname")[1]
    try:
        request = (
            f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise ValueError(f"status {status[0].decode()}" if status else "empty answer")
    return dict(json.loads(body))


async def _udp(url: SplitResult) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    host = url.hostname or ""
    with socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
    ) as sock:
        sock.setblocking(False)
        sock.connect((host, url.port or 0))
        await loop.sock_sendall(sock, b"?\n")
        return dict(json.loads((await loop.sock_recv(sock, PAGE_LIMIT)).partition(b"\n")[0]))


async def _one(url: SplitResult, timeout: float) -> None:  # noqa: ASYNC109 - part of the result
    started = time.monotonic()
    told: dict[str, Any] = {}
    error = ""
    trace = _Trace()
    try:
        async with asyncio.timeout(timeout):
            told = await (_udp(url) if url.scheme == "udp" else _http(url, trace))
    except TimeoutError:
        # A generator that stood still itself is seen by a time well over the limit
        took = time.monotonic() - started
        where = f"on port {trace.port}, connected, " if trace.port else ""
        late = f", noticed after {took:.1f} s" if took > timeout + 0.5 else ""
        error = f"{where}no answer within {timeout:g} s{late}"
    except (OSError, ValueError) as problem:
        error = str(problem) or type(problem).__name__
    answer = {
        "started": started,
        "ok": not error,
        "server": told.get("server", ""),
        "peer": told.get("peer", ""),
        "ms": round((time.monotonic() - started) * 1000, 1),
        "error": error,
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def generate(url: str, rate: float, concurrency: int, timeout: float) -> None:  # noqa: ASYNC109 - one request's, see _one
    """Send requests until SIGTERM or SIGINT, then let those under way end.

    At most *concurrency* are under way; a request that has to wait for that is sent late, and the
    ones after it are not hurried.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = urlsplit(url)
    slots = asyncio.Semaphore(concurrency)
    tasks: set[asyncio.Task[None]] = set()

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        slots.release()
        if not task.cancelled() and task.exception():
            stop.set()

    due = loop.time()
    while not stop.is_set():
        await slots.acquire()
        task = asyncio.create_task(_one(parts, timeout))
        tasks.add(task)
        task.add_done_callback(done)
        due = max(due + 1 / rate, loop.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await stop.wait()
    await asyncio.gather(*tasks)


@final
class Traffic:
    """A request generator in a namespace, with a live score. A context manager that stops it."""

    def __init__(
        self,
        namespace: Namespace,
        url: str,
        *,
        rate: float = 20.0,
        concurrency: int = 8,
        timeout: float = 5.0,
    ) -> None:
        self.timeout: Final = timeout
        arguments = ["-m", "lvskeeper.lab.traffic", "--url", url]
        arguments += ["--rate", str(rate), "--concurrency", str(concurrency)]
        arguments += ["--timeout", str(timeout)]
        self._answers: list[Answer] = []
        self._teller = Teller(namespace, arguments, self._take, patience=STOP_DEADLINE)

    def __enter__(self) -> Self:
        self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Counts:
        """End it, let the requests under way finish, and return the whole score."""
        self._teller.stop()
        return self.counts

    @property
    def counts(self) -> Counts:
        """The score of all requests that have ended."""
        return self.since(float("-inf"))

    @property
    def failures(self) -> list[Answer]:
        """The requests that have failed."""
        with self._teller.changed:
            return [answer for answer in self._answers if not answer.ok]

    @property
    def last(self) -> Answer | None:
        """The newest answer."""
        with self._teller.changed:
            return self._answers[-1] if self._answers else None

    def mark(self) -> float:
        """Return this moment, for :meth:`since`."""
        return time.monotonic()

    def since(self, mark: float) -> Counts:
        """Return the score of requests that were started at *mark* or later and have ended."""
        with self._teller.changed:
            return count([answer for answer in self._answers if answer.started >= mark])

    def between(self, begin: float, end: float) -> Counts:
        """Return the score of requests that have ended, and were under way between two moments."""
        with self._teller.changed:
            return count([one for one in self._answers if one.started < end and one.ended >= begin])

    def first(self, since: float, predicate: Callable[[Answer], bool]) -> Answer:
        """Return the first good answer that ended after a mark and is as wanted.

        Raises ``ValueError`` where there is none.
        """
        with self._teller.changed:
            return min(
                (one for one in self._answers if one.ok and one.ended >= since and predicate(one)),
                key=lambda one: one.ended,
            )

    def longest_gap(self, since: float) -> tuple[Answer, Answer]:
        """Return the two good answers with the longest time between their ends.

        The first of them may be the last one before *since*. Raises ``ValueError`` where there are
        not two.
        """
        with self._teller.changed:
            good = sorted((one for one in self._answers if one.ok), key=lambda one: one.ended)
        before = [one for one in good if one.ended < since][-1:]
        after = before + [one for one in good if one.ended >= since]
        return max(pairwise(after), key=lambda pair: pair[1].ended - pair[0].ended)

    def wait_for(
        self,
        predicate: Callable[[Counts], bool],
        timeout: float = 30.0,
        *,
        since: float = float("-inf"),
    ) -> Counts:
        """Wait until the score of the requests since a mark is as wanted, and return it.

        Raises ``TimeoutError``, which tells the score that there was.
        """
        return self._teller.wait_for(lambda: self.since(since), predicate, timeout)

    def _take(self, line: str) -> None:
        self._answers.append(Answer(**json.loads(line)))


def main() -> None:
    """Parse the command line and send."""
    parser = argparse.ArgumentParser(prog="python -m lvskeeper.lab.traffic", description=__doc__)
    parser.add_argument(
        "--url", required=True, help="http://ADDRESS:PORT/PATH or udp://ADDRESS:PORT"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--concurrency", type=int, default=8, help="requests under way at most")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one request")
    options = parser.parse_args()
    asyncio.run(generate(options.url, options.rate, options.concurrency, options.timeout))


if __name__ == "__main__":
    main()
