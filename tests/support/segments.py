"""TCP segments that belong to no connection."""

import socket
import struct


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send_segment(source: tuple[str, int], target: tuple[str, int], flags: int) -> None:
    """Send one from *source* in the namespace of this thread to *target*."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    fields = (source[1], target[1], 7, 9, 5 << 4, flags, 1024, 0, 0)
    segment = struct.pack("!HHIIBBHHH", *fields)
    pseudo = b"".join(socket.inet_pton(family, text) for text in (source[0], target[0]))
    pseudo += struct.pack("!II", len(segment), socket.IPPROTO_TCP)
    segment = segment[:16] + struct.pack("!H", _checksum(pseudo + segment)) + segment[18:]
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as endpoint:
        endpoint.bind((source[0], 0))
        endpoint.sendto(segment, (target[0], 0))
