"""Authentication of version 2: the password in the payload, and the IP authentication header.

RFC 2338 5.3.6 defined both, RFC 3768 took them out, keepalived kept them. What is signed, and how,
was measured on keepalived 2.2.7. Secrets are compared in constant time.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from hmac import compare_digest
from hmac import digest as hmac_digest
from struct import Struct
from typing import Final, final

AUTH_SIZE: Final = 8
"""Bytes of authentication data at the end of every message of version 2."""
AH_SIZE: Final = 24
AH_SHAPE: Final = bytes((112, 4, 0, 0))
"""How it begins: VRRP follows; its words, less two; reserved (RFC 2402 2)."""
ICV_SIZE: Final = 12
MAX_SEQUENCE: Final = 0xFFFF_FFFF
MULTICAST_FIRST_BYTE: Final = range(224, 240)

_HEADER: Final = Struct("!4s4sI12s")
_NO_ICV: Final = bytes(ICV_SIZE)
_NO_DATA: Final = bytes(AUTH_SIZE)


@final
class AuthKind(IntEnum):
    """Authentication types by their number on the wire."""

    NONE = 0
    PASS = 1
    AH = 2


@final
@dataclass(frozen=True, slots=True)
class Authentication:
    """How an instance of version 2 is authenticated."""

    kind: AuthKind = AuthKind.NONE
    secret: bytes = field(default=b"", repr=False)
    """``auth_pass``: up to 8 bytes."""

    def __post_init__(self) -> None:
        if len(self.secret) > AUTH_SIZE:
            raise ValueError(f"an authentication secret has up to {AUTH_SIZE} bytes")

    @property
    def data(self) -> bytes:
        """The authentication data of our messages; AH leaves them empty."""
        return self.secret.ljust(AUTH_SIZE, b"\0") if self.kind is AuthKind.PASS else _NO_DATA

    def knows(self, data: bytes) -> bool:
        """Return whether the authentication data *data* hold our password."""
        return compare_digest(data, self.secret.ljust(AUTH_SIZE, b"\0"))


NO_AUTH: Final = Authentication()


@final
@dataclass(frozen=True, slots=True)
class AuthHeader:
    """An IP authentication header (RFC 2402)."""

    shape: bytes
    """4 bytes: next header, length, reserved. ``AH_SHAPE``, or it is none of ours."""
    spi: bytes
    """4 bytes; keepalived puts the source address here."""
    sequence: int
    icv: bytes
    """The HMAC-MD5 of the packet, cut to 12 bytes (RFC 2403)."""


def parse_auth_header(data: bytes, offset: int) -> AuthHeader:
    """Read the header at *offset*; the caller has seen to it that ``AH_SIZE`` bytes are there."""
    return AuthHeader(*_HEADER.unpack_from(data, offset))


def format_auth_header(header: AuthHeader) -> bytes:
    """Return the bytes of *header*; inverse of :func:`parse_auth_header`."""
    return _HEADER.pack(header.shape, header.spi, header.sequence, header.icv)


def packet_icv(secret: bytes, ip_header: bytes, header: AuthHeader, message: bytes) -> bytes:
    """Return the ICV that keepalived computes for a packet.

    *ip_header* is that of IPv4. Service type, fragment offset and checksum change on the way and
    count as zero (RFC 2402 3.3.3.1.1). So does the TTL, yet only of unicast: keepalived signs the
    TTL of multicast, which no router lowers. The identification is signed, so whoever sends must
    write the IP header too.
    """
    still = bytearray(ip_header)
    still[1] = 0
    still[6:8] = still[10:12] = b"\0\0"
    if still[16] not in MULTICAST_FIRST_BYTE:
        still[8] = 0
    unsigned = _HEADER.pack(header.shape, header.spi, header.sequence, _NO_ICV)
    return hmac_digest(secret, bytes(still) + unsigned + message, "md5")[:ICV_SIZE]


def icv_matches(secret: bytes, ip_header: bytes, header: AuthHeader, message: bytes) -> bool:
    """Return whether *header* was made with *secret* for this packet."""
    return compare_digest(packet_icv(secret, ip_header, header, message), header.icv)
