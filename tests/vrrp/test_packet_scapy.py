"""A second opinion on what we encode: scapy reads and sums it on its own."""

from dataclasses import replace

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH
from scapy.layers.vrrp import VRRP, VRRPv3

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import GROUP4, GROUP6, encode, encode_signed
from lvskeeper.vrrp.types import Advert

SOURCE4 = parse_address("192.0.2.1")
SOURCE6 = parse_address("fe80::1")
VIPS4 = (parse_address("192.0.2.100"), parse_address("198.51.100.7"))
VIPS6 = (parse_address("fe80::100"), parse_address("2001:db8::100"))
ADVERT2 = Advert(2, 51, 150, 3.0, VIPS4)


@pytest.mark.parametrize("auth", [Authentication(), Authentication(AuthKind.PASS, b"s3cret")])
@pytest.mark.parametrize("vips", [(), VIPS4[:1], VIPS4])
def test_scapy_reads_version_2(auth: Authentication, vips: tuple[Address, ...]) -> None:
    payload = encode(replace(ADVERT2, addresses=vips), SOURCE4, GROUP4, auth=auth)
    seen = VRRP(payload)
    assert (seen.version, seen.type, seen.vrid, seen.priority) == (2, 1, 51, 150)
    assert (seen.ipcount, seen.authtype, seen.adv) == (len(vips), auth.kind, 3)
    assert tuple(parse_address(text) for text in seen.addrlist) == vips
    assert bytes([*seen.auth1.to_bytes(4, "big"), *seen.auth2.to_bytes(4, "big")]) == auth.data
    rebuilt = VRRP(payload)
    del rebuilt.chksum
    assert bytes(rebuilt) == payload


@pytest.mark.parametrize("centiseconds", [1, 100, 4095])
@pytest.mark.parametrize("priority", [0, 1, 255])
@pytest.mark.parametrize("family", [4, 6])
def test_scapy_reads_version_3(family: int, priority: int, centiseconds: int) -> None:
    vips, source, group = (VIPS4, SOURCE4, GROUP4) if family == 4 else (VIPS6, SOURCE6, GROUP6)
    advert = Advert(3, 7, priority, centiseconds / 100, vips)
    payload = encode(advert, source, group)
    below = (
        IP(src="192.0.2.1", dst="224.0.0.18", proto=112, ttl=255)
        if family == 4
        else IPv6(src="fe80::1", dst="ff02::12", nh=112, hlim=255)
    )
    seen = type(below)(bytes(below / payload))[VRRPv3]
    assert (seen.version, seen.type, seen.vrid, seen.priority) == (3, 1, 7, priority)
    assert (seen.ipcount, seen.res, seen.adv) == (2, 0, centiseconds)
    assert tuple(parse_address(text) for text in seen.addrlist) == vips
    del seen.chksum
    assert bytes(below / seen)[-len(payload) :] == payload


def test_scapy_reads_a_signed_packet() -> None:
    packet = encode_signed(ADVERT2, SOURCE4, GROUP4, secret=b"s3cret", sequence=70000)
    seen = IP(packet)
    assert (seen.src, seen.dst, seen.ttl, seen.proto) == ("192.0.2.1", "224.0.0.18", 255, 51)
    assert seen.len == len(packet)
    assert seen.id == 70000 & 0xFFFF
    header = seen[AH]
    assert (header.nh, header.payloadlen, header.spi, header.seq) == (112, 4, 0xC0000201, 70000)
    rebuilt = IP(packet)
    del rebuilt.chksum
    assert bytes(rebuilt)[:20] == packet[:20]
