"""What a real server's TCP offered, read from a connection just made to it."""

import socket
import struct
from functools import lru_cache
from typing import Final

from lvskeeper.health.spec import TcpOffer

_INFO_SIZE: Final = 20
"""Bytes of ``struct tcp_info`` (linux/tcp.h) up to and with ``tcpi_snd_mss``."""
_OPTIONS, _WSCALES, _SND_MSS = 5, 6, 16
_TIMESTAMPS, _WSCALE = 1, 4
"""``TCPI_OPT_*``."""
_TIMESTAMP_ROOM: Final = 12
"""Bytes of each segment that timestamps take; ``tcpi_snd_mss`` leaves them out."""


def read_offer(sock: socket.SocketType) -> TcpOffer | None:
    """Return what the peer of *sock* offered; ``None`` where the kernel does not tell (closed)."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except OSError:
        return None
    return _offer(info[_OPTIONS], info[_WSCALES], info[_SND_MSS:_INFO_SIZE])


@lru_cache(maxsize=256)
def _offer(options: int, wscales: int, size: bytes) -> TcpOffer:
    """Return what is meant; most servers of a farm offer the same."""
    (mss,) = struct.unpack("=I", size)
    return TcpOffer(
        mss=mss + (_TIMESTAMP_ROOM if options & _TIMESTAMPS else 0),
        # Two bit fields in one byte: the first is the low half on little-endian machines only.
        wscale=_first_half(wscales) if options & _WSCALE else None,
    )


def _first_half(value: int) -> int:
    return value & 15 if struct.pack("=H", 1)[0] else value >> 4
