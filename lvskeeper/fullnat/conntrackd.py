"""conntrackd, which carries connection tracking to the peer: its configuration and its figures.

The mode is FTFW with the entries put straight into the peer's kernel (``DisableExternalCache``), so
that a take-over needs no step before the addresses move; docs/state-sync.md has the measurements.
Formats are those of conntrack-tools 1.4.7: conntrackd.conf(5), and what ``conntrackd -s`` prints.
"""

import re
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.units import Address, format_address

DEFAULT_PORT: Final = 3780
RESEND_QUEUE: Final = 131_072
"""Messages that are kept until the peer has confirmed them: conntrackd's own default."""
SOCKET_BUFFER: Final = 1_249_280
"""Bytes, as the manual has it: some 10,000 messages."""
NETLINK_BUFFER, NETLINK_BUFFER_LIMIT = 2_097_152, 8_388_608
LEAST_ENTRIES: Final = 65_536
BUCKETS: Final = (16_384, 2_097_152)
"""Fewest and most hash buckets; one takes 8 bytes."""
PEER_PATIENCE: Final = 5.0
"""Seconds without a word of the peer after which it is lost: it says something each second."""
LEAST_REFRESH: Final = 15.0
ENTRY_COST: Final = 25e-6
"""CPU seconds that a refresh takes for an entry, on both sides together, as measured."""
REFRESH_SHARE: Final = 0.05
"""Most of one core that refreshes may take."""

_LOOPBACK: Final = {4: "127.0.0.1", 16: "::1"}


@final
@dataclass(frozen=True, slots=True)
class Link:
    """The way to the peer: unicast with *peer*, multicast with *group*."""

    interface: str
    address: Address
    """Our own."""
    peer: Address | None = None
    group: Address | None = None
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        if (self.peer is None) is (self.group is None):
            raise ValueError("a link has either a peer or a group")


@final
@dataclass(frozen=True, slots=True)
class Paths:
    """Where conntrackd keeps what it needs."""

    lock: str
    socket: str


def render(link: Link, paths: Paths, limit: int) -> str:
    """Return conntrackd.conf for a machine whose ``nf_conntrack_max`` is *limit*.

    TCP is told when it is established, and when it ends; that half the CPU time of short
    connections goes with the steps between is measured. VIPs and LIPs are never left out: they are
    what the peer has to know.
    """
    family = "IPv4" if len(link.address) == 4 else "IPv6"
    entries = max(limit, LEAST_ENTRIES)
    buckets = min(max(1 << (entries // 2).bit_length(), BUCKETS[0]), BUCKETS[1])
    ignored = [_LOOPBACK[4], _LOOPBACK[16], format_address(link.address)]
    if link.peer is not None:
        ignored.append(format_address(link.peer))
    return "\n".join(
        (
            "# Written by lvskeeper: changes are lost.",
            "Sync {",
            f"Mode FTFW {{\nResendQueueSize {RESEND_QUEUE}\nDisableExternalCache On\n}}",
            *_channel(link, family),
            "}",
            "General {",
            f"HashSize {buckets}",
            # The manual asks for twice nf_conntrack_max: what ended waits for the peer's word.
            f"HashLimit {2 * entries}",
            "LogFile Off\nSyslog Off",
            f"LockFile {paths.lock}",
            f"UNIX {{\nPath {paths.socket}\n}}",
            f"NetlinkBufferSize {NETLINK_BUFFER}",
            f"NetlinkBufferSizeMaxGrowth {NETLINK_BUFFER_LIMIT}",
            # Its own choice, 99, would run ahead of VRRP.
            "Scheduler {\nType RR\nPriority 1\n}",
            "Filter From Kernelspace {",
            "Protocol Accept {\nTCP\nUDP\nSCTP\n}",
            "Address Ignore {",
            *(f"{_version(text)}_address {text}" for text in ignored),
            "}",
            "State Accept {\nESTABLISHED CLOSED TIME_WAIT CLOSE_WAIT for TCP\n}",
            "}",
            "}",
            "",
        )
    )


def _channel(link: Link, family: str) -> tuple[str, ...]:
    own = format_address(link.address)
    buffers = f"SndSocketBuffer {SOCKET_BUFFER}\nRcvSocketBuffer {SOCKET_BUFFER}\nChecksum On\n}}"
    common = f"Interface {link.interface}\n{buffers}"
    if link.group is not None:
        # Of IPv6 the interface alone says where: no address of its own is taken.
        ours = (f"IPv4_interface {own}",) if family == "IPv4" else ()
        group = f"{family}_address {format_address(link.group)}"
        return ("Multicast {", group, *ours, f"Group {link.port}", common)
    assert link.peer is not None
    peer = f"{family}_Destination_Address {format_address(link.peer)}"
    return ("UDP {", f"{family}_address {own}", peer, f"Port {link.port}", common)


def _version(text: str) -> str:
    return "IPv6" if ":" in text else "IPv4"


@final
@dataclass(frozen=True, slots=True)
class Figures:
    """What conntrackd counts; all but the numbers of entries and messages only grows."""

    own: int = 0
    """Connections of this node that the peer is to know."""
    injected: int = 0
    """Entries of the peer that were put into this kernel."""
    removed: int = 0
    """Those of them that were taken out again, as the peer said."""
    failed: int = 0
    """Entries of the peer that the kernel refused."""
    received: int = 0
    """Packets from the peer."""
    sent: int = 0
    errors: int = 0
    """Failures to send or to receive."""
    malformed: int = 0
    lost: int = 0
    """Messages of the peer that did not come at first; they are sent again."""
    unconfirmed: int = 0
    """Messages that the peer has not confirmed, and those that wait to be sent."""
    overruns: int = 0
    """Times that the kernel's events came faster than they were read."""


def parse_figures(text: str) -> Figures:
    """Return the figures of ``-s``, ``-s queue`` and ``-s runtime``, one after the other.

    What is not there is 0.
    """
    internal = _section(text, "cache internal:")
    inject = _section(text, "external inject:")
    counted = [
        tuple(map(int, found))
        for what in ("created", "updated", "destroyed")
        for found in re.findall(rf"connections {what}:\s+(\d+)\s+failed:\s+(\d+)", inject)[:1]
    ]
    counted += [(0, 0)] * (3 - len(counted))
    queues = re.findall(r"queue (txqueue|rsqueue):\s+current elements:\s+(\d+)", text)
    return Figures(
        own=_number(internal, r"current active connections:\s+(\d+)"),
        injected=counted[0][0],
        removed=counted[2][0],
        failed=counted[0][1] + counted[1][1],
        received=_number(text, r"(\d+) Pckts recv"),
        sent=_number(text, r"(\d+) Pckts sent"),
        errors=_number(text, r"(\d+) Error send") + _number(text, r"(\d+) Error recv"),
        malformed=_number(text, r"(\d+) Malformed msgs"),
        lost=_number(text, r"(\d+) Lost msgs"),
        unconfirmed=sum(int(number) for _, number in queues),
        overruns=_number(text, r"netlink overrun:\s+(\d+)"),
    )


def _section(text: str, head: str) -> str:
    return text.partition(head)[2].partition("\n\n")[0]


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


@final
class PeerWatch:
    """Tells from the packets that come whether the peer's conntrackd is there."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._heard = 0.0
        self.there: bool | None = None
        """``None`` while it is not known yet."""

    def on_figures(self, figures: Figures, now: float) -> bool | None:
        """Take the figures at *now*; return whether the peer came or went, ``None`` for no news."""
        if figures.received != self._received:
            # The first look has nothing to compare with.
            came = self._received is not None and self.there is not True
            self._received, self._heard = figures.received, now
            if came:
                self.there = True
            return True if came else None
        if now - self._heard >= PEER_PATIENCE and self.there is not False:
            self.there = False
            return False
        return None


def refresh_pause(entries: int, shortest: float) -> float:
    """Return the seconds from one refresh of the peer's timeouts to the next.

    *shortest* is the shortest timeout, in seconds, that packets of an established flow renew here
    and nothing renews in the peer's kernel. With many *entries* a refresh comes less often than
    that would take: of what it costs, no more than :data:`REFRESH_SHARE` of a core.
    """
    return max(shortest / 3, LEAST_REFRESH, entries * ENTRY_COST / REFRESH_SHARE)
