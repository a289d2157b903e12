"""Messages as bytes: what keepalived and FRR sent, and what we send in their place."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp_captures import Captured, captured

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import (
    GROUP4,
    GROUP6,
    MAX_CENTISECONDS,
    ChecksumKind,
    encode,
    encode_signed,
    internet_sum,
    read_message,
    summed,
)
from lvskeeper.vrrp.types import Advert

SOURCE4 = parse_address("192.0.2.1")
SOURCE6 = parse_address("fe80::1")
ADVERT2 = Advert(2, 51, 100, 1.0, (parse_address("192.0.2.100"),))
ADVERT3 = replace(ADVERT2, version=3)
PASS = Authentication(AuthKind.PASS, b"s3cret")


def _id(item: Captured) -> str:
    return f"{item.name}-{item.advert.priority}"


def test_there_are_packets_of_every_kind() -> None:
    every = {(c.advert.version, c.family, c.auth.kind.name, c.unicast) for c in captured()}
    assert every == {
        (2, 4, "NONE", False), (2, 4, "NONE", True), (2, 4, "PASS", False), (2, 4, "AH", False),
        (2, 4, "AH", True), (3, 4, "NONE", False), (3, 4, "NONE", True), (3, 6, "NONE", False),
        (3, 6, "NONE", True),
    }  # fmt: skip
    assert {c.name for c in captured() if c.advert.priority == 0} == {c.name for c in captured()}


@pytest.mark.parametrize("item", captured(), ids=_id)
def test_we_send_the_bytes_that_they_sent(item: Captured) -> None:
    if item.auth.kind is AuthKind.AH:
        ours = encode_signed(
            item.advert, item.source, item.destination,
            secret=item.auth.secret, sequence=item.sequence,
        )  # fmt: skip
        assert ours.hex() == item.packet.hex()
    else:
        ours = encode(
            item.advert, item.source, item.destination, auth=item.auth, checksum=item.checksum
        )
        assert ours.hex() == item.payload.hex()


@pytest.mark.parametrize("item", captured(), ids=_id)
def test_we_read_what_they_sent(item: Captured) -> None:
    message = read_message(item.packet[item.message_start :])
    assert message.kind == 1
    assert message.advert(len(item.source)) == item.advert
    assert summed(message, item.source, item.destination, item.checksum)


def adverts(version: int, family: int) -> st.SearchStrategy[Advert]:
    ticks = st.integers(1, 255).map(float)
    if version == 3:
        ticks = st.integers(1, MAX_CENTISECONDS).map(lambda n: n / 100)
    size = 4 if family == 4 else 16
    address = st.binary(min_size=size, max_size=size).map(Address)
    return st.builds(
        Advert, st.just(version), st.integers(1, 255), st.integers(0, 255), ticks,
        st.lists(address, max_size=255).map(tuple),
    )  # fmt: skip


@given(
    st.sampled_from([(2, 4), (3, 4), (3, 6)]).flatmap(lambda kind: adverts(*kind)),
    st.sampled_from(ChecksumKind),
    st.booleans(),
)
def test_reading_undoes_encoding(advert: Advert, checksum: ChecksumKind, six: bool) -> None:
    size = len(advert.addresses[0]) if advert.addresses else 4
    if not advert.addresses and advert.version == 3 and six:
        size = 16
    source, group = (SOURCE4, GROUP4) if size == 4 else (SOURCE6, GROUP6)
    message = read_message(encode(advert, source, group, checksum=checksum))
    assert len(message.data) == message.size(size)
    assert message.advert(size) == advert
    assert summed(message, source, group, checksum)


@given(st.binary(max_size=300))
def test_the_sum_is_that_of_words_with_carry(data: bytes) -> None:
    total = 0
    for start in range(0, len(data), 2):
        total += int.from_bytes(data[start : start + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    assert internet_sum(data) == total


def test_only_ipv4_of_version_3_has_a_choice_of_checksums() -> None:
    six = Advert(3, 51, 100, 1.0, ())
    peer4, peer6 = parse_address("192.0.2.2"), parse_address("fe80::2")
    for advert, source, peer, different in (
        (ADVERT2, SOURCE4, peer4, 1), (ADVERT3, SOURCE4, peer4, 3), (six, SOURCE6, peer6, 1),
    ):  # fmt: skip
        made = {encode(advert, source, peer, checksum=kind) for kind in ChecksumKind}
        assert len(made) == different


def test_as_version_2_leaves_the_pseudo_header_out() -> None:
    assert internet_sum(encode(ADVERT3, SOURCE4, GROUP4, checksum=ChecksumKind.AS_V2)) == 0xFFFF


@pytest.mark.parametrize(
    ("advert", "source", "auth", "says"),
    [
        (replace(ADVERT2, vrid=0), SOURCE4, PASS, "VRID 0"),
        (replace(ADVERT2, vrid=256), SOURCE4, PASS, "VRID 256"),
        (replace(ADVERT2, priority=-1), SOURCE4, PASS, "priority -1"),
        (replace(ADVERT2, priority=256), SOURCE4, PASS, "priority 256"),
        (replace(ADVERT2, interval=0.0), SOURCE4, PASS, "whole seconds"),
        (replace(ADVERT2, interval=1.5), SOURCE4, PASS, "whole seconds"),
        (replace(ADVERT2, interval=256.0), SOURCE4, PASS, "whole seconds"),
        (replace(ADVERT3, interval=0.004), SOURCE4, Authentication(), "0.01 to 40.95"),
        (replace(ADVERT3, interval=40.96), SOURCE4, Authentication(), "0.01 to 40.95"),
        (replace(ADVERT3, version=4), SOURCE4, Authentication(), "versions 2 and 3"),
        (replace(ADVERT2, addresses=ADVERT2.addresses * 256), SOURCE4, PASS, "more than 255"),
        (replace(ADVERT3, addresses=(SOURCE6,)), SOURCE4, Authentication(), "own family"),
        (replace(ADVERT2, addresses=()), SOURCE6, PASS, "IPv4 only"),
        (ADVERT3, SOURCE4, PASS, "no authentication"),
        (ADVERT2, SOURCE4, Authentication(AuthKind.AH, b"x"), "needs the IP header"),
    ],
)
def test_what_the_wire_cannot_carry_is_an_error(
    advert: Advert, source: Address, auth: Authentication, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        encode(advert, source, GROUP4, auth=auth)
