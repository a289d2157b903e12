"""Why a packet does not count, or counts with a doubt; :mod:`lvskeeper.vrrp.validate` decides."""

from dataclasses import dataclass
from enum import StrEnum
from typing import final


@final
class RejectKind(StrEnum):
    """Why a packet does not count; each is counted of its own."""

    LENGTH = "length"
    """Shorter or longer than its header says."""
    PROTOCOL = "protocol"
    """Neither VRRP nor an authentication header around it."""
    VRID = "vrid"
    """Of another virtual router."""
    TTL = "ttl"
    """Multicast that was routed, or outside a peer's bounds."""
    VERSION = "version"
    AUTH_TYPE = "auth-type"
    """An authentication type that does not exist."""
    AUTH_MISMATCH = "auth-mismatch"
    """An authentication type other than ours."""
    AUTH_FAILURE = "auth-failure"
    """A wrong password or signature."""
    REPLAY = "replay"
    """A sequence number that was there before."""
    INTERVAL = "interval"
    """Version 2 only: an advertisement interval other than ours."""
    TYPE = "type"
    """Not an advertisement."""
    IP_LENGTH = "ip-length"
    """The total length of the IP header is not that of the packet."""
    CHECKSUM = "checksum"
    CAST = "cast"
    """Multicast for a unicast instance, or the other way round."""
    SOURCE = "source"
    """Unicast from none of our peers."""
    AUTH_EXT_MISSING = "auth-ext-missing"
    """No trailer of ``auth_hmac``; these six are keepalived's counters of that name."""
    AUTH_EXT_MALFORMED = "auth-ext-malformed"
    """A trailer of another type, or with something in the reserved bytes."""
    AUTH_EXT_STALE = "auth-ext-stale"
    """A trailer made outside the window, before or after our time."""
    AUTH_EXT_UNKNOWN_KEY = "auth-ext-unknown-key"
    AUTH_EXT_INVALID_HMAC = "auth-ext-invalid-hmac"
    AUTH_EXT_REPLAY = "auth-ext-replay"
    """A sequence number that does not come after the last one of its sender."""


@final
class NoteKind(StrEnum):
    """What is worth a line in the log although the packet counts."""

    INTERVAL = "interval"
    """Version 3: another interval than ours; a backup adopts it."""
    ADDRESSES = "addresses"
    """Other addresses than ours."""
    OLD_CHECKSUM = "old-checksum"
    """A unicast checksum of keepalived before 1.3.7."""
    NO_TRAILER = "no-trailer"
    """No trailer of ``auth_hmac``, in a mode that does without."""
    CLOCK_SKEW = "clock-skew"
    """The sender's clock is more than half the window off."""


@final
@dataclass(frozen=True, slots=True)
class Reject:
    """A packet that does not count."""

    kind: RejectKind
    detail: str


@final
@dataclass(frozen=True, slots=True)
class Note:
    """A doubt about a packet that counts."""

    kind: NoteKind
    detail: str
