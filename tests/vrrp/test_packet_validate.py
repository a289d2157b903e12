"""Which packets count: each reject in its turn, and nothing that raises."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp_captures import Captured, capture, captured

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import (
    GROUP4,
    HEADER_SIZE,
    ChecksumKind,
    encode,
    encode_signed,
    internet_sum,
    read_message,
)
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import (
    ETHERNET_MINIMUM,
    Accepted,
    Note,
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

SOURCE = parse_address("192.0.2.1")
PEER = parse_address("192.0.2.2")
STRANGER = parse_address("192.0.2.66")
VIP = parse_address("192.0.2.100")
OTHER_VIP = parse_address("192.0.2.101")
ADVERT2 = Advert(2, 51, 100, 1.0, (VIP,))
ADVERT3 = Advert(3, 51, 100, 1.0, (VIP,))
RULES2 = Rules(version=2, vrid=51, interval=1.0, addresses=(VIP,))
RULES3 = replace(RULES2, version=3)
PASS = Authentication(AuthKind.PASS, b"s3cret")
SIGNED = Authentication(AuthKind.AH, b"s3cret")
UNICAST3 = replace(RULES3, peers=(Peer(SOURCE),))
Mend = Callable[[Received], Received]


def judge(item: Captured, packet: bytes | None = None) -> Accepted | Reject:
    """Do what a listener with the sender's configuration does with *packet*."""
    received = item.received(packet)
    return received if isinstance(received, Reject) else validate(received, item.rules())


def arrived(
    advert: Advert,
    destination: Address = GROUP4,
    *,
    source: Address = SOURCE,
    ttl: int = 255,
    auth: Authentication | None = None,
    checksum: ChecksumKind = ChecksumKind.STANDARD,
) -> Received:
    """Return an advert as it is received."""
    data = encode(advert, source, destination, auth=auth or Authentication(), checksum=checksum)
    return Received(source, destination, ttl, read_message(data), len(data))


def altered(received: Received, offset: int, value: int) -> Received:
    """Set one byte and make the checksum right again; for version 2."""
    data = bytearray(received.message.data)
    data[offset] = value
    data[6:8] = b"\0\0"
    data[6:8] = (0xFFFF - internet_sum(bytes(data))).to_bytes(2, "big")
    return replace(received, message=read_message(bytes(data)))


@pytest.mark.parametrize("item", captured(), ids=lambda item: f"{item.name}-{item.advert.priority}")
def test_what_they_sent_counts(item: Captured) -> None:
    got = judge(item)
    assert isinstance(got, Accepted)
    assert got.advert == item.advert
    assert (got.source, got.ttl) == (item.source, item.ttl)
    # keepalived leaves the hop limit of unicast to the kernel
    assert item.ttl == (64 if item.family == 6 and item.unicast else 255)
    assert got.sequence == (item.sequence if item.auth.kind is AuthKind.AH else None)
    old = (Note(NoteKind.OLD_CHECKSUM, "sums the multicast group"),)
    assert got.notes == (old if item.old_checksum else ())


@pytest.mark.parametrize("item", captured(), ids=lambda item: f"{item.name}-{item.advert.priority}")
def test_no_truncated_packet_counts(item: Captured) -> None:
    start = 0 if item.family == 4 else 40
    for size in range(start, len(item.packet)):
        got = judge(item, item.packet[:size])
        assert isinstance(got, Reject), size
        assert got.kind is RejectKind.LENGTH


@pytest.mark.parametrize("item", captured(), ids=lambda item: f"{item.name}-{item.advert.priority}")
def test_trailing_bytes_are_padding_or_reason_to_refuse(item: Captured) -> None:
    for size in range(1, 65):
        got = judge(item, item.packet + b"\xff" * size)
        if item.family == 4 and len(item.packet) + size <= ETHERNET_MINIMUM:
            assert got == judge(item)
        else:
            assert isinstance(got, Reject)
            assert got.kind is RejectKind.LENGTH


@pytest.mark.parametrize("item", captured(), ids=lambda item: f"{item.name}-{item.advert.priority}")
def test_no_flipped_bit_of_a_message_passes(item: Captured) -> None:
    for bit in range(item.message_start * 8, len(item.packet) * 8):
        packet = bytearray(item.packet)
        packet[bit // 8] ^= 1 << bit % 8
        assert isinstance(judge(item, bytes(packet)), Reject), bit


@pytest.mark.parametrize("name", ["v2-ah", "v2-ah-unicast"])
def test_a_signature_covers_all_that_does_not_change_on_the_way(name: str) -> None:
    item = capture(name)
    changes = {1, 6, 7, 10, 11} | ({8} if item.unicast else set())
    for bit in range(4, len(item.packet) * 8):  # the version of IP is the socket's
        if bit // 8 == 0 and bit % 8 >= 4:
            continue
        packet = bytearray(item.packet)
        packet[bit // 8] ^= 1 << bit % 8
        assert isinstance(judge(item, bytes(packet)), Accepted if bit // 8 in changes else Reject)


@given(st.binary(max_size=600), st.booleans(), st.sampled_from(captured()))
def test_nothing_raises(data: bytes, six: bool, item: Captured) -> None:
    if six:
        address = Address(bytes(15) + b"\1")
        received = received_ipv6(data, address, address, 255)
    else:
        received = received_ipv4(data)
    got = received if isinstance(received, Reject) else validate(received, item.rules())
    assert isinstance(got, Accepted | Reject)


@given(st.sampled_from(captured()), st.data())
def test_nothing_raises_on_what_looks_real(item: Captured, data: st.DataObject) -> None:
    packet = bytearray(item.packet)
    for _ in range(data.draw(st.integers(1, 6))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    packet += data.draw(st.binary(max_size=40))
    header = 20 if item.family == 4 else 40
    received = item.received(bytes(packet[: data.draw(st.integers(header, len(packet)))]))
    rules = data.draw(st.sampled_from(captured())).rules()
    got = received if isinstance(received, Reject) else validate(received, rules)
    assert isinstance(got, Accepted | Reject)


SHORT = replace(arrived(ADVERT2), message=read_message(arrived(ADVERT2).message.data[:-1]))
BOUNDED = replace(UNICAST3, peers=(Peer(SOURCE, min_ttl=250, max_ttl=254),))


REFUSED: list[tuple[Received, Rules, RejectKind, str]] = [
    (SHORT, RULES2, RejectKind.LENGTH, "19 bytes instead of 20"),
    (arrived(ADVERT2), replace(RULES2, vrid=52), RejectKind.VRID, "VRID 51"),
    (arrived(ADVERT2, ttl=254), RULES2, RejectKind.TTL, "TTL 254 instead of 255"),
    (arrived(ADVERT2), RULES3, RejectKind.VERSION, "version 2 instead of 3"),
    (arrived(ADVERT3), RULES2, RejectKind.VERSION, "version 3 instead of 2"),
    (altered(arrived(ADVERT2), 4, 3), RULES2, RejectKind.AUTH_TYPE, "authentication type 3"),
    (arrived(ADVERT2, auth=PASS), RULES2, RejectKind.AUTH_MISMATCH, "PASS instead of NONE"),
    (arrived(ADVERT2), replace(RULES2, auth=PASS), RejectKind.AUTH_MISMATCH,
     "NONE instead of PASS"),
    (arrived(ADVERT2, auth=Authentication(AuthKind.PASS, b"other")),
     replace(RULES2, auth=PASS), RejectKind.AUTH_FAILURE, "wrong password"),
    (arrived(replace(ADVERT2, interval=2.0)), RULES2, RejectKind.INTERVAL,
     "2 s instead of 1 s"),
    (altered(arrived(ADVERT2), 0, 0x22), RULES2, RejectKind.TYPE, "type 2"),
    (replace(arrived(ADVERT2), total_length=28), RULES2, RejectKind.IP_LENGTH,
     "28 bytes in the IP header, 20 here"),
    (replace(arrived(ADVERT3), source=PEER), RULES3, RejectKind.CHECKSUM, "0x"),
    (arrived(ADVERT3, checksum=ChecksumKind.AS_V2), RULES3, RejectKind.CHECKSUM, "0x"),
    (arrived(ADVERT3), replace(RULES3, checksum=ChecksumKind.AS_V2), RejectKind.CHECKSUM, "0x"),
    (arrived(ADVERT3, PEER, checksum=ChecksumKind.OLD_UNICAST),
     replace(UNICAST3, old_checksum=False), RejectKind.CHECKSUM, "0x"),
    (arrived(ADVERT3), UNICAST3, RejectKind.CAST, "multicast for a unicast instance"),
    (arrived(ADVERT3, PEER), RULES3, RejectKind.CAST, "unicast for a multicast instance"),
    (arrived(ADVERT3, PEER, ttl=255), BOUNDED, RejectKind.TTL, "TTL 255 is not in 250 to 254"),
    (arrived(ADVERT3, PEER, ttl=249), BOUNDED, RejectKind.TTL, "TTL 249 is not in 250 to 254"),
    (arrived(ADVERT3, PEER, source=STRANGER, ttl=252), BOUNDED, RejectKind.SOURCE,
     "192.0.2.66 is no peer"),
    (arrived(ADVERT3, PEER, source=STRANGER), replace(UNICAST3, check_source=True),
     RejectKind.SOURCE, "192.0.2.66 is no peer"),
]  # fmt: skip


@pytest.mark.parametrize(("received", "rules", "kind", "detail"), REFUSED)
def test_a_packet_is_refused_and_told_why(
    received: Received, rules: Rules, kind: RejectKind, detail: str
) -> None:
    got = validate(received, rules)
    assert isinstance(got, Reject)
    assert got.kind is kind
    assert got.detail.startswith(detail)


def test_every_kind_of_reject_has_its_case() -> None:
    elsewhere = {RejectKind.PROTOCOL, RejectKind.REPLAY}
    elsewhere |= {kind for kind in RejectKind if kind.startswith("auth-ext")}
    assert {kind for _, _, kind, _ in REFUSED} == set(RejectKind) - elsewhere


def test_keepalived_s_order_decides_which_reason_is_told() -> None:
    received = replace(
        altered(arrived(replace(ADVERT2, interval=3.0), PEER, ttl=9, auth=PASS), 0, 0x22),
        total_length=3,
    )
    received = replace(received, message=replace(received.message, data=SHORT.message.data))
    rules = replace(RULES2, vrid=9)
    full = read_message(arrived(ADVERT2, PEER, auth=PASS).message.data)
    steps: tuple[tuple[RejectKind, Mend], ...] = (
        (RejectKind.LENGTH, lambda r: replace(r, message=replace(r.message, data=full.data))),
        (RejectKind.VRID, lambda r: replace(r, message=replace(r.message, vrid=9))),
        (RejectKind.TTL, lambda r: replace(r, ttl=255)),
        (RejectKind.AUTH_MISMATCH,
         lambda r: replace(r, message=replace(r.message, timing=r.message.timing & 0xFF))),
        (RejectKind.INTERVAL, lambda r: replace(r, message=replace(r.message, timing=1))),
        (RejectKind.TYPE, lambda r: replace(r, message=replace(r.message, kind=1))),
        (RejectKind.IP_LENGTH, lambda r: replace(r, total_length=20,
                                                 message=replace(r.message, data=bytes(20)))),
        (RejectKind.CHECKSUM, lambda r: replace(r, message=replace(r.message, data=full.data))),
    )  # fmt: skip
    for kind, mend in steps:
        got = validate(received, rules)
        assert isinstance(got, Reject)
        assert got.kind is kind
        received = mend(received)
    got = validate(received, rules)
    assert got == Reject(RejectKind.CAST, "unicast for a multicast instance")


def test_padding_is_what_the_ip_header_does_not_count() -> None:
    packet = bytearray(capture("v3-v4-owner").packet)
    packet[3] += 3
    got = received_ipv4(bytes(packet) + bytes(ETHERNET_MINIMUM - len(packet)))
    assert isinstance(got, Received)
    assert len(got.message.data) == 12 + 3


def test_another_protocol_is_refused() -> None:
    packet = bytearray(capture("v2-none").packet)
    packet[9] = 6
    assert received_ipv4(bytes(packet)) == Reject(RejectKind.PROTOCOL, "IP protocol 6")


def test_the_vrid_is_known_before_the_packet_is_judged() -> None:
    received = received_ipv4(capture("v2-three-vips").packet[: 20 + HEADER_SIZE])
    assert isinstance(received, Received)
    assert received.vrid == 255


def test_strangers_count_where_nothing_asks_for_the_source() -> None:
    got = validate(arrived(ADVERT3, PEER, source=STRANGER, ttl=3), UNICAST3)
    assert got == Accepted(ADVERT3, STRANGER, 3)


def test_peers_in_their_bounds_count() -> None:
    assert validate(arrived(ADVERT3, PEER, ttl=250), BOUNDED) == Accepted(ADVERT3, SOURCE, 250)


def test_another_interval_of_version_3_is_a_note() -> None:
    got = validate(arrived(replace(ADVERT3, interval=0.25)), RULES3)
    assert isinstance(got, Accepted)
    assert got.notes == (Note(NoteKind.INTERVAL, "0.25 s, ours is 1 s"),)


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        ((VIP,), (VIP, OTHER_VIP), "1 instead of 2, missing 192.0.2.101"),
        ((VIP, OTHER_VIP), (VIP,), "2 instead of 1, not ours 192.0.2.101"),
        ((OTHER_VIP,), (VIP,), "1 instead of 1, missing 192.0.2.100, not ours 192.0.2.101"),
        ((VIP, VIP), (VIP,), "2 instead of 1"),
        ((), tuple(parse_address(f"192.0.2.{n}") for n in range(1, 7)),
         "0 instead of 6, missing 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4 and 2 more"),
        ((OTHER_VIP, VIP), (VIP, OTHER_VIP), ""),
    ],
)  # fmt: skip
def test_other_addresses_are_a_note(
    theirs: tuple[Address, ...], ours: tuple[Address, ...], says: str
) -> None:
    received = arrived(replace(ADVERT3, addresses=theirs))
    rules = replace(RULES3, addresses=ours)
    got = validate(received, rules)
    assert isinstance(got, Accepted)
    assert got.notes == ((Note(NoteKind.ADDRESSES, says),) if says else ())
    skipped = validate(received, rules, skip_addresses=True)
    assert isinstance(skipped, Accepted)
    assert skipped.notes == ()


def test_a_checksum_as_in_version_2_counts_where_it_is_configured() -> None:
    received = arrived(ADVERT3, checksum=ChecksumKind.AS_V2)
    assert validate(received, replace(RULES3, checksum=ChecksumKind.AS_V2)) == Accepted(
        ADVERT3, SOURCE, 255
    )


def test_a_signature_around_version_3_is_refused() -> None:
    packet = encode_signed(ADVERT2, SOURCE, GROUP4, secret=b"s3cret", sequence=1)
    signed = received_ipv4(packet)
    assert isinstance(signed, Received)
    got = validate(replace(arrived(ADVERT3), auth_header=signed.auth_header), RULES3)
    assert isinstance(got, Reject)
    assert got.kind is RejectKind.AUTH_MISMATCH
