"""Announcements byte by byte: as keepalived 2.2.7 sends them, and as scapy reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.announcement_frames import gratuitous_arp, unsolicited_advertisement

MAC = bytes.fromhex("f231db9fbfe0")
OTHER_MAC = bytes.fromhex("fa2c84bde9bb")
macs = st.binary(min_size=6, max_size=6)
v4 = st.binary(min_size=4, max_size=4).map(Address)
v6 = st.binary(min_size=16, max_size=16).map(Address)


def test_arp_is_that_of_keepalived() -> None:
    assert gratuitous_arp(parse_address("10.9.0.100"), MAC).hex() == (
        "fffffffffffff231db9fbfe008060001080006040001f231db9fbfe00a090064ffffffffffff0a090064"
    )


@pytest.mark.parametrize(
    ("address", "mac", "router", "frame"),
    [
        pytest.param(
            "fe80::100", MAC, False,
            "333300000001f231db9fbfe086dd6000000000203afffe800000000000000000000000000100"
            "ff0200000000000000000000000000018800c9eb20000000fe80000000000000000000000000"
            "01000201f231db9fbfe0",
            id="host",
        ),
        pytest.param(
            "fd09::100", OTHER_MAC, True,
            "333300000001fa2c84bde9bb86dd6000000000203afffd090000000000000000000000000100"
            "ff020000000000000000000000000001880071e5a0000000fd09000000000000000000000000"
            "01000201fa2c84bde9bb",
            id="router",
        ),
    ],
)  # fmt: skip
def test_an_advertisement_is_that_of_keepalived(
    address: str, mac: bytes, router: bool, frame: str
) -> None:
    assert unsolicited_advertisement(parse_address(address), mac, router=router).hex() == frame


@given(v4, macs)
def test_scapy_reads_the_arp(address: Address, mac: bytes) -> None:
    arp = Ether(gratuitous_arp(address, mac))[ARP]
    assert (arp.op, arp.psrc, arp.hwsrc) == (1, arp.pdst, mac.hex(":"))
    assert parse_address(arp.psrc) == address


@given(v6, macs, st.booleans())
def test_scapy_reads_the_advertisement(address: Address, mac: bytes, router: bool) -> None:
    frame = unsolicited_advertisement(address, mac, router=router)
    packet = Ether(frame)
    assert (packet[IPv6].hlim, parse_address(packet[IPv6].src)) == (255, address)
    advertisement = packet[ICMPv6ND_NA]
    flags = (advertisement.R, advertisement.S, advertisement.O)
    assert flags == (int(router), 0, 1)
    assert parse_address(advertisement.tgt) == address
    sent = advertisement.cksum
    del packet[ICMPv6ND_NA].cksum
    assert Ether(bytes(packet))[ICMPv6ND_NA].cksum == sent


def test_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="IPv4 address"):
        gratuitous_arp(Address(bytes(16)), MAC)
    with pytest.raises(ValueError, match="IPv6 address"):
        unsolicited_advertisement(Address(bytes(4)), MAC, router=False)
