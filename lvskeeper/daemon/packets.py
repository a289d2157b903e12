"""Packets between a process and a helper of its own, over a pair of sequenced-packet sockets.

Nobody waits: what the socket does not take is kept, and sent when it does.
"""

import contextlib
import socket
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Final, final

MAX_PACKET: Final = 1 << 18
"""Longest packet in bytes: the arguments of a script, or the end of its output."""
MAX_KEPT: Final = 4096
"""Packets that wait to be sent. A peer that takes none of so many stands still."""
PACKETS_A_TURN: Final = 32
BUFFER: Final = 1 << 20


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return ends


@final
class Packets:
    """One end in a loop. *on_end* is called once, when the peer is gone or stands still."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        end: socket.socket,
        on_packet: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop: Final = loop
        self._end: Final = end
        self._on_packet: Final = on_packet
        self._on_end: Final = on_end
        self._kept: deque[bytes] = deque()
        self.closed = False
        loop.add_reader(end, self._read)

    def send(self, packet: bytes) -> None:
        """Send now or later; nothing after the end. Raises ``ValueError`` for one too long."""
        if len(packet) > MAX_PACKET:
            raise ValueError(f"{len(packet)} bytes are too many")
        if self.closed:
            return
        if not self._kept:
            self._loop.add_writer(self._end, self._write)
        elif len(self._kept) >= MAX_KEPT:
            self._lose()
            return
        self._kept.append(packet)
        if len(self._kept) == 1:
            self._write()

    def close(self) -> None:
        """Give the socket back; twice is harmless."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            self._end.close()

    def _write(self) -> None:
        try:
            with contextlib.suppress(BlockingIOError):
                while self._kept:
                    self._end.send(self._kept[0])
                    self._kept.popleft()
        except OSError:
            self._lose()
            return
        if not self._kept:
            self._loop.remove_writer(self._end)

    def _read(self) -> None:
        for _ in range(PACKETS_A_TURN):
            try:
                packet = self._end.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lose()
                return
            self._on_packet(packet)
            if self.closed:
                return

    def _lose(self) -> None:
        if not self.closed:
            self.close()
            # Later: who sends must not be called back before the call returns.
            self._loop.call_soon(self._on_end)
