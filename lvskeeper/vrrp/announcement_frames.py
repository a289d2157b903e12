"""The frames that tell neighbours where an address is: gratuitous ARP and unsolicited NA.

Both are Ethernet frames as keepalived sends them, byte for byte (compared with 2.2.7). ARP comes in
the request form only: RFC 5227 3 prefers it, and some hosts ignore replies that they did not ask
for.
"""

from struct import Struct
from typing import Final

from lvskeeper.units import Address
from lvskeeper.vrrp.packet import internet_sum

MAC_SIZE: Final = 6

_BROADCAST: Final = bytes([0xFF] * MAC_SIZE)
_ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_ETHERTYPE_ARP: Final = b"\x08\x06"
_ETHERTYPE_IPV6: Final = b"\x86\xdd"
_ARP_REQUEST: Final = bytes.fromhex("0001 0800 06 04 0001")
"""Ethernet, IPv4, the sizes of their addresses, request (RFC 826)."""
_ICMPV6: Final = 58
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_ROUTER: Final = 0x80
_OVERRIDE: Final = 0x20
_TARGET_MAC: Final = b"\x02\x01"
"""Option "target link-layer address", one unit of 8 bytes (RFC 4861 4.6.1)."""
_IPV6: Final = Struct("!IHBB16s16s")
_ADVERTISEMENT: Final = Struct("!BBHB3x16s2s6s")
_PSEUDO_HEADER: Final = Struct("!16s16sII")


def gratuitous_arp(address: Address, mac: bytes) -> bytes:
    """Return a broadcast ARP request in which *address*, at *mac*, asks for itself (RFC 5227 3).

    The target hardware address is all ones, as keepalived has it; nobody reads it.
    """
    if len(address) != 4 or len(mac) != MAC_SIZE:
        raise ValueError("ARP is for an IPv4 address and a MAC address of 6 bytes")
    return b"".join(
        (_BROADCAST, mac, _ETHERTYPE_ARP, _ARP_REQUEST, mac, address, _BROADCAST, address)
    )


def unsolicited_advertisement(address: Address, mac: bytes, *, router: bool) -> bytes:
    """Return a neighbour advertisement from *address* to all nodes (RFC 4861 7.2.6).

    The override flag makes the neighbours replace the MAC address that they know. *router* has to
    be true on a host that forwards: a router that denies it is dropped as a gateway.
    """
    if len(address) != 16 or len(mac) != MAC_SIZE:
        raise ValueError("an NA is for an IPv6 address and a MAC address of 6 bytes")
    flags = _OVERRIDE | (_ROUTER if router else 0)

    def body(checksum: int) -> bytes:
        return _ADVERTISEMENT.pack(
            _NEIGHBOUR_ADVERTISEMENT, 0, checksum, flags, address, _TARGET_MAC, mac
        )

    size = _ADVERTISEMENT.size
    pseudo_header = _PSEUDO_HEADER.pack(address, _ALL_NODES, size, _ICMPV6)
    checksum = 0xFFFF - internet_sum(pseudo_header + body(0))
    ip_header = _IPV6.pack(6 << 28, size, _ICMPV6, 255, address, _ALL_NODES)
    return b"".join((_ALL_NODES_MAC, mac, _ETHERTYPE_IPV6, ip_header, body(checksum)))
