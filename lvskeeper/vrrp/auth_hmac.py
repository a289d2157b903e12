"""The authentication trailer of keepalived 2.4 (``auth_hmac``), for both versions and families.

28 bytes follow the message: a type, the number of a key, a sequence number made from the time of
day, and an HMAC-SHA256 cut to 16 bytes. It covers the family, the version, the VRID, the source
address, the message without its checksum, and the trailer up to itself. The address count does not
count the trailer; the length in the IP header does. The time of day comes in as ``wall``, in
seconds since 1970; here alone it is not the monotonic clock. Secrets are compared in constant time.
"""

from dataclasses import dataclass, field
from enum import Enum
from hmac import compare_digest
from hmac import digest as hmac_digest
from math import floor
from struct import Struct
from typing import Final, final

from lvskeeper.units import Address
from lvskeeper.vrrp.verdict import Reject, RejectKind

TRAILER_SIZE: Final = 28
MAC_SIZE: Final = 16
TRAILER_TYPE: Final = 1
"""HMAC-SHA256 cut to 16 bytes, the one type."""
MIN_SECRET: Final = 32
MAX_SECRET: Final = 64
MAX_KEY_ID: Final = 255
MIN_WINDOW: Final = 1.0
MAX_WINDOW: Final = 300.0
MIN_DEFAULT_WINDOW: Final = 5.0
"""A window that follows from the advertisement interval is not smaller, in seconds."""
DEFAULT_WINDOW_ADVERTS: Final = 3
MAX_SENDERS: Final = 16
"""Multicast senders whose sequence numbers are remembered; keepalived remembers 4."""

_TRAILER: Final = Struct("!BBHQ16s")
_PSEUDO: Final = Struct("!BBBx16s")
_SIGNED_SIZE: Final = TRAILER_SIZE - MAC_SIZE
_NO_MAC: Final = bytes(MAC_SIZE)
_NO_CHECKSUM: Final = bytes(2)
_CHECKSUM_START: Final = 6
_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


@final
class ReplayMode(Enum):
    """``anti_replay``: what keeps old packets out."""

    TIME = "time"
    """Growing sequence numbers, and clocks that agree within the window."""
    MONOTONIC = "monotonic"
    """Growing sequence numbers alone: what is sent before we listen can be replayed once."""


@final
class HmacMode(Enum):
    """``mode``: what is sent and accepted. A trailer that is wrong is refused in each."""

    ENFORCE = "enforce"
    PERMISSIVE = "permissive"
    """Packets without a trailer count too."""
    RECEIVE_ONLY = "receive-only"
    """The same, and ours have none either."""


@final
@dataclass(frozen=True, slots=True)
class HmacKey:
    """A ``key``; raises ``ValueError`` where keepalived takes no such number or secret."""

    id: int
    """1 to 255, as in the trailer."""
    secret: bytes = field(repr=False)
    """32 to 64 bytes."""

    def __post_init__(self) -> None:
        if not 1 <= self.id <= MAX_KEY_ID:
            raise ValueError(f"a key has a number from 1 to {MAX_KEY_ID}, not {self.id}")
        if not MIN_SECRET <= len(self.secret) <= MAX_SECRET:
            raise ValueError(f"key {self.id} has not {MIN_SECRET} to {MAX_SECRET} bytes")


@final
@dataclass(frozen=True, slots=True)
class HmacAuth:
    """How an instance signs and checks; raises ``ValueError`` for what does not fit together."""

    keys: tuple[HmacKey, ...]
    """All of them are accepted, so that a new one can come before the old one goes."""
    active: int
    """Number of the key that signs ours."""
    window: float
    """Seconds that a sender's clock may differ from ours, whole seconds compared."""
    anti_replay: ReplayMode = ReplayMode.TIME
    mode: HmacMode = HmacMode.ENFORCE

    def __post_init__(self) -> None:
        numbers = {key.id for key in self.keys}
        if len(numbers) < len(self.keys):
            raise ValueError("two keys have one number")
        if self.active not in numbers:
            raise ValueError(f"the active key {self.active} does not exist")
        if not MIN_WINDOW <= self.window <= MAX_WINDOW:
            raise ValueError(f"the window has {MIN_WINDOW:g} to {MAX_WINDOW:g} seconds")

    def secret(self, number: int) -> bytes | None:
        """Return the secret of the key *number*, or nothing where there is none."""
        return next((key.secret for key in self.keys if key.id == number), None)

    @property
    def signs(self) -> bool:
        """Whether our own adverts get a trailer."""
        return self.mode is not HmacMode.RECEIVE_ONLY


def default_window(interval: float) -> float:
    """Return the window for an advertisement *interval* where none is configured, in seconds."""
    return min(max(DEFAULT_WINDOW_ADVERTS * interval, MIN_DEFAULT_WINDOW), MAX_WINDOW)


@final
@dataclass(frozen=True, slots=True)
class Trailer:
    """A trailer as it stood on the wire, not judged."""

    kind: int
    key: int
    reserved: int
    sequence: int
    """64 bits: seconds since 1970 (32), their fraction (16), and a counter (16)."""
    mac: bytes

    @property
    def seconds(self) -> int:
        """When it was made, in seconds since 1970, modulo 2**32."""
        return self.sequence >> 32


def parse_trailer(data: bytes, offset: int) -> Trailer:
    """Read the trailer at *offset*; the caller has seen to it that ``TRAILER_SIZE`` are there."""
    return Trailer(*_TRAILER.unpack_from(data, offset))


def format_trailer(trailer: Trailer) -> bytes:
    """Return the bytes of *trailer*; inverse of :func:`parse_trailer`."""
    return _TRAILER.pack(
        trailer.kind, trailer.key, trailer.reserved, trailer.sequence, trailer.mac
    )  # fmt: skip


def _after(number: int, other: int) -> bool:
    """Tell whether the sequence *number* comes after *other*, also past the end (RFC 1982)."""
    return 0 < (number - other & _MASK64) < 1 << 63


def _seconds_after(seconds: int, other: int) -> int:
    """Return by how much *seconds* is later than *other*, or negative; both are modulo 2**32."""
    return ((seconds - other + (1 << 31)) & _MASK32) - (1 << 31)


def next_sequence(auth: HmacAuth, last: int | None, wall: float) -> int:
    """Return the sequence number of the next advert after *last*, which is none at the start.

    It is the time of day, or one more than *last* while the clock has not gone on. Where the clock
    was set back by more than the window, ``ReplayMode.TIME`` begins anew, since no receiver with a
    right clock accepts the old times. Nothing is kept over a restart: a sender whose clock goes on
    is believed again at once. All copies of one advert for several peers carry one number.
    """
    seconds = floor(wall)
    now = (seconds & _MASK32) << 32 | int((wall - seconds) * 0x10000) << 16
    if last is None or _after(now, last):
        return now
    ahead = _seconds_after(last >> 32, now >> 32)
    if auth.anti_replay is ReplayMode.TIME and ahead > auth.window:
        return now
    return last + 1 & _MASK64


def message_mac(secret: bytes, message: bytes, source: Address, begin: bytes) -> bytes:
    """Return the MAC of *message*, whose trailer begins with the 12 bytes *begin*.

    The checksum counts as zero: that of IPv6 is made later and covers the trailer.
    """
    family = 6 if len(source) == 16 else 4
    pseudo = _PSEUDO.pack(family, message[0] >> 4, message[1], source)
    before, behind = message[:_CHECKSUM_START], message[_CHECKSUM_START + 2 :]
    signed = b"".join((pseudo, before, _NO_CHECKSUM, behind, begin, _NO_MAC))
    return hmac_digest(secret, signed, "sha256")[:MAC_SIZE]


def sign(message: bytes, source: Address, auth: HmacAuth, sequence: int) -> bytes:
    """Return *message* with its trailer; *sequence* comes from :func:`next_sequence`."""
    secret = auth.secret(auth.active)
    assert secret is not None, "checked when it was made"
    begin = format_trailer(Trailer(TRAILER_TYPE, auth.active, 0, sequence, b""))[:_SIGNED_SIZE]
    return message + begin + message_mac(secret, message, source, begin)


@final
class ReplayGuard:
    """The last sequence number of each sender that an instance believed.

    It is bounded: the sender that was silent for the longest time is forgotten first. Only packets
    that count in every respect get in, so no stranger can fill it, and nobody can raise a number
    with a packet that is damaged where the HMAC does not look.
    """

    def __init__(self) -> None:
        self._last: Final[dict[Address, int]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def last(self, sender: Address, auth: HmacAuth, wall: float) -> int | None:
        """Return the number that the next one of *sender* has to come after, or none.

        In ``ReplayMode.TIME`` a number outside the window is as good as none: the window refuses
        all that it would refuse, and a sender whose clock was put right is heard again.
        """
        number = self._last.get(sender)
        if number is None or auth.anti_replay is ReplayMode.MONOTONIC:
            return number
        return number if abs(_skew(number >> 32, wall)) <= auth.window else None

    def learn(self, sender: Address, sequence: int, limit: int = MAX_SENDERS) -> None:
        """Remember *sequence* of *sender*, and no more than *limit* senders."""
        self._last.pop(sender, None)
        self._last[sender] = sequence
        while len(self._last) > limit:
            del self._last[next(iter(self._last))]


def _skew(seconds: int, wall: float) -> int:
    """Return how many seconds *seconds* is behind our clock; negative where it is ahead."""
    return _seconds_after(floor(wall) & _MASK32, seconds)


def check_trailer(
    data: bytes,
    size: int,
    source: Address,
    auth: HmacAuth,
    *,
    guard: ReplayGuard,
    wall: float,
) -> Trailer | Reject:
    """Return the trailer behind the *size* bytes of a message, or why it is refused.

    The order is keepalived's. What is stale goes before any HMAC is computed, so that a flood of
    old packets costs little. *guard* is asked and not told.
    """
    trailer = parse_trailer(data, size)
    if trailer.kind != TRAILER_TYPE or trailer.reserved:
        detail = f"type {trailer.kind}, reserved {trailer.reserved}"
        return Reject(RejectKind.AUTH_EXT_MALFORMED, detail)
    skew = _skew(trailer.seconds, wall)
    if auth.anti_replay is ReplayMode.TIME and abs(skew) > auth.window:
        detail = f"{_clocks(skew)}, more than {auth.window:g} s"
        return Reject(RejectKind.AUTH_EXT_STALE, detail)
    secret = auth.secret(trailer.key)
    if secret is None:
        return Reject(RejectKind.AUTH_EXT_UNKNOWN_KEY, f"key {trailer.key}")
    mac = message_mac(secret, data[:size], source, data[size : size + _SIGNED_SIZE])
    if not compare_digest(mac, trailer.mac):
        return Reject(RejectKind.AUTH_EXT_INVALID_HMAC, f"wrong HMAC for key {trailer.key}")
    last = guard.last(source, auth, wall)
    if last is not None and not _after(trailer.sequence, last):
        detail = f"sequence number {trailer.sequence:#x} after {last:#x}"
        return Reject(RejectKind.AUTH_EXT_REPLAY, detail)
    return trailer


def clock_warning(trailer: Trailer, auth: HmacAuth, wall: float) -> str:
    """Return what to say of a sender's clock that is more than half the window off, or nothing."""
    skew = _skew(trailer.seconds, wall)
    if auth.anti_replay is ReplayMode.MONOTONIC or abs(skew) <= auth.window // 2:
        return ""
    return f"{_clocks(skew)}, and {auth.window:g} s are accepted"


def _clocks(skew: int) -> str:
    return f"{abs(skew)} s {'behind' if skew > 0 else 'ahead of'} our clock"
