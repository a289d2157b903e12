"""One TCP connection that asks again and again, to see whether it outlives what is done to it."""

import json
import socket
import threading
import time
from typing import Final, Self, final

from lvskeeper.lab.netns import Namespace, inside

PAUSE: Final = 0.1
"""Seconds between an answer and the next question."""


def connect_in(namespace: Namespace, address: str, port: int, timeout: float) -> socket.socket:
    """Return a connection that starts in *namespace*; raise ``OSError`` where it fails."""
    return inside(namespace.name, lambda: socket.create_connection((address, port), timeout))


@final
class LongLived:
    """A keep-alive connection from *namespace* with one request after the other."""

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        port: int,
        *,
        patience: float = 10.0,
        pause: float = PAUSE,
    ) -> None:
        """*patience* is how long one answer may take, *pause* what follows it, both in seconds."""
        self._pause = pause
        self._where = (namespace, address, port, patience)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.answers = 0
        self.longest = 0.0
        """Longest time for one answer, in seconds."""
        self.server = ""
        """Who answers; one connection has one real server."""
        self.error = ""
        """Why the connection ended before its time."""

    def __enter__(self) -> Self:
        self._socket = connect_in(*self._where)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    @property
    def alive(self) -> bool:
        """Whether it has had answers and still gets them."""
        return self.answers > 0 and not self.error

    def _ask(self) -> None:
        while not self._stop.wait(self._pause):
            started = time.monotonic()
            try:
                self._socket.sendall(b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n")
                page = b""
                while b"}" not in page:
                    if not (data := self._socket.recv(65536)):
                        raise ConnectionResetError("the connection was closed")
                    page += data
            except OSError as error:
                self.error = str(error)
                return
            self.server = json.loads(page.partition(b"\r\n\r\n")[2])["server"]
            self.answers += 1
            self.longest = max(self.longest, time.monotonic() - started)
