"""News of nftables transactions, and of who made them."""

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.ipvs.wire import messages
from lvskeeper.kernel.monitor import Monitor
from lvskeeper.kernel.nfnetlink import FIRST, NETLINK_NETFILTER, NFTABLES, attributes
from lvskeeper.kernel.sockets import attach_filter

_GROUP: Final = 7
"""``NFNLGRP_NFTABLES`` (nfnetlink.h)."""
_NEW_GENERATION: Final = NFTABLES << 8 | 15
"""``NFT_MSG_NEWGEN`` (nf_tables.h)."""
_GENERATION, _PROCESS, _NAME = 1, 2, 3
"""``NFTA_GEN_ID``, ``NFTA_GEN_PROC_PID``, ``NFTA_GEN_PROC_NAME`` (kernel 4.10)."""
_LONGEST: Final = 256
"""Bytes of a datagram."""
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
class NftMonitor(Monitor[Commit]):
    """Hears of transactions in the network namespace of the thread that makes it.

    A transaction is one short datagram here, whatever it holds: the kernel filters the rest, which
    would be a message for every one of 100,000 elements. Raises as :class:`Monitor` does.
    """

    def __init__(self) -> None:
        super().__init__("nftables", NETLINK_NETFILTER, (_GROUP,), _hear_commits_only)

    def _read(self, data: bytes) -> Iterator[Commit]:
        for _, _, start, end in messages(data):
            told = attributes(data, start + FIRST, end)
            yield Commit(
                int.from_bytes(told[_GENERATION], "big"),
                int.from_bytes(told.get(_PROCESS, b""), "big"),
                told.get(_NAME, b"").rstrip(b"\0").decode(errors="replace"),
            )


def _hear_commits_only(receiver: socket.socket) -> None:
    """Let the kernel drop all but new generations, which come in datagrams of their own."""
    # The message type is in the machine's order, and a filter loads in that of the network.
    kind = int.from_bytes(_NEW_GENERATION.to_bytes(2, sys.byteorder), "big")
    attach_filter(
        receiver,
        [
            (_LOAD_HALF, 0, 0, 4),
            (_JUMP_EQUAL, 0, 1, kind),
            (_RETURN, 0, 0, _LONGEST),
            (_RETURN, 0, 0, 0),
        ],
    )
