"""Adverts with the authentication trailer, and what an instance makes of them."""

from dataclasses import replace

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth_hmac import (
    HmacAuth,
    HmacKey,
    HmacMode,
    ReplayGuard,
    ReplayMode,
    next_sequence,
)
from lvskeeper.vrrp.packet import GROUP4, GROUP6, encode_with_hmac, read_message
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import (
    Accepted,
    NoteKind,
    Received,
    Reject,
    RejectKind,
    Rules,
    validate,
)

WALL = 1_750_000_000.25
"""Time of day in these tests."""
FOUR, SIX = parse_address("192.0.2.1"), parse_address("fe80::1")
VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
OLD_KEY, NEW_KEY = HmacKey(1, bytes(range(32))), HmacKey(2, b"n" * 64)
AUTH = HmacAuth((OLD_KEY,), 1, 5.0)
MONOTONIC = replace(AUTH, anti_replay=ReplayMode.MONOTONIC)
PERMISSIVE = replace(AUTH, mode=HmacMode.PERMISSIVE)
RECEIVE_ONLY = replace(AUTH, mode=HmacMode.RECEIVE_ONLY)
ADVERT2 = Advert(2, 51, 100, 1.0, (VIP4,))
ADVERT3 = Advert(3, 51, 100, 1.0, (VIP4,))
ADVERT6 = Advert(3, 51, 100, 1.0, (VIP6,))


def source_of(advert: Advert) -> Address:
    return FOUR if len(advert.addresses[0]) == 4 else SIX


def destination_of(advert: Advert) -> Address:
    return GROUP4 if len(advert.addresses[0]) == 4 else GROUP6


def wire(
    advert: Advert = ADVERT3,
    *,
    auth: HmacAuth = AUTH,
    sent: float = WALL,
    sequence: int | None = None,
    source: Address | None = None,
    destination: Address | None = None,
) -> bytes:
    """Return what a sender puts behind the IP header at the time *sent*."""
    number = next_sequence(auth, None, sent) if sequence is None else sequence
    return encode_with_hmac(
        advert, source or source_of(advert), destination or destination_of(advert), hmac=auth,
        sequence=number,
    )  # fmt: skip


def arrived(data: bytes, source: Address = FOUR, destination: Address | None = None) -> Received:
    """Return *data* as it is received, with right lengths around it."""
    there = destination or (GROUP4 if len(source) == 4 else GROUP6)
    return Received(source, there, 255, read_message(data), len(data))


def judge(
    data: bytes,
    advert: Advert = ADVERT3,
    *,
    auth: HmacAuth = AUTH,
    guard: ReplayGuard | None = None,
    wall: float = WALL,
    source: Address | None = None,
) -> Accepted | Reject:
    """Return the verdict of an instance that sends *advert* itself."""
    rules = Rules(advert.version, advert.vrid, advert.interval, advert.addresses, hmac=auth)
    received = arrived(data, source or source_of(advert))
    return validate(received, rules, wall=wall, guard=ReplayGuard() if guard is None else guard)


def why(verdict: Accepted | Reject) -> RejectKind | None:
    return verdict.kind if isinstance(verdict, Reject) else None


def noted(verdict: Accepted | Reject) -> list[NoteKind]:
    assert isinstance(verdict, Accepted), verdict
    return [note.kind for note in verdict.notes]
