"""A flood of SYNs, or of ACKs with made-up cookies, with forged sources: bounded and at home.

Packets leave only from a namespace of a laboratory, toward the laboratory's own virtual addresses.
Their sources are those of the clients' network that nobody has, so every answer ends where nobody
hears it.

Those of IPv6 leave their checksums to a network card, which a veth pair does not have, and the
receiver takes them as verified. It has to: the kernel's ``synproxy`` verifies by the rules of IPv4
what nobody has verified before, and no segment of IPv6 passes that.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from itertools import islice
from struct import Struct
from typing import Final, Self, TypeAlias, final

from lvskeeper.lab.netns import PREFIX, Namespace, inside
from lvskeeper.lab.topology import CLIENT4, CLIENT6, VIP_NETWORKS

Address: TypeAlias = IPv4Address | IPv6Address

COUNT_LIMIT: Final = 100_000
"""Packets of one flood at most; they are all made before the first is sent."""
SOURCES: Final = 200
"""Forged sources; few enough for the director's table of neighbours."""
FIRST_SOURCE: Final = 32
"""Number of the first in the clients' network; below are the client and the directors."""
FIRST_PORT: Final = 1024
SEND_BUFFER: Final = 1 << 20
JOIN_DEADLINE: Final = 60.0
NEIGHBOUR_DEADLINE: Final = 10.0

ETHERTYPE_IPV6: Final = b"\x86\xdd"
_SOL_PACKET: Final = 263
_PACKET_VNET_HDR: Final = 15

CLIENT_NETWORKS: Final = (
    ip_interface(f"{CLIENT4}/24").network,
    ip_interface(f"{CLIENT6}/64").network,
)
TARGETS: Final = tuple(map(ip_network, VIP_NETWORKS))

IPV4: Final = Struct("!BBHHHBBH4s4s")
IPV6: Final = Struct("!IHBB16s16s")
TCP: Final = Struct("!HHIIBBHHH")
PSEUDO: Final = Struct("!IHBB")
"""Tail of the pseudo header of RFC 8200 section 8.1; for IPv4 it has the same sum."""
VNET: Final = Struct("=BBHHHH")
"""``struct virtio_net_hdr``: flags, kind of segmentation, three sizes, where the checksum is."""
NEEDS_CHECKSUM: Final = 1
"""``VIRTIO_NET_HDR_F_NEEDS_CSUM``: what stands there covers the pseudo header alone."""
CHECKSUM_PLACE: Final = 16
"""Offset of the checksum in the header of TCP."""
OPTIONS: Final = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")
"""What Linux offers: MSS 1460, SACK, timestamps, window scale 7."""


@final
class Kind(Enum):
    """What a flood is made of; the value is the flags of TCP."""

    SYN = 0x02
    ACK = 0x10


def packets(kind: Kind, address: str, port: int, sources: tuple[Address, ...]) -> Iterator[bytes]:
    """Yield packets to a virtual address without end, from one source after the other.

    Raises ``ValueError`` where the address is not one of the laboratory's virtual addresses, or a
    source not in its clients' network.
    """
    destination = ip_address(address)
    if not any(destination in network for network in TARGETS):
        raise ValueError(f"{destination} is no virtual address of a laboratory")
    for source in sources:
        if not any(source in network for network in CLIENT_NETWORKS):
            raise ValueError(f"{source} is not in the clients' network of a laboratory")
    number = 0
    while True:
        source = sources[number % len(sources)]
        sport = FIRST_PORT + number // len(sources) % (0x10000 - FIRST_PORT)
        segment = _segment(kind, source, destination, (sport, port), number)
        yield _header(source, destination, len(segment)) + segment
        number += 1


def forged_sources(version: int) -> tuple[Address, ...]:
    """Return addresses of the clients' network that nobody has; *version* is 4 or 6."""
    first = int(CLIENT_NETWORKS[version == 6].network_address) + FIRST_SOURCE
    return tuple(
        IPv6Address(first + n) if version == 6 else IPv4Address(first + n) for n in range(SOURCES)
    )


@final
class Flood:
    """Sends *count* packets at *rate* a second from *namespace*. A context manager that waits.

    Leaving it lets the flood end; :meth:`stop` ends it at once. Raises ``ValueError`` where more
    than ``COUNT_LIMIT`` packets are asked for, for a target that is not the laboratory's, and
    outside a laboratory's namespace.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        port: int,
        *,
        count: int,
        rate: float,
        kind: Kind = Kind.SYN,
    ) -> None:
        if not 0 < count <= COUNT_LIMIT:
            raise ValueError(f"a flood has 1 to {COUNT_LIMIT} packets, not {count}")
        if not namespace.name.startswith(f"{PREFIX}-"):
            raise ValueError(f"{namespace.name} is not a laboratory's namespace")
        sources = forged_sources(ip_address(address).version)
        self._packets = list(islice(packets(kind, address, port, sources), count))
        self._namespace = namespace
        self._address = address
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0
        """Packets that have left."""
        self.error = ""
        """Why it ended before its time."""

    def __enter__(self) -> Self:
        if ":" in self._address:
            device, ends = _way(self._namespace, self._address)
            self._packets = [frame(ends, packet) for packet in self._packets]
            self._socket = inside(self._namespace.name, lambda: _packet_socket(device))
        else:
            self._socket = inside(self._namespace.name, lambda: _raw_socket(self._address))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self.stop()
            self._socket.close()

    def stop(self) -> None:
        """End it now."""
        self._stop.set()
        self._thread.join()

    def wait(self) -> None:
        """Wait until all packets have left; raise ``OSError`` where one could not, or not yet."""
        self._thread.join(len(self._packets) / self._rate + JOIN_DEADLINE)
        if self.error:
            raise OSError(self.error)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.sent} of {len(self._packets)} packets have left")

    def _send(self) -> None:
        started = time.monotonic()
        for number, packet in enumerate(self._packets):
            ahead = started + number / self._rate - time.monotonic()
            if self._stop.wait(ahead) if ahead > 0 else self._stop.is_set():
                return
            try:
                self._socket.send(packet)
            except OSError as error:
                self.error = str(error)
                return
            self.sent += 1


def frame(ends: bytes, packet: bytes) -> bytes:
    """Return what a packet socket with ``PACKET_VNET_HDR`` takes for an IPv6 packet with TCP.

    *ends* are the addresses of Ethernet, the destination's first. The checksum is left to the card.
    """
    place = IPV6.size + CHECKSUM_PLACE
    covered = packet[8 : IPV6.size] + packet[4:6] + socket.IPPROTO_TCP.to_bytes(2)
    pseudo_sum = (int.from_bytes(covered) % 0xFFFF).to_bytes(2)
    head = ends + ETHERTYPE_IPV6
    vnet = VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, len(head) + IPV6.size, CHECKSUM_PLACE)
    return vnet + head + packet[:place] + pseudo_sum + packet[place + 2 :]


def _way(namespace: Namespace, address: str) -> tuple[str, bytes]:
    """Return the device toward *address*, and the Ethernet addresses of the next hop and its own.

    Raises ``TimeoutError`` where the next hop does not answer.
    """

    def shown(*words: str) -> list[dict[str, str]]:
        return list(json.loads(namespace.run(["ip", "-6", "-j", *words]).stdout))

    (route,) = shown("route", "get", address)
    device, gateway = route["dev"], route.get("gateway", address)
    (link,) = shown("link", "show", device)
    with inside(namespace.name, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as asked:
        deadline = time.monotonic() + NEIGHBOUR_DEADLINE
        while time.monotonic() < deadline:
            asked.sendto(b"", (gateway, 9))
            for found in shown("neighbour", "show", "to", gateway, "dev", device):
                if "lladdr" in found:
                    ends = found["lladdr"] + link["address"]
                    return device, bytes.fromhex(ends.replace(":", ""))
            time.sleep(0.05)
    raise TimeoutError(f"{gateway} does not answer on {device}")


def _packet_socket(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    made.bind((device, 0))
    return made


def _raw_socket(address: str) -> socket.socket:
    # IPPROTO_RAW: the packets bring their own headers (raw(7))
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    made.connect((address, 0))
    return made


def _header(source: Address, destination: Address, size: int) -> bytes:
    if isinstance(source, IPv4Address):
        # The kernel fills in the checksum.
        addresses = source.packed, destination.packed
        return IPV4.pack(
            0x45, 0, IPV4.size + size, 0, 0x4000, 64, socket.IPPROTO_TCP, 0, *addresses
        )
    return IPV6.pack(6 << 28, size, socket.IPPROTO_TCP, 64, source.packed, destination.packed)


def _segment(
    kind: Kind, source: Address, destination: Address, ports: tuple[int, int], number: int
) -> bytes:
    options = OPTIONS if kind is Kind.SYN else b""
    size = TCP.size + len(options)
    # Numbers that no cookie has, except by a chance of about one in a million
    sequence, acknowledged = 1_000_003 * number & 0xFFFFFFFF, 0
    if kind is Kind.ACK:
        acknowledged = (2_654_435_761 * number + 12_345) & 0xFFFFFFFF
    fields = (*ports, sequence, acknowledged, size << 2, kind.value, 64_240)
    pseudo = source.packed + destination.packed + PSEUDO.pack(size, 0, 0, socket.IPPROTO_TCP)
    checksum = _checksum(pseudo + TCP.pack(*fields, 0, 0) + options)
    return TCP.pack(*fields, checksum, 0) + options


def _checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071 of an even number of bytes."""
    total = int.from_bytes(data) % 0xFFFF  # 2**16 is 1 modulo 0xFFFF: this is the sum of the words
    return 0xFFFF - total
