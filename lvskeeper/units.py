"""Addresses and durations in the one form that all rooms share.

An address is its packed bytes: 4 for IPv4, 16 for IPv6. They hash, compare and encode fast, and
carry their family in their length.
"""

from ipaddress import IPv6Address, ip_address
from typing import NewType

Address = NewType("Address", bytes)
"""Packed network address, 4 or 16 bytes."""

NO_ADDRESS = Address(b"")


def parse_address(text: str) -> Address:
    """Return the packed form of *text*; raise ``ValueError`` where it is no numeric address.

    A zone such as ``%eth0`` has no place in the packed form, so it is refused too.
    """
    if "%" in text:
        raise ValueError(f"'{text}' has a zone, which is not served")
    return Address(ip_address(text).packed)


def format_address(address: Address) -> str:
    """Return the usual text of *address*; inverse of :func:`parse_address`."""
    match len(address):
        case 4:
            # Ten times as fast as IPv4Address, and names are made by the ten thousand.
            a, b, c, d = address
            return f"{a}.{b}.{c}.{d}"
        case 16:
            return str(IPv6Address(bytes(address)))
        case _:
            raise ValueError(f"an address has 4 or 16 bytes, not {len(address)}")


def format_endpoint(address: Address, port: int) -> str:
    """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    text = format_address(address)
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"


def format_count(count: int, name: str) -> str:
    """Return a number of things as one says it: ``1 warning``, ``3 warnings``."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def format_duration(seconds: float) -> str:
    """Return a duration as an operator reads it: ``0.8 ms``, ``340 ms``, ``3 min 5 s``."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
