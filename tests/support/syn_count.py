"""Counts the SYNs that reach a server, in the kernel and without a process."""

import socket
from collections.abc import Sequence
from struct import Struct
from typing import Final, final

from lvskeeper.kernel.sockets import Instruction, attach_filter
from lvskeeper.lab.netns import Namespace, inside
from lvskeeper.lab.wire import ETH_P_ALL

SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6
STATISTICS: Final = Struct("@II")
"""Packets, dropped ones included, and those dropped (``struct tpacket_stats``)."""


def syns_to(first: int, second: int) -> tuple[Instruction, ...]:
    """Return classic BPF that passes the SYNs to two ports, over IPv4 and IPv6."""
    return (
        (0x28, 0, 0, 12),  # ldh: what the frame carries
        (0x15, 0, 5, 0x0800),
        (0x28, 0, 0, 36),  # ldh: the port
        (0x15, 1, 0, first),
        (0x15, 0, 11, second),
        (0x30, 0, 0, 47),  # ldb: the flags
        (0x05, 0, 0, 6),
        (0x15, 0, 8, 0x86DD),
        (0x28, 0, 0, 56),
        (0x15, 1, 0, first),
        (0x15, 0, 5, second),
        (0x30, 0, 0, 67),
        (0x05, 0, 0, 0),
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),  # SYN without ACK
        (0x06, 0, 0, 1),
        (0x06, 0, 0, 0),
    )


@final
class SynCounter:
    """Counts the SYNs to two ports in some namespaces, from its making on."""

    def __init__(self, namespaces: Sequence[Namespace], ports: tuple[int, int]) -> None:
        self._total = 0
        self._sockets = [inside(one.name, lambda: _counting(ports)) for one in namespaces]

    def close(self) -> None:
        """Stop it."""
        for sock in self._sockets:
            sock.close()

    def total(self) -> int:
        """Return how many there were."""
        for sock in self._sockets:
            # The kernel's own count starts anew whenever it is read.
            told = sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
            self._total += STATISTICS.unpack(told)[0]
        return self._total


def _counting(ports: tuple[int, int]) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # deaf until it is bound
    attach_filter(made, syns_to(*ports))
    made.bind(("eth0", ETH_P_ALL))
    return made
