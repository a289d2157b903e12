"""Which packets count: the tests that a received packet passes, in keepalived's order.

A datagram becomes a :class:`Received` first, whose VRID tells the instance; :func:`validate` then
holds it against the rules of that instance. Nothing in here raises, whatever the bytes are.
"""

from dataclasses import dataclass
from typing import Final, final

from lvskeeper.units import Address, format_address
from lvskeeper.vrrp import packet
from lvskeeper.vrrp.auth import (
    AH_SHAPE,
    AH_SIZE,
    MULTICAST_FIRST_BYTE,
    NO_AUTH,
    Authentication,
    AuthHeader,
    AuthKind,
    icv_matches,
    parse_auth_header,
)
from lvskeeper.vrrp.auth_hmac import (
    MAX_SENDERS,
    TRAILER_SIZE,
    HmacAuth,
    HmacMode,
    ReplayGuard,
    Trailer,
    check_trailer,
    clock_warning,
)
from lvskeeper.vrrp.packet import (
    ADVERTISEMENT,
    HEADER_SIZE,
    IPV4_HEADER_SIZE,
    LOCAL_TTL,
    ChecksumKind,
    Message,
    read_message,
    summed,
)
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.verdict import Note, NoteKind, Reject, RejectKind

__all__ = [
    "ETHERNET_MINIMUM",
    "MAX_NAMED",
    "Accepted",
    "Note",
    "NoteKind",
    "Peer",
    "Received",
    "Reject",
    "RejectKind",
    "Rules",
    "received_ipv4",
    "received_ipv6",
    "validate",
]

ETHERNET_MINIMUM: Final = 46
"""Bytes that Ethernet pads a packet to; some drivers leave the padding on."""
MAX_NAMED: Final = 4
"""Addresses that the text of a note names."""


@final
@dataclass(frozen=True, slots=True)
class Accepted:
    """A packet that counts."""

    advert: Advert
    source: Address
    ttl: int
    sequence: int | None = None
    """Of an authentication header: the next call's *sequence*."""
    key: int | None = None
    """Number of the ``auth_hmac`` key that signed it."""
    notes: tuple[Note, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Peer:
    """A unicast peer (``unicast_peer``)."""

    address: Address
    min_ttl: int = 0
    max_ttl: int = 255

    @property
    def bounded(self) -> bool:
        """Whether a bound was given: that alone makes strangers refused."""
        return self.min_ttl > 0 or self.max_ttl < 255


@final
@dataclass(frozen=True, slots=True)
class Rules:
    """What an instance expects of packets. Times are in seconds."""

    version: int
    vrid: int
    interval: float
    """``advert_int``, our own."""
    addresses: tuple[Address, ...] = ()
    """The addresses in our adverts."""
    auth: Authentication = NO_AUTH
    """Of version 2; version 3 has none."""
    peers: tuple[Peer, ...] = ()
    """Unicast peers; none makes it a multicast instance."""
    check_source: bool = False
    """``check_unicast_src``: refuse unicast from others than *peers*."""
    checksum: ChecksumKind = ChecksumKind.STANDARD
    old_checksum: bool = True
    """Accept the unicast checksum of keepalived before 1.3.7 (not ``old_unicast_checksum never``)
    """
    hmac: HmacAuth | None = None
    """``auth_hmac``, of both versions; ``ValueError`` where there is *auth* of version 2 too."""

    def __post_init__(self) -> None:
        if self.hmac is not None and self.auth.kind is not AuthKind.NONE:
            raise ValueError(f"{self.auth.kind.name} and auth_hmac exclude each other")


@final
@dataclass(frozen=True, slots=True)
class Received:
    """A datagram that is long enough to name its virtual router."""

    source: Address
    destination: Address
    ttl: int
    """TTL or hop limit."""
    message: Message
    total_length: int
    """What the IP header says of the message's length, without the headers before it."""
    ip_header: bytes = b""
    """Of IPv4."""
    auth_header: AuthHeader | None = None

    @property
    def vrid(self) -> int:
        """The virtual router that it is for."""
        return self.message.vrid


def received_ipv4(data: bytes) -> Received | Reject:
    """Take apart what an IPv4 raw socket of protocol 112 or 51 delivers: a packet with header."""
    if len(data) <= ETHERNET_MINIMUM:
        data = data[: int.from_bytes(data[2:4], "big")]
    start = (data[0] & 15) * 4 if data else 0
    if start < IPV4_HEADER_SIZE or len(data) < start + HEADER_SIZE:
        return Reject(RejectKind.LENGTH, f"{len(data)} bytes")
    ip_header = data[:start]
    auth_header = None
    match ip_header[9]:
        case packet.VRRP:
            pass
        case packet.AH:
            if len(data) < start + AH_SIZE + HEADER_SIZE:
                return Reject(RejectKind.LENGTH, f"{len(data)} bytes with authentication header")
            auth_header = parse_auth_header(data, start)
            start += AH_SIZE
        case other:
            return Reject(RejectKind.PROTOCOL, f"IP protocol {other}")
    message = read_message(data[start:])
    total_length = int.from_bytes(ip_header[2:4], "big")
    return Received(
        Address(ip_header[12:16]), Address(ip_header[16:20]), ip_header[8], message,
        total_length - start, ip_header, auth_header,
    )  # fmt: skip


def received_ipv6(
    payload: bytes, source: Address, destination: Address, hop_limit: int
) -> Received | Reject:
    """Take apart what an IPv6 raw socket delivers; the rest comes from its ancillary data."""
    if len(payload) < HEADER_SIZE:
        return Reject(RejectKind.LENGTH, f"{len(payload)} bytes")
    return Received(source, destination, hop_limit, read_message(payload), len(payload))


def validate(
    received: Received,
    rules: Rules,
    *,
    sequence: int = 0,
    skip_addresses: bool = False,
    wall: float = 0.0,
    guard: ReplayGuard | None = None,
) -> Accepted | Reject:
    """Return the advert in *received*, or why it does not count.

    *sequence* is the highest number of an authentication header that the instance has accepted.
    *skip_addresses* leaves the addresses uncompared (``skip_check_adv_addr``, for packets of
    the known master). ``owner_ignore_adverts`` is the caller's: it drops what is accepted here.

    With ``auth_hmac`` *wall* is the time of day and *guard* what the instance keeps of its senders:
    it learns of a packet that counts. Raises ``ValueError`` where such an instance has no *guard*.
    """
    reject = _shape(received, rules)
    if reject is not None:
        return reject
    trailer = _trailer(received, rules, wall, guard)
    if isinstance(trailer, Reject):
        return trailer
    old_checksum = _rest(received, rules, sequence)
    if isinstance(old_checksum, Reject):
        return old_checksum
    if trailer is not None and guard is not None:
        guard.learn(received.source, trailer.sequence, max(len(rules.peers), MAX_SENDERS))
    advert = received.message.advert(len(received.source))
    notes = _notes(advert, rules, old_checksum=old_checksum, skip_addresses=skip_addresses)
    header = received.auth_header
    return Accepted(
        advert,
        received.source,
        received.ttl,
        sequence=header.sequence if header else None,
        key=trailer.key if trailer else None,
        notes=notes + _trailer_notes(trailer, rules, wall),
    )


def _rest(received: Received, rules: Rules, sequence: int) -> Reject | bool:
    """Judge all that comes after the trailer; return whether the checksum is an old one."""
    reject = _authentication(received, rules, sequence) or _content(received, rules)
    if reject is not None:
        return reject
    message = received.message
    old = not summed(message, received.source, received.destination, rules.checksum)
    if old and not _old_checksum(received, rules):
        return Reject(RejectKind.CHECKSUM, f"0x{message.data[6:8].hex()}")
    return _cast(received, rules) or _peer(received, rules) or old


def _shape(received: Received, rules: Rules) -> Reject | None:
    """Judge length, VRID, TTL and version."""
    message = received.message
    # by the version of the packet, not ours: a neighbour of the other version shall be told as one
    expected = message.size(len(received.source))
    if len(message.data) != expected and not (
        # keepalived tells by the length alone whether there is a trailer
        rules.hmac is not None and len(message.data) == expected + TRAILER_SIZE
    ):
        return Reject(RejectKind.LENGTH, f"{len(message.data)} bytes instead of {expected}")
    if message.vrid != rules.vrid:
        return Reject(RejectKind.VRID, f"VRID {message.vrid}")
    if not rules.peers and received.ttl != LOCAL_TTL:
        return Reject(RejectKind.TTL, f"TTL {received.ttl} instead of {LOCAL_TTL}")
    if message.version != rules.version:
        return Reject(RejectKind.VERSION, f"version {message.version} instead of {rules.version}")
    return None


def _trailer(
    received: Received, rules: Rules, wall: float, guard: ReplayGuard | None
) -> Trailer | Reject | None:
    """Return the trailer, nothing where there need not be one, or why the packet is refused."""
    if rules.hmac is None:
        return None
    if guard is None:
        raise ValueError("an instance with auth_hmac has a ReplayGuard")
    data, source = received.message.data, received.source
    size = received.message.size(len(source))
    if len(data) == size:
        if rules.hmac.mode is HmacMode.ENFORCE:
            return Reject(RejectKind.AUTH_EXT_MISSING, "no authentication trailer")
        return None
    # Even without ``check_unicast_src``: keepalived has a replay state for its peers alone
    if rules.peers and all(peer.address != source for peer in rules.peers):
        return Reject(RejectKind.SOURCE, f"{format_address(source)} is no peer")
    return check_trailer(data, size, source, rules.hmac, guard=guard, wall=wall)


def _trailer_notes(trailer: Trailer | None, rules: Rules, wall: float) -> tuple[Note, ...]:
    if rules.hmac is None:
        return ()
    if trailer is None:
        return (Note(NoteKind.NO_TRAILER, f"accepted in the mode {rules.hmac.mode.value}"),)
    warning = clock_warning(trailer, rules.hmac, wall)
    return (Note(NoteKind.CLOCK_SKEW, warning),) if warning else ()


def _authentication(received: Received, rules: Rules, sequence: int) -> Reject | None:
    message, auth, header = received.message, rules.auth, received.auth_header
    number = message.auth_type if message.version == 2 else AuthKind.NONE
    if number > max(AuthKind):
        return Reject(RejectKind.AUTH_TYPE, f"authentication type {number}")
    theirs = AuthKind(number)
    if theirs is not auth.kind:
        return Reject(RejectKind.AUTH_MISMATCH, f"{theirs.name} instead of {auth.kind.name}")
    if (header is not None) is not (theirs is AuthKind.AH):
        there = "no" if header is None else "an"
        return Reject(RejectKind.AUTH_MISMATCH, f"{theirs.name} with {there} authentication header")
    if header is not None:
        return _signature(received, header, auth, sequence)
    if theirs is AuthKind.PASS and not auth.knows(message.auth_data(len(received.source))):
        return Reject(RejectKind.AUTH_FAILURE, "wrong password")
    return None


def _signature(
    received: Received, header: AuthHeader, auth: Authentication, sequence: int
) -> Reject | None:
    if header.shape != AH_SHAPE:
        return Reject(RejectKind.AUTH_FAILURE, "authentication header of another shape")
    if header.spi != received.source:
        return Reject(RejectKind.AUTH_FAILURE, f"SPI {header.spi.hex()} is not the source")
    if not icv_matches(auth.secret, received.ip_header, header, received.message.data):
        return Reject(RejectKind.AUTH_FAILURE, "wrong signature")
    if header.sequence <= sequence:
        return Reject(RejectKind.REPLAY, f"sequence number {header.sequence} after {sequence}")
    return None


def _content(received: Received, rules: Rules) -> Reject | None:
    """Judge the interval of version 2, the type, and the length in the IP header."""
    message = received.message
    if rules.version == 2 and message.interval != rules.interval:
        ours = f"{rules.interval:g} s"
        return Reject(RejectKind.INTERVAL, f"{message.interval:g} s instead of {ours}")
    if message.kind != ADVERTISEMENT:
        return Reject(RejectKind.TYPE, f"type {message.kind}")
    if received.total_length != len(message.data):
        detail = f"{received.total_length} bytes in the IP header, {len(message.data)} here"
        return Reject(RejectKind.IP_LENGTH, detail)
    return None


def _old_checksum(received: Received, rules: Rules) -> bool:
    """Tell whether this is the checksum that keepalived sent to unicast peers before 1.3.7."""
    if not (rules.peers and rules.old_checksum and rules.version == 3):
        return False
    if len(received.source) != 4 or rules.checksum is not ChecksumKind.STANDARD:
        return False
    return summed(received.message, received.source, received.destination, ChecksumKind.OLD_UNICAST)


def _cast(received: Received, rules: Rules) -> Reject | None:
    first = received.destination[0]
    multicast = first == 0xFF if len(received.destination) == 16 else first in MULTICAST_FIRST_BYTE
    if multicast and rules.peers:
        return Reject(RejectKind.CAST, "multicast for a unicast instance")
    if not multicast and not rules.peers:
        return Reject(RejectKind.CAST, "unicast for a multicast instance")
    return None


def _peer(received: Received, rules: Rules) -> Reject | None:
    """Judge source and TTL of unicast."""
    for peer in rules.peers:
        if peer.address == received.source:
            if peer.min_ttl <= received.ttl <= peer.max_ttl:
                return None
            bounds = f"{peer.min_ttl} to {peer.max_ttl}"
            return Reject(RejectKind.TTL, f"TTL {received.ttl} is not in {bounds}")
    if (rules.peers and rules.check_source) or any(peer.bounded for peer in rules.peers):
        return Reject(RejectKind.SOURCE, f"{format_address(received.source)} is no peer")
    return None


def _notes(
    advert: Advert, rules: Rules, *, old_checksum: bool, skip_addresses: bool
) -> tuple[Note, ...]:
    notes = []
    if rules.version == 3 and round(advert.interval * 100) != round(rules.interval * 100):
        detail = f"{advert.interval:g} s, ours is {rules.interval:g} s"
        notes.append(Note(NoteKind.INTERVAL, detail))
    if old_checksum:
        notes.append(Note(NoteKind.OLD_CHECKSUM, "sums the multicast group"))
    if not skip_addresses and advert.addresses != rules.addresses:
        missing = _names(set(rules.addresses) - set(advert.addresses))
        foreign = _names(set(advert.addresses) - set(rules.addresses))
        if missing or foreign or len(advert.addresses) != len(rules.addresses):
            detail = (
                f"{len(advert.addresses)} instead of {len(rules.addresses)}"
                + (f", missing {missing}" if missing else "")
                + (f", not ours {foreign}" if foreign else "")
            )
            notes.append(Note(NoteKind.ADDRESSES, detail))
    return tuple(notes)


def _names(addresses: set[Address]) -> str:
    names = [format_address(address) for address in sorted(addresses)]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
