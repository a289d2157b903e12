"""News of nftables transactions, and of who made them."""

import ctypes
import errno
import socket
import sys
from dataclasses import dataclass
from struct import Struct
from typing import Final, Self, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.nft import attribute

LIMIT: Final = 64
"""Datagrams that are read at once unless the caller says otherwise; a third of a millisecond."""
DISCARDED: Final = 1 << 14
"""Datagrams thrown away at once after an overrun; the socket's buffer holds fewer."""

_NETLINK_NETFILTER: Final = 12
_GROUP: Final = 7
"""``NFNLGRP_NFTABLES`` (nfnetlink.h)."""
_NEW_GENERATION: Final = (10 << 8) | 15
"""``NFNL_SUBSYS_NFTABLES`` and ``NFT_MSG_NEWGEN`` (nf_tables.h)."""
_GENERATION, _PROCESS, _NAME = 1, 2, 3
"""``NFTA_GEN_ID``, ``NFTA_GEN_PROC_PID``, ``NFTA_GEN_PROC_NAME`` (kernel 4.10)."""
_DATAGRAM: Final = 256

_SO_ATTACH_FILTER: Final = 26
_BPF: Final = Struct("=HBBI")
"""``struct sock_filter``"""
_LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x28, 0x15, 0x06


@final
@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that has become the ruleset."""

    generation: int
    process: int = 0
    """Kernel id of the thread that made it; 0 where it is not told."""
    name: str = ""
    """Name of that thread, mostly that of its program, 15 bytes at most."""

    def __str__(self) -> str:
        return f"{self.name or '?'}[{self.process}]"


@final
@dataclass(frozen=True, slots=True)
class Overrun:
    """News were lost: look at the ruleset."""


News: TypeAlias = Commit | Overrun


@final
class NftMonitor:
    """A socket that hears of transactions in the network namespace of the thread that makes it.

    A transaction is one short datagram here, whatever it holds: the kernel filters the rest, which
    would be a message for every one of 100,000 elements. It never waits: let the loop watch its
    descriptor. Raises :class:`OperatorError` where the kernel gives no such socket.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket: Final = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
            _attach_filter(self._socket)
            self._socket.bind((0, 1 << (_GROUP - 1)))
        except OSError as error:
            raise OperatorError(
                f"cannot watch nftables: {error.strerror}",
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

    def drain(self, limit: int = LIMIT) -> list[News]:
        """Return what there is to tell, from up to *limit* datagrams, without waiting.

        After a loss all that waits is out of date: it is thrown away for one :class:`Overrun`.
        """
        news: list[News] = []
        for _ in range(limit):
            try:
                data, (port, _groups) = self._socket.recvfrom(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._discard()
                return [Overrun()]
            if port == 0 and (commit := _decode(data)):  # others than the kernel have no say
                news.append(commit)
        return news

    def _discard(self) -> None:
        for _ in range(DISCARDED):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def _attach_filter(receiver: socket.socket) -> None:
    """Let the kernel drop all but new generations, which come in datagrams of their own."""
    # The message type is in the machine's order, and a filter loads in that of the network.
    kind = int.from_bytes(_NEW_GENERATION.to_bytes(2, sys.byteorder), "big")
    program = b"".join(
        _BPF.pack(*instruction)
        for instruction in (
            (_LOAD_HALF, 0, 0, 4),
            (_JUMP_EQUAL, 0, 1, kind),
            (_RETURN, 0, 0, _DATAGRAM),
            (_RETURN, 0, 0, 0),
        )
    )
    block = ctypes.create_string_buffer(program, len(program))
    value = Struct("@HP").pack(len(program) // _BPF.size, ctypes.addressof(block))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)


def _decode(data: bytes) -> Commit | None:
    generation = attribute(data, _GENERATION)
    if generation is None:
        return None
    return Commit(
        int.from_bytes(generation, "big"),
        int.from_bytes(attribute(data, _PROCESS) or b"", "big"),
        (attribute(data, _NAME) or b"").rstrip(b"\0").decode(errors="replace"),
    )
