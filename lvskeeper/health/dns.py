"""The little of DNS that a check needs: a question, and the head of its answer (RFC 1035)."""

import struct
from typing import Final

TYPES: Final = {
    "A": 1, "NS": 2, "MD": 3, "MF": 4, "CNAME": 5, "SOA": 6, "MB": 7, "MG": 8, "MR": 9, "NULL": 10,
    "WKS": 11, "PTR": 12, "HINFO": 13, "MINFO": 14, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18,
    "X25": 19, "ISDN": 20, "RT": 21, "NSAP": 22, "NSAP-PTR": 23, "SIG": 24, "KEY": 25, "PX": 26,
    "GPOS": 27, "AAAA": 28, "LOC": 29, "NXT": 30, "EID": 31, "NIMLOC": 32, "SRV": 33, "ATMA": 34,
    "NAPTR": 35, "KX": 36, "CERT": 37, "A6": 38, "DNAME": 39, "SINK": 40, "APL": 42, "DS": 43,
    "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50,
    "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "NINFO": 56, "RKEY": 57, "TALINK": 58,
    "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65,
    "DSYNC": 66, "SPF": 99, "UINFO": 100, "UID": 101, "GID": 102, "UNSPEC": 103, "NID": 104,
    "L32": 105, "L64": 106, "LP": 107, "EUI48": 108, "EUI64": 109, "NXNAME": 128, "ANY": 255,
    "URI": 256, "CAA": 257, "AVC": 258, "DOA": 259, "AMTRELAY": 260, "RESINFO": 261, "WALLET": 262,
    "TA": 32768, "DLV": 32769,
}  # fmt: skip
"""Types of records by name (IANA), but for those that are no data: OPT, transfers, keys of them."""
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


def plain_value(text: str) -> str:
    """Return the value of a record, as zone files have it, in the form that is compared."""
    return text.replace('"', "").removesuffix(".").lower()


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
