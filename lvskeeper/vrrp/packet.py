"""VRRP messages of version 2 (RFC 3768) and 3 (RFC 5798, 9568): bytes to values and back.

Encoding raises ``ValueError`` for what the wire cannot carry. Reading never raises: whatever
arrives is taken apart as far as its length allows, and :mod:`lvskeeper.vrrp.validate` judges it.
"""

from dataclasses import dataclass, replace
from enum import Enum
from struct import Struct
from typing import Final, final

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import (
    AH_SHAPE,
    AH_SIZE,
    AUTH_SIZE,
    ICV_SIZE,
    MAX_SEQUENCE,
    NO_AUTH,
    Authentication,
    AuthHeader,
    AuthKind,
    format_auth_header,
    packet_icv,
)
from lvskeeper.vrrp.auth_hmac import HmacAuth, sign
from lvskeeper.vrrp.types import Advert

VRRP: Final = 112
"""Our IP protocol."""
AH: Final = 51
"""IP protocol of the authentication header."""
GROUP4: Final = parse_address("224.0.0.18")
GROUP6: Final = parse_address("ff02::12")
LOCAL_TTL: Final = 255
"""TTL and hop limit of adverts: one that was routed has less."""
ADVERTISEMENT: Final = 1
"""The one message type."""
HEADER_SIZE: Final = 8
MAX_ADDRESSES: Final = 255
MAX_SECONDS: Final = 255
MAX_CENTISECONDS: Final = 0xFFF
IPV4_HEADER_SIZE: Final = 20

_HEADER: Final = Struct("!BBBBHH")
_IPV4: Final = Struct("!BBHHHBBH4s4s")
_PSEUDO4: Final = Struct("!4s4sBBH")
_PSEUDO6: Final = Struct("!16s16sII")
_CHECKSUM: Final = slice(6, 8)
_TOS_CONTROL: Final = 0xC0
"""Internetwork control, as all VRRP routers mark their adverts."""


@final
class ChecksumKind(Enum):
    """What an IPv4 message of version 3 sums besides itself; all others have no choice."""

    STANDARD = "pseudo header"
    AS_V2 = "nothing"
    """``v3_checksum_as_v2``."""
    OLD_UNICAST = "pseudo header of multicast"
    """``old_unicast_checksum``, as keepalived sent before 1.3.7: the group for a destination."""


@final
@dataclass(frozen=True, slots=True)
class Message:
    """The fields of a message as they stood on the wire, not judged."""

    version: int
    kind: int
    """1 in an advertisement."""
    vrid: int
    priority: int
    count: int
    """How many addresses it announces to carry."""
    timing: int
    """Bytes 4 and 5: authentication type and seconds, or centiseconds."""
    data: bytes
    """All of it."""

    @property
    def auth_type(self) -> int:
        """The authentication type of version 2."""
        return self.timing >> 8

    @property
    def interval(self) -> float:
        """The advertisement interval in seconds."""
        if self.version == 2:
            return float(self.timing & 0xFF)
        return (self.timing & MAX_CENTISECONDS) / 100

    def size(self, address_size: int) -> int:
        """Return how long it has to be for its version and count."""
        trailer = AUTH_SIZE if self.version == 2 else 0
        return HEADER_SIZE + self.count * address_size + trailer

    def addresses(self, address_size: int) -> tuple[Address, ...]:
        """Return the addresses; its length was checked before."""
        end = HEADER_SIZE + self.count * address_size
        steps = range(HEADER_SIZE, end, address_size)
        return tuple(Address(self.data[start : start + address_size]) for start in steps)

    def auth_data(self, address_size: int) -> bytes:
        """Return the authentication data of version 2; its length was checked before."""
        start = HEADER_SIZE + self.count * address_size
        return self.data[start : start + AUTH_SIZE]

    def advert(self, address_size: int) -> Advert:
        """Return it as an advert; its length was checked before."""
        addresses = self.addresses(address_size)
        return Advert(self.version, self.vrid, self.priority, self.interval, addresses)


def read_message(data: bytes) -> Message:
    """Take *data*, at least ``HEADER_SIZE`` bytes, apart."""
    first, vrid, priority, count, timing, _ = _HEADER.unpack_from(data)
    return Message(first >> 4, first & 15, vrid, priority, count, timing, data)


def internet_sum(data: bytes) -> int:
    """Return the ones' complement sum of 16-bit words (RFC 1071); 0xFFFF where all is well."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 0xFFFF, so the number that all words make has their sum as its remainder
    number = int.from_bytes(data, "big")
    return number % 0xFFFF or (0xFFFF if number else 0)


def _pseudo_header(
    version: int, source: Address, destination: Address, size: int, kind: ChecksumKind
) -> bytes:
    """Return what is summed before a message of *size* bytes (RFC 5798 5.2.8)."""
    if len(source) == 16:
        return _PSEUDO6.pack(source, destination, size, VRRP)
    if version == 2 or kind is ChecksumKind.AS_V2:
        return b""
    there = GROUP4 if kind is ChecksumKind.OLD_UNICAST else destination
    return _PSEUDO4.pack(source, there, 0, VRRP, size)


def summed(message: Message, source: Address, destination: Address, kind: ChecksumKind) -> bool:
    """Return whether the checksum of *message* is right; that of IPv6 covers a trailer too."""
    data = message.data if len(source) == 16 else message.data[: message.size(4)]
    before = _pseudo_header(message.version, source, destination, len(data), kind)
    return internet_sum(before + data) == 0xFFFF


def encode(
    advert: Advert,
    source: Address,
    destination: Address,
    *,
    auth: Authentication = NO_AUTH,
    checksum: ChecksumKind = ChecksumKind.STANDARD,
) -> bytes:
    """Return the IP payload of an advert; the kernel makes the IP header.

    *source* and *destination* go into the checksum of version 3. Raises ``ValueError`` where the
    wire has no room for a value, and for AH, which :func:`encode_signed` makes.
    """
    if auth.kind is AuthKind.AH:
        raise ValueError("an authentication header needs the IP header too")
    return _encode(advert, source, destination, auth, checksum)


def _encode(
    advert: Advert,
    source: Address,
    destination: Address,
    auth: Authentication,
    checksum: ChecksumKind,
) -> bytes:
    _check(advert, source, auth)
    if advert.version == 2:
        timing = auth.kind << 8 | int(advert.interval)
        trailer = auth.data
    else:
        timing, trailer = round(advert.interval * 100), b""
    first = advert.version << 4 | ADVERTISEMENT
    head = _HEADER.pack(first, advert.vrid, advert.priority, len(advert.addresses), timing, 0)
    data = b"".join((head, *advert.addresses, trailer))
    return _with_checksum(
        data, _pseudo_header(advert.version, source, destination, len(data), checksum)
    )


def _with_checksum(message: bytes, before: bytes) -> bytes:
    """Return *message* with its checksum, which covers *before* too."""
    data = bytearray(message)
    data[_CHECKSUM] = b"\0\0"
    data[_CHECKSUM] = (0xFFFF - internet_sum(before + data)).to_bytes(2, "big")
    return bytes(data)


def encode_with_hmac(
    advert: Advert,
    source: Address,
    destination: Address,
    *,
    hmac: HmacAuth,
    sequence: int,
    checksum: ChecksumKind = ChecksumKind.STANDARD,
) -> bytes:
    """Return the IP payload of an advert of an instance with ``auth_hmac``.

    *sequence* comes from :func:`lvskeeper.vrrp.auth_hmac.next_sequence`, one for all destinations
    of an advert. In the mode ``receive-only`` there is no trailer. The checksum of IPv4 leaves the
    trailer out, that of IPv6 covers it, as with keepalived, where the kernel makes it. Raises
    ``ValueError`` as :func:`encode` does.
    """
    message = _encode(advert, source, destination, NO_AUTH, checksum)
    if not hmac.signs:
        return message
    signed = sign(message, source, hmac, sequence)
    if len(source) == 4:
        return signed
    return _with_checksum(
        signed, _pseudo_header(advert.version, source, destination, len(signed), checksum)
    )


def _check(advert: Advert, source: Address, auth: Authentication) -> None:
    """Raise ``ValueError`` where *advert* does not fit into a message."""
    if not (1 <= advert.vrid <= 255 and 0 <= advert.priority <= 255):
        raise ValueError(f"VRID {advert.vrid} or priority {advert.priority} is not in a byte")
    if len(advert.addresses) > MAX_ADDRESSES:
        raise ValueError(f"{len(advert.addresses)} addresses are more than {MAX_ADDRESSES}")
    if any(len(address) != len(source) for address in advert.addresses):
        raise ValueError("an advert carries addresses of its own family only")
    match advert.version:
        case 2:
            if len(source) != 4:
                raise ValueError("version 2 knows IPv4 only")
            if advert.interval not in range(1, MAX_SECONDS + 1):
                raise ValueError(f"version 2 has whole seconds up to {MAX_SECONDS}")
        case 3:
            if not 1 <= round(advert.interval * 100) <= MAX_CENTISECONDS:
                raise ValueError("version 3 has intervals of 0.01 to 40.95 seconds")
            if auth.kind is not AuthKind.NONE:
                raise ValueError("version 3 has no authentication")
        case other:
            raise ValueError(f"VRRP has versions 2 and 3, not {other}")


def encode_signed(
    advert: Advert,
    source: Address,
    destination: Address,
    *,
    secret: bytes,
    sequence: int,
    ttl: int = LOCAL_TTL,
) -> bytes:
    """Return a whole IPv4 packet with an authentication header, for a socket with ``IP_HDRINCL``.

    The signature covers the IP identification, so the kernel must not choose it: like keepalived's
    it follows *sequence*, which has to be higher in every packet of an instance, whoever sends it.
    Raises ``ValueError`` as :func:`encode` does, for a *secret* of more than 8 bytes, and when the
    sequence numbers are used up.
    """
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise ValueError(f"sequence number {sequence} is not in 32 bits")
    auth = Authentication(AuthKind.AH, secret)
    message = _encode(advert, source, destination, auth, ChecksumKind.STANDARD)
    header = AuthHeader(AH_SHAPE, source, sequence, bytes(ICV_SIZE))
    size = IPV4_HEADER_SIZE + AH_SIZE + len(message)
    identification = sequence & 0xFFFF or 1  # the kernel would replace a zero
    ip_header = bytearray(
        _IPV4.pack(0x45, _TOS_CONTROL, size, identification, 0, ttl, AH, 0, source, destination)
    )
    icv = packet_icv(secret, bytes(ip_header), header, message)
    ip_header[10:12] = (0xFFFF - internet_sum(bytes(ip_header))).to_bytes(2, "big")
    return bytes(ip_header) + format_auth_header(replace(header, icv=icv)) + message
