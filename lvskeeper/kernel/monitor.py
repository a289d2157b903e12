"""Listening to what the kernel tells everybody: netlink multicast."""

import errno
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.netlink import DATAGRAM

LIMIT: Final = 256
"""Datagrams that are read at once unless the caller says otherwise."""
DISCARDED: Final = 1 << 16
"""Datagrams thrown away at once after an overrun; a socket's buffer holds fewer."""


@final
@dataclass(frozen=True, slots=True)
class Overrun:
    """News were lost: read everything anew. What was told before it is out of date as well."""


Item = TypeVar("Item")


class Monitor(ABC, Generic[Item]):
    """A socket that hears of changes in the network namespace of the thread that makes it.

    It never waits: let the loop watch its descriptor. Raises :class:`OperatorError` where the
    kernel gives no such socket.
    """

    def __init__(
        self,
        subject: str,
        protocol: int,
        groups: Iterable[int],
        prepare: Callable[[socket.socket], None],
    ) -> None:
        """Listen to *groups* with a socket that *prepare* gets before it can hear anything."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket: Final = socket.socket(socket.AF_NETLINK, kind, protocol)
            try:
                prepare(self._socket)
                self._socket.bind((0, sum(1 << (group - 1) for group in groups)))
            except OSError:
                self._socket.close()
                raise
        except OSError as error:
            raise OperatorError(
                f"cannot watch {subject}: {error.strerror}",
                status=ExitStatus.PERMISSION if error.errno == errno.EPERM else ExitStatus.KERNEL,
            ) from error

    def fileno(self) -> int:
        """Return the descriptor, which is readable while there are news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; twice is harmless."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drain(self, limit: int = LIMIT) -> list[Item | Overrun]:
        """Return what there is to tell, from up to *limit* datagrams, without waiting.

        After a loss all that waits is out of date: it is thrown away for one :class:`Overrun`.
        """
        news: list[Item | Overrun] = []
        for _ in range(limit):
            try:
                data, (port, _groups) = self._socket.recvfrom(DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._discard()
                return [Overrun()]
            if port == 0:  # others than the kernel have nothing to tell us
                news += self._read(data)
        return news

    @abstractmethod
    def _read(self, data: bytes) -> Iterable[Item]:
        """Return what one datagram tells."""

    def _discard(self) -> None:
        for _ in range(DISCARDED):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
