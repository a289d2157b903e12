"""Record what keepalived says of packets that are wrong in one way or two, as ``verdicts.jsonl``.

Run it like ``record.py``. keepalived is a backup that waits 30 s; whatever it logs within a quarter
of a second after a packet is its verdict, and silence means that the packet counts.
"""

import json
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from golden.vrrp.record import FOLDER, LISTENER, SPEAKER, Scenario, pair, start_keepalived
from support.fullnat_net import namespace

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind, packet_icv, parse_auth_header
from lvskeeper.vrrp.packet import AH, GROUP4, VRRP, ChecksumKind, encode, encode_signed
from lvskeeper.vrrp.packet import internet_sum as checksum
from lvskeeper.vrrp.types import Advert

US: Final = parse_address(LISTENER[0])
THEM: Final = parse_address(SPEAKER[0])
STRANGER: Final = parse_address("192.0.2.66")
VIP: Final = "192.0.2.100"
ADVERT2: Final = Advert(2, 51, 200, 10.0, (parse_address(VIP),))
ADVERT3: Final = replace(ADVERT2, version=3)
SECRET: Final = "s3cret"
PASS: Final = Authentication(AuthKind.PASS, SECRET.encode())
WAIT: Final = 0.25
Cases = dict[str, bytes]


def ip(
    payload: bytes,
    *,
    source: Address = US,
    destination: Address = GROUP4,
    ttl: int = 255,
    protocol: int = VRRP,
) -> bytes:
    """Put an IPv4 header before *payload*."""
    size = (20 + len(payload)).to_bytes(2, "big")
    ends = source + destination
    head = b"\x45\xc0" + size + bytes([0, 7, 0, 0, ttl, protocol, 0, 0]) + ends
    return summed(head, 10) + payload


def summed(data: bytes, offset: int) -> bytes:
    """Make the checksum at *offset* right."""
    blank = data[:offset] + b"\0\0" + data[offset + 2 :]
    return data[:offset] + (0xFFFF - checksum(blank)).to_bytes(2, "big") + data[offset + 2 :]


def with_byte(data: bytes, offset: int, value: int) -> bytes:
    """Set one byte."""
    return data[:offset] + bytes([value]) + data[offset + 1 :]


def password_cases() -> Cases:
    """Return packets for an instance with a password."""
    good = encode(ADVERT2, US, GROUP4, auth=PASS)
    slow = encode(replace(ADVERT2, interval=2.0), US, GROUP4, auth=PASS)
    other = Authentication(AuthKind.PASS, b"other")
    plain = encode(ADVERT3, US, GROUP4)
    return {
        "good": ip(good),
        "a byte short": ip(good[:-1]),
        "a byte short, routed": ip(good[:-1], ttl=9),
        "three bytes more": ip(good + bytes(3)),
        "forty bytes more": ip(good + bytes(40)),
        "routed": ip(good, ttl=254),
        "version 3": ip(plain),
        "version 3, routed": ip(plain, ttl=9),
        "authentication type 3": ip(summed(with_byte(good, 4, 3), 6)),
        "no authentication": ip(encode(ADVERT2, US, GROUP4)),
        "no authentication, interval": ip(encode(replace(ADVERT2, interval=2.0), US, GROUP4)),
        "wrong password": ip(encode(ADVERT2, US, GROUP4, auth=other)),
        "wrong password, interval": ip(
            encode(replace(ADVERT2, interval=2.0), US, GROUP4, auth=other)
        ),
        "interval": ip(slow),
        "interval, type": ip(summed(with_byte(slow, 0, 0x22), 6)),
        "type": ip(summed(with_byte(good, 0, 0x22), 6)),
        "type, checksum": ip(with_byte(good, 0, 0x22)),
        "checksum": ip(with_byte(good, 7, good[7] ^ 1)),
        "good again": ip(good),
    }


def signed_cases() -> Cases:
    """Return packets for an instance with an authentication header; their order matters."""

    def sign(sequence: int, secret: bytes = SECRET.encode()) -> bytes:
        return encode_signed(ADVERT2, US, GROUP4, secret=secret, sequence=sequence)

    foreign = bytearray(sign(5002))
    foreign[24:28] = b"\1\2\3\4"
    header = parse_auth_header(bytes(foreign), 20)
    icv = packet_icv(SECRET.encode(), bytes(foreign[:20]), header, bytes(foreign[44:]))
    foreign[32:44] = icv
    return {
        "good": sign(5000),
        "repeated": sign(5000),
        "old": sign(4),
        "wrong signature": sign(5002, b"other"),
        "old, wrong signature": sign(4, b"other"),
        "may not be fragmented": summed(with_byte(sign(5001), 6, 0x40), 10),
        "foreign SPI": bytes(foreign),
        "too short for its header": ip(sign(5003)[20:-1], protocol=AH),
        "good again": sign(5002),
    }


def version_3_cases() -> Cases:
    """Return packets for an instance of version 3."""
    good = encode(ADVERT3, US, GROUP4)
    return {
        "good": ip(good),
        "version 2": ip(encode(ADVERT2, US, GROUP4)),
        "three bytes more": ip(good + bytes(3)),
        "forty bytes more": ip(good + bytes(40)),
        "interval": ip(encode(replace(ADVERT3, interval=20.0), US, GROUP4)),
        "type": ip(with_byte(good, 0, 0x32)),
        "checksum": ip(with_byte(good, 7, good[7] ^ 1)),
        "checksum as in version 2": ip(
            encode(ADVERT3, US, GROUP4, checksum=ChecksumKind.AS_V2)
        ),
        "good again": ip(good),
    }  # fmt: skip


def unicast_cases() -> Cases:
    """Return packets for a unicast instance."""
    good = encode(ADVERT3, US, THEM)
    plain = encode(ADVERT3, US, THEM, checksum=ChecksumKind.AS_V2)
    old = encode(ADVERT3, US, THEM, checksum=ChecksumKind.OLD_UNICAST)
    foreign = encode(ADVERT3, STRANGER, THEM)
    return {
        "good": ip(good, destination=THEM),
        "routed": ip(good, destination=THEM, ttl=9),
        "stranger": ip(foreign, source=STRANGER, destination=THEM),
        "checksum as in version 2": ip(plain, destination=THEM),
        "old checksum": ip(old, destination=THEM),
    }


INSTANCES: Final = {
    "password": (
        2, f"authentication {{\n auth_type PASS\n auth_pass {SECRET}\n }}", password_cases
    ),
    "signed": (2, f"authentication {{\n auth_type AH\n auth_pass {SECRET}\n }}", signed_cases),
    "version 3": (3, "", version_3_cases),
    "unicast": (
        3,
        f"unicast_src_ip {SPEAKER[0]}\n unicast_peer {{\n {LISTENER[0]}\n }}",
        unicast_cases,
    ),
}  # fmt: skip


def _verdicts(name: str) -> Iterator[dict[str, object]]:
    version, lines, cases = INSTANCES[name]
    facts: dict[str, object] = {
        "version": version, "vrid": 51, "priority": 100, "interval": 10, "vips": [VIP],
        "state": "BACKUP",
    }  # fmt: skip
    with pair() as (speaker, listener), tempfile.TemporaryDirectory() as folder:
        start_keepalived(Scenario(name, "keepalived", facts, lines), speaker, Path(folder))
        log = Path(folder, "log")
        with namespace(listener.name):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind(("eth0", 0))
            time.sleep(1)
            for label, packet in cases().items():
                there = packet[16:20]
                mac = b"\x02\0\0\0\0\x01" if there == THEM else b"\x01\0\x5e\0\0\x12"
                seen = log.stat().st_size
                sock.send(mac + b"\x02\0\0\0\0\x02\x08\0" + packet)
                time.sleep(WAIT)
                new = log.read_text()[seen:].splitlines()
                said = [line.split(": ", 1)[1] for line in new]
                yield {"instance": name, "case": label, "hex": packet.hex(), "said": said}


def main() -> None:
    """Record the verdicts on all packets."""
    lines = [json.dumps(line) for name in INSTANCES for line in _verdicts(name)]
    (FOLDER / "verdicts.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
