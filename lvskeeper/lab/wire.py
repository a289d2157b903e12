"""What goes over the clients' network: VRRP adverts, and who says where an address is."""

import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct
from typing import Final, Self, TypeAlias, final

from lvskeeper.kernel.sockets import attach_filter
from lvskeeper.lab.netns import Namespace, inside

ETH_P_ALL: Final = 3
SO_TIMESTAMPNS: Final = 35
TIMESPEC: Final = Struct("@qq")
LONGEST: Final = 2048
CLOCK_READINGS: Final = 3
"""Two clocks cannot be read at once: a busy machine runs others between, for 30 ms and more."""
FILTER: Final = (
    (0x28, 0, 0, 12),  # ldh: what the frame carries
    (0x15, 7, 0, 0x0806),  # ARP
    (0x15, 0, 2, 0x0800),
    (0x30, 0, 0, 23),  # ldb: the protocol of IPv4
    (0x15, 4, 5, 112),
    (0x15, 0, 4, 0x86DD),
    (0x30, 0, 0, 20),  # ldb: the next header of IPv6
    (0x15, 1, 0, 112),
    (0x15, 0, 1, 58),
    (0x06, 0, 0, LONGEST),
    (0x06, 0, 0, 0),
)
"""Classic BPF: ARP, VRRP and ICMPv6, so that the requests themselves cost nothing here."""


@final
@dataclass(frozen=True, slots=True)
class Advert:
    """A VRRP advert; times are those of ``time.monotonic()``."""

    at: float
    source: str
    version: int
    """Of IP: 4 or 6."""
    priority: int


@final
@dataclass(frozen=True, slots=True)
class Announced:
    """A gratuitous ARP or an unsolicited neighbour advertisement."""

    at: float
    address: str
    mac: str


Seen: TypeAlias = Advert | Announced


def read_frame(frame: bytes, at: float) -> Seen | None:
    """Return what an Ethernet *frame* says, or nothing where it is about something else."""
    source, kind, body = frame[6:12].hex(":"), frame[12:14], frame[14:]
    if kind == b"\x08\x06" and body[14:18] == body[24:28]:
        return Announced(at, str(ip_address(body[14:18])), source)
    if kind == b"\x08\x00" and body[9] == 112:
        advert = body[(body[0] & 15) * 4 :]
        return Advert(at, str(ip_address(body[12:16])), 4, advert[2])
    if kind == b"\x86\xdd" and body[6] == 112:
        return Advert(at, str(ip_address(body[8:24])), 6, body[42])
    if kind == b"\x86\xdd" and body[6] == 58 and body[40] == 136 and body[24] == 0xFF:
        return Announced(at, str(ip_address(body[48:64])), source)
    return None


@final
class Wire:
    """Listens in a namespace. A context manager that stops it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._seen: list[Seen] = []
        self._changed = threading.Condition()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._socket = inside(self._namespace.name, _packet_socket)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def adverts(self, *, since: float = float("-inf")) -> list[Advert]:
        """Return the adverts over IPv4 since a mark."""
        with self._changed:
            return [
                one for one in self._seen
                if isinstance(one, Advert) and one.version == 4 and one.at >= since
            ]  # fmt: skip

    def announced(self, address: str, *, since: float = float("-inf")) -> list[Announced]:
        """Return the announcements of *address* since a mark."""
        with self._changed:
            return [
                one for one in self._seen
                if isinstance(one, Announced) and one.address == address and one.at >= since
            ]  # fmt: skip

    def wait_for(self, what: Callable[[Seen], bool], timeout: float, *, since: float) -> Seen:
        """Return the first that is as wanted; raise ``TimeoutError`` where none comes."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for one in self._seen:
                    if one.at >= since and what(one):
                        return one
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError(f"not on the wire within {timeout:g} s: {self._seen[-20:]}")
                self._changed.wait(left)

    def _listen(self) -> None:
        while not self._done.is_set():
            if not select.select([self._socket], [], [], 0.1)[0]:
                continue
            data, ancillary, _, _ = self._socket.recvmsg(LONGEST, 64)
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            at = seconds + nanoseconds / 1e9 - _day_ahead()
            if (seen := read_frame(data, at)) is not None:
                with self._changed:
                    self._seen.append(seen)
                    self._changed.notify_all()


def _day_ahead() -> float:
    """Return by how much the time of day, which stamps frames, is ahead of the monotonic one."""
    narrowest, ahead = float("inf"), 0.0
    for _ in range(CLOCK_READINGS):
        before, day, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < narrowest:
            narrowest, ahead = after - before, day - (before + after) / 2
    return ahead


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    attach_filter(made, FILTER)
    return made
