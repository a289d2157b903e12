"""What the laboratory reads on the wire, from frames as others make them."""

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vrrp import VRRPv3
from scapy.packet import Packet

from lvskeeper.lab.wire import Advert, Announced, Seen, read_frame

MAC = "02:00:00:00:00:01"
ETHER = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")


@pytest.mark.parametrize(
    ("packet", "seen"),
    [
        (IP(src="192.0.2.1", dst="224.0.0.18", proto=112) / VRRPv3(vrid=51, priority=150),
         Advert(1.0, "192.0.2.1", 4, 150)),
        (IPv6(src="fe80::1", dst="ff02::12", nh=112) / VRRPv3(vrid=51, priority=0),
         Advert(1.0, "fe80::1", 6, 0)),
        (ARP(op=1, psrc="192.0.2.100", pdst="192.0.2.100"), Announced(1.0, "192.0.2.100", MAC)),
        (ARP(op=1, psrc="192.0.2.10", pdst="192.0.2.100"), None),
        (IPv6(src="fe80::1", dst="ff02::1") / ICMPv6ND_NA(tgt="2001:db8::1", S=0, O=1),
         Announced(1.0, "2001:db8::1", MAC)),
        (IPv6(src="fe80::1", dst="fe80::2") / ICMPv6ND_NA(tgt="2001:db8::1", S=1), None),
        (IP(src="192.0.2.1", dst="192.0.2.2", proto=17), None),
    ],
    ids=["vrrp4", "vrrp6", "garp", "asking", "unsolicited", "solicited", "other"],
)  # fmt: skip
def test_frames_are_read(packet: Packet, seen: Seen | None) -> None:
    assert read_frame(bytes(ETHER / packet), 1.0) == seen
