"""The authentication trailer: what is signed, and which trailers count."""

import json
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp_hmac import (
    ADVERT2,
    ADVERT3,
    ADVERT6,
    AUTH,
    FOUR,
    MONOTONIC,
    NEW_KEY,
    OLD_KEY,
    PERMISSIVE,
    RECEIVE_ONLY,
    SIX,
    VIP4,
    VIP6,
    WALL,
    arrived,
    destination_of,
    judge,
    noted,
    source_of,
    why,
    wire,
)

from lvskeeper.units import parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.auth_hmac import (
    TRAILER_SIZE,
    HmacAuth,
    HmacKey,
    ReplayGuard,
    ReplayMode,
    Trailer,
    default_window,
    format_trailer,
    next_sequence,
    parse_trailer,
    sign,
)
from lvskeeper.vrrp.packet import (
    GROUP4,
    GROUP6,
    ChecksumKind,
    encode,
    encode_with_hmac,
    read_message,
)
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import (
    Accepted,
    NoteKind,
    Peer,
    Received,
    Reject,
    RejectKind,
    Rules,
    received_ipv4,
    received_ipv6,
    validate,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "vrrp" / "auth_hmac.jsonl"
ADVERTS = pytest.mark.parametrize(
    "advert", [ADVERT2, ADVERT3, ADVERT6], ids=["v2", "v3-IPv4", "v3-IPv6"]
)


@dataclass(frozen=True)
class Golden:
    """A message with its trailer, and what it was made with."""

    case: str
    key: str
    key_id: int
    source: str
    sequence: int
    hex: str
    destination: str = ""

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self.hex)

    @property
    def auth(self) -> HmacAuth:
        key = HmacKey(self.key_id, bytes.fromhex(self.key))
        return HmacAuth((key,), self.key_id, 5.0, ReplayMode.MONOTONIC)


@cache
def golden() -> tuple[Golden, ...]:
    lines = GOLDEN.read_text().splitlines()
    return tuple(msgspec.convert(json.loads(line), Golden) for line in lines)


EACH_GOLDEN = pytest.mark.parametrize("item", golden(), ids=lambda item: item.case)


# What is signed


@EACH_GOLDEN
def test_our_trailer_is_keepalived_s(item: Golden) -> None:
    message = item.data[:-TRAILER_SIZE]
    signed = sign(message, parse_address(item.source), item.auth, item.sequence)
    assert signed.hex() == item.hex


@EACH_GOLDEN
def test_all_that_we_would_send_is_keepalived_s(item: Golden) -> None:
    source = parse_address(item.source)
    there = parse_address(item.destination) if item.destination else GROUP4
    message = read_message(item.data[:-TRAILER_SIZE])
    checksum = ChecksumKind.STANDARD if item.destination else ChecksumKind.AS_V2
    data = encode_with_hmac(
        message.advert(len(source)), source, there, hmac=item.auth, sequence=item.sequence,
        checksum=checksum,
    )  # fmt: skip
    assert data.hex() == item.hex


@EACH_GOLDEN
def test_what_keepalived_signs_counts(item: Golden) -> None:
    source = parse_address(item.source)
    there = parse_address(item.destination) if item.destination else GROUP4
    received = arrived(item.data, source, there)
    advert = received.message.advert(len(source))
    rules = Rules(
        advert.version, advert.vrid, advert.interval, advert.addresses, hmac=item.auth,
        peers=() if there[0] in {224, 0xFF} else (Peer(source),),
        checksum=ChecksumKind.STANDARD if item.destination else ChecksumKind.AS_V2,
    )  # fmt: skip
    got = validate(received, rules, guard=ReplayGuard())
    assert isinstance(got, Accepted), got
    assert (got.advert, got.key, got.notes) == (advert, item.key_id, ())


@ADVERTS
def test_only_the_message_is_counted_and_only_ipv6_sums_the_trailer(advert: Advert) -> None:
    data = wire(advert)
    plain = encode(advert, source_of(advert), destination_of(advert))
    assert len(data) == len(plain) + TRAILER_SIZE
    assert data[3] == len(advert.addresses)
    ipv6 = advert is ADVERT6
    assert (data[6:8] != plain[6:8]) is ipv6
    assert data[:6] + data[8 : len(plain)] == plain[:6] + plain[8:]


def test_each_destination_of_an_advert_gets_the_same_trailer() -> None:
    one, two = (wire(ADVERT6, destination=parse_address(f"fe80::{n}")) for n in (2, 3))
    assert one[6:8] != two[6:8]
    assert one[-TRAILER_SIZE:] == two[-TRAILER_SIZE:]


@given(
    st.builds(
        Trailer, st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF),
        st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16),
    ),
    st.binary(max_size=9),
)  # fmt: skip
def test_a_formatted_trailer_is_parsed_again(trailer: Trailer, before: bytes) -> None:
    data = format_trailer(trailer)
    assert len(data) == TRAILER_SIZE
    assert parse_trailer(before + data, len(before)) == trailer


@given(
    version=st.sampled_from((2, 3)),
    six=st.booleans(),
    vrid=st.integers(1, 255),
    priority=st.integers(0, 255),
    count=st.integers(0, 255),
    secret=st.binary(min_size=32, max_size=64),
    number=st.integers(1, 255),
    sent=st.floats(0, 2**33),
)
def test_whatever_is_signed_counts(
    *, version: int, six: bool, vrid: int, priority: int, count: int, secret: bytes, number: int,
    sent: float,
) -> None:  # fmt: skip
    address = VIP6 if six else VIP4
    source, there = (SIX, GROUP6) if six else (FOUR, GROUP4)
    advert = Advert(3 if six else version, vrid, priority, 1.0, (address,) * count)
    auth = HmacAuth((HmacKey(number, secret),), number, 5.0)
    data = encode_with_hmac(
        advert, source, there, hmac=auth, sequence=next_sequence(auth, None, sent)
    )
    rules = Rules(advert.version, vrid, 1.0, advert.addresses, hmac=auth)
    if six:
        received = received_ipv6(data, source, there, 255)
    else:
        head = bytes((0x45, 0xC0)) + (20 + len(data)).to_bytes(2, "big") + bytes(4)
        received = received_ipv4(head + bytes((255, 112, 0, 0)) + source + there + data)
    assert isinstance(received, Received)
    got = validate(received, rules, wall=sent, guard=ReplayGuard())
    assert got == Accepted(advert, source, 255, key=number)


# What is refused


@ADVERTS
def test_no_flipped_bit_of_message_or_trailer_passes(advert: Advert) -> None:
    data = wire(advert)
    assert isinstance(judge(data, advert), Accepted)
    for auth in (AUTH, PERMISSIVE, RECEIVE_ONLY, MONOTONIC):
        for bit in range(len(data) * 8):
            broken = bytearray(data)
            broken[bit // 8] ^= 1 << bit % 8
            assert isinstance(judge(bytes(broken), advert, auth=auth), Reject), (bit, auth.mode)


@ADVERTS
def test_no_truncated_packet_counts(advert: Advert) -> None:
    data = wire(advert)
    whole = len(data) - TRAILER_SIZE
    for size in range(8, len(data)):
        expected = RejectKind.AUTH_EXT_MISSING if size == whole else RejectKind.LENGTH
        assert why(judge(data[:size], advert)) is expected, size


@ADVERTS
def test_nothing_may_follow_the_trailer(advert: Advert) -> None:
    for size in range(1, 65):
        got = judge(wire(advert) + bytes(size), advert)
        assert why(got) is RejectKind.LENGTH


def changed(data: bytes, offset: int, value: bytes) -> bytes:
    """Replace bytes of the trailer."""
    start = len(data) - TRAILER_SIZE + offset
    return data[:start] + value + data[start + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "kind"),
    [
        (0, b"\x02", RejectKind.AUTH_EXT_MALFORMED),
        (2, b"\x00\x01", RejectKind.AUTH_EXT_MALFORMED),
        (4, bytes(4), RejectKind.AUTH_EXT_STALE),
        (1, b"\x09", RejectKind.AUTH_EXT_UNKNOWN_KEY),
        (8, b"\xff\xff", RejectKind.AUTH_EXT_INVALID_HMAC),
        (12, bytes(16), RejectKind.AUTH_EXT_INVALID_HMAC),
    ],
)
def test_each_fault_of_a_trailer_has_a_kind(offset: int, value: bytes, kind: RejectKind) -> None:
    assert why(judge(changed(wire(), offset, value))) is kind


def test_keepalived_s_order_decides_which_fault_is_told() -> None:
    guard = ReplayGuard()
    good = wire()
    assert why(judge(good, guard=guard)) is None
    data = good
    for offset, value in ((12, bytes(16)), (1, b"\x09"), (4, bytes(4)), (0, b"\x02")):
        data = changed(data, offset, value)
    for offset, size, kind in (
        (0, 1, RejectKind.AUTH_EXT_MALFORMED),
        (4, 4, RejectKind.AUTH_EXT_STALE),
        (1, 1, RejectKind.AUTH_EXT_UNKNOWN_KEY),
        (12, 16, RejectKind.AUTH_EXT_INVALID_HMAC),
    ):
        assert why(judge(data, guard=guard)) is kind
        data = changed(data, offset, good[-TRAILER_SIZE:][offset : offset + size])
    assert why(judge(data, guard=guard)) is RejectKind.AUTH_EXT_REPLAY


def test_the_trailer_comes_after_ttl_and_version_and_before_the_rest() -> None:
    rules = Rules(3, 51, 1.0, (VIP4,), hmac=AUTH)
    received = arrived(changed(wire(ADVERT2), 12, bytes(16)))
    received = replace(received, ttl=9, total_length=3)
    steps = [validate(received, rules, wall=WALL, guard=ReplayGuard())]
    received = replace(received, ttl=255)
    steps.append(validate(received, rules, wall=WALL, guard=ReplayGuard()))
    rules = replace(rules, version=2, interval=9.0)
    steps.append(validate(received, rules, wall=WALL, guard=ReplayGuard()))
    received = replace(received, message=read_message(wire(ADVERT2)))
    steps.append(validate(received, rules, wall=WALL, guard=ReplayGuard()))
    assert [why(step) for step in steps] == [
        RejectKind.TTL, RejectKind.VERSION, RejectKind.AUTH_EXT_INVALID_HMAC, RejectKind.INTERVAL,
    ]  # fmt: skip


def test_a_trailer_is_bound_to_its_sender_and_router() -> None:
    stranger = parse_address("192.0.2.66")
    data = wire()
    assert why(judge(data, source=stranger)) is RejectKind.AUTH_EXT_INVALID_HMAC
    moved = encode(replace(ADVERT3, vrid=52), FOUR, GROUP4) + data[-TRAILER_SIZE:]
    got = judge(moved, replace(ADVERT3, vrid=52))
    assert why(got) is RejectKind.AUTH_EXT_INVALID_HMAC


def test_a_trailer_is_too_long_where_none_is_configured() -> None:
    rules = Rules(3, 51, 1.0, (VIP4,))
    assert why(validate(arrived(wire()), rules)) is RejectKind.LENGTH


def test_the_trailer_counts_in_the_length_of_the_ip_header() -> None:
    received = arrived(wire())
    rules = Rules(3, 51, 1.0, (VIP4,), hmac=AUTH)
    short = replace(received, total_length=received.total_length - TRAILER_SIZE)
    assert why(validate(short, rules, wall=WALL, guard=ReplayGuard())) is RejectKind.IP_LENGTH


def test_a_unicast_instance_takes_trailers_of_its_peers_alone() -> None:
    here = parse_address("192.0.2.2")
    rules = Rules(3, 51, 1.0, (VIP4,), peers=(Peer(FOUR),), hmac=PERMISSIVE)
    good = arrived(wire(destination=here), FOUR, here)
    assert why(validate(good, rules, wall=WALL, guard=ReplayGuard())) is None
    stranger = parse_address("192.0.2.66")
    strange = arrived(wire(source=stranger, destination=here), stranger, here)
    assert why(validate(strange, rules, wall=WALL, guard=ReplayGuard())) is RejectKind.SOURCE


# Modes and keys


@pytest.mark.parametrize("auth", [PERMISSIVE, RECEIVE_ONLY], ids=lambda auth: auth.mode.value)
@ADVERTS
def test_without_a_trailer_a_packet_counts_with_a_note(auth: HmacAuth, advert: Advert) -> None:
    plain = encode(advert, source_of(advert), destination_of(advert))
    got = judge(plain, advert, auth=auth)
    assert noted(got) == [NoteKind.NO_TRAILER]
    assert isinstance(got, Accepted)
    assert got.key is None
    assert why(judge(plain, advert)) is RejectKind.AUTH_EXT_MISSING


def test_a_router_that_only_receives_sends_no_trailer() -> None:
    assert wire(auth=RECEIVE_ONLY) == encode(ADVERT3, FOUR, GROUP4)
    assert wire(auth=PERMISSIVE) == wire()


def test_keys_are_changed_without_a_gap() -> None:
    both_old = HmacAuth((OLD_KEY, NEW_KEY), 1, 5.0)
    both_new = replace(both_old, active=2)
    new = HmacAuth((NEW_KEY,), 2, 5.0)
    stages = [AUTH, both_old, both_new, new]
    for one, two in pairwise(stages):
        for sender, receiver in ((one, two), (two, one)):
            got = judge(wire(auth=sender), auth=receiver)
            assert isinstance(got, Accepted), (sender, receiver)
            assert got.key == sender.active
    assert why(judge(wire(auth=both_new), auth=AUTH)) is RejectKind.AUTH_EXT_UNKNOWN_KEY
    assert why(judge(wire(auth=both_old), auth=new)) is RejectKind.AUTH_EXT_UNKNOWN_KEY


def test_a_key_s_number_does_not_make_it_another_key() -> None:
    swapped = HmacAuth((replace(NEW_KEY, id=1),), 1, 5.0)
    assert why(judge(wire(), auth=swapped)) is RejectKind.AUTH_EXT_INVALID_HMAC


# Values


def test_a_secret_is_not_shown() -> None:
    rules = Rules(3, 51, 1.0, hmac=HmacAuth((HmacKey(1, b"hush" * 8),), 1, 5.0))
    assert "hush" not in repr(rules)


def test_rules_travel_as_json() -> None:
    rules = Rules(3, 51, 1.0, (VIP4,), hmac=HmacAuth((OLD_KEY, NEW_KEY), 2, 5.5))
    assert msgspec.json.decode(msgspec.json.encode(rules), type=Rules) == rules
    plain = Rules(3, 51, 1.0)
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Rules) == plain


@pytest.mark.parametrize(
    ("interval", "window"), [(0.01, 5.0), (1.0, 5.0), (2.0, 6.0), (40.95, 122.85), (255.0, 300.0)]
)
def test_the_window_is_three_intervals_within_bounds(interval: float, window: float) -> None:
    assert default_window(interval) == pytest.approx(window)


def test_what_keepalived_refuses_cannot_be_made() -> None:
    for number, secret in ((0, b"k" * 32), (256, b"k" * 32), (1, b"k" * 31), (1, b"k" * 65)):
        with pytest.raises(ValueError, match="key"):
            HmacKey(number, secret)
    with pytest.raises(ValueError, match="one number"):
        HmacAuth((OLD_KEY, OLD_KEY), 1, 5.0)
    with pytest.raises(ValueError, match="active key 2"):
        HmacAuth((OLD_KEY,), 2, 5.0)
    for window in (0.9, 301.0):
        with pytest.raises(ValueError, match="1 to 300 seconds"):
            HmacAuth((OLD_KEY,), 1, window)
    for kind in (AuthKind.PASS, AuthKind.AH):
        with pytest.raises(ValueError, match="exclude each other"):
            Rules(2, 51, 1.0, auth=Authentication(kind, b"s3cret"), hmac=AUTH)
    with pytest.raises(ValueError, match="ReplayGuard"):
        validate(arrived(wire()), Rules(3, 51, 1.0, (VIP4,), hmac=AUTH))
