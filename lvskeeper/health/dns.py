"""The little of DNS that a check needs: a question, and the head of its answer (RFC 1035)."""

import struct
from typing import Final

TYPES: Final = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
    "NAPTR": 35, "DS": 43, "RRSIG": 46, "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65,
    "ANY": 255, "CAA": 257,
}  # fmt: skip
"""Types of records by name (IANA)."""
RCODES: Final = {
    1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH",
}  # fmt: skip
MAX_LABEL: Final = 63
MAX_NAME: Final = 255
"""Bytes of a name as it is sent."""

_HEAD: Final = struct.Struct("!HHHHHH")
_ANSWER: Final = 0x8000
_RECURSION_DESIRED: Final = 0x0100
_CLASS_IN: Final = 1


def encode_name(name: str) -> bytes:
    """Return a name as it is sent; raise ``ValueError`` where it is none."""
    labels = name.removesuffix(".").split(".") if name not in {"", "."} else []
    encoded = b""
    for label in labels:
        data = label.encode("ascii")
        if not 0 < len(data) <= MAX_LABEL:
            raise ValueError(f"'{label}' is not part of a name: 1 to {MAX_LABEL} characters")
        encoded += bytes((len(data),)) + data
    encoded += b"\0"
    if len(encoded) > MAX_NAME:
        raise ValueError(f"the name is longer than {MAX_NAME} bytes")
    return encoded


def encode_question(number: int, name: str, kind: int) -> bytes:
    """Return a message that asks for the records of a *kind*, with the id *number*."""
    head = _HEAD.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0)
    return head + encode_name(name) + struct.pack("!HH", kind, _CLASS_IN)


def answer_code(number: int, data: bytes) -> int | None:
    """Return the response code of *data*, or ``None`` where it does not answer *number*."""
    if len(data) < _HEAD.size:
        return None
    got, flags, *_ = _HEAD.unpack_from(data)
    return flags & 15 if got == number and flags & _ANSWER else None
