"""A third opinion: tshark reads what we encode, and what was recorded, as we do."""

import pytest
from support.tshark import HAS_TSHARK, decode
from support.vrrp_captures import captured

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import GROUP4, GROUP6, encode, encode_signed
from lvskeeper.vrrp.types import Advert

pytestmark = pytest.mark.skipif(not HAS_TSHARK, reason="needs tshark")

SOURCE4, SOURCE6 = parse_address("192.0.2.1"), parse_address("fe80::1")
VIPS4 = (parse_address("192.0.2.100"), parse_address("198.51.100.7"))
VIPS6 = (parse_address("fe80::100"), parse_address("2001:db8::100"))


def packet(advert: Advert, auth: Authentication | None = None) -> bytes:
    """Return *advert* with an IP header before it."""
    if len(advert.addresses[0]) == 16:
        payload = encode(advert, SOURCE6, GROUP6)
        head = bytes((0x60, 0, 0, 0)) + len(payload).to_bytes(2, "big") + bytes((112, 255))
        return head + SOURCE6 + GROUP6 + payload
    payload = encode(advert, SOURCE4, GROUP4, auth=auth or Authentication())
    head = bytes((0x45, 0xC0)) + (20 + len(payload)).to_bytes(2, "big") + bytes(4)
    return head + bytes((255, 112, 0, 0)) + SOURCE4 + GROUP4 + payload


def test_tshark_reads_what_we_encode() -> None:
    adverts = [
        *(Advert(2, 51, priority, 3.0, VIPS4) for priority in (0, 1, 255)),
        *(
            Advert(3, 255, 100, interval, vips)
            for vips in (VIPS4[:1], VIPS4, VIPS6[:1], VIPS6)
            for interval in (0.01, 1.0, 40.95)
        ),
    ]
    password = Authentication(AuthKind.PASS, b"s3cret")
    packets = [packet(advert) for advert in adverts]
    packets += [packet(adverts[0], password)]
    packets += [encode_signed(adverts[0], SOURCE4, GROUP4, secret=b"s3cret", sequence=7)]
    seen = decode(packets)
    assert [one.advert for one in seen] == [*adverts, adverts[0], adverts[0]]
    assert all(one.good and one.ttl == 255 for one in seen)
    assert "ah" in seen[-1].layers


def test_tshark_reads_what_was_recorded() -> None:
    seen = decode(item.packet for item in captured())
    assert len(seen) == len(captured())
    for one, item in zip(seen, captured(), strict=True):
        assert one.advert == item.advert, item.name
        assert (one.source, one.ttl) == (Address(item.source), item.ttl)
        assert one.good is not item.old_checksum, item.name


def test_tshark_sees_a_damaged_checksum() -> None:
    good = packet(Advert(3, 51, 100, 1.0, VIPS4))
    assert [one.good for one in decode([good, good[:22] + b"\x01" + good[23:]])] == [True, False]
