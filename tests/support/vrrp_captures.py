"""The recorded packets of tests/golden/vrrp."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import ChecksumKind
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import Peer, Received, Reject, Rules, received_ipv4, received_ipv6

CAPTURES = Path(__file__).parents[1] / "golden" / "vrrp" / "captures.jsonl"


@dataclass(frozen=True)
class Captured:
    """One packet, and the configuration that it was sent for."""

    name: str
    packet: bytes
    """IP header first."""
    advert: Advert
    """What it says."""
    interval: float
    auth: Authentication
    checksum: ChecksumKind
    old_checksum: bool

    @property
    def family(self) -> int:
        return self.packet[0] >> 4

    @property
    def payload(self) -> bytes:
        """What follows the IP header, which had no options."""
        return self.packet[20 if self.family == 4 else 40 :]

    @property
    def message_start(self) -> int:
        """Where VRRP begins in the packet."""
        header = 20 if self.family == 4 else 40
        return header + (24 if self.auth.kind is AuthKind.AH else 0)

    @property
    def source(self) -> Address:
        return Address(self.packet[12:16] if self.family == 4 else self.packet[8:24])

    @property
    def destination(self) -> Address:
        return Address(self.packet[16:20] if self.family == 4 else self.packet[24:40])

    @property
    def ttl(self) -> int:
        return self.packet[8 if self.family == 4 else 7]

    @property
    def unicast(self) -> bool:
        return self.destination[0] not in {0xFF, 224}

    @property
    def sequence(self) -> int:
        """Of the authentication header."""
        return int.from_bytes(self.packet[28:32], "big")

    def received(self, packet: bytes | None = None) -> Received | Reject:
        """Take this packet apart, or *packet* in its place."""
        data = self.packet if packet is None else packet
        if self.family == 4:
            return received_ipv4(data)
        return received_ipv6(
            data[40:], Address(data[8:24]), Address(data[24:40]), data[7]
        )  # fmt: skip

    def rules(self) -> Rules:
        """Return what a peer with the same configuration expects."""
        return Rules(
            version=self.advert.version,
            vrid=self.advert.vrid,
            interval=self.interval,
            addresses=self.advert.addresses,
            auth=self.auth,
            peers=(Peer(self.source),) if self.unicast else (),
            check_source=True,
            checksum=ChecksumKind.STANDARD if self.old_checksum else self.checksum,
        )


@cache
def captured() -> tuple[Captured, ...]:
    """Return all packets in order."""
    found = []
    for line in CAPTURES.read_text().splitlines():
        facts = json.loads(line)
        old = facts.get("old_unicast_checksum", False)
        found.append(
            Captured(
                name=facts["scenario"],
                packet=bytes.fromhex(facts["hex"]),
                advert=Advert(
                    facts["version"],
                    facts["vrid"],
                    0 if facts["stopping"] else facts["priority"],
                    float(facts["interval"]),
                    tuple(parse_address(vip) for vip in facts["vips"]),
                ),
                interval=float(facts["interval"]),
                auth=Authentication(
                    AuthKind[facts.get("auth", "NONE")], facts.get("secret", "").encode()
                ),
                checksum=ChecksumKind.OLD_UNICAST if old else ChecksumKind.STANDARD,
                old_checksum=old,
            )
        )
    return tuple(found)


def capture(name: str) -> Captured:
    """Return the first packet of a scenario."""
    return next(packet for packet in captured() if packet.name == name)
