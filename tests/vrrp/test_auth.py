"""Passwords and signatures of version 2."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp_captures import capture, captured

from lvskeeper.units import parse_address
from lvskeeper.vrrp.auth import (
    AH_SHAPE,
    MAX_SEQUENCE,
    Authentication,
    AuthHeader,
    AuthKind,
    format_auth_header,
    parse_auth_header,
)
from lvskeeper.vrrp.packet import GROUP4, encode_signed
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import (
    Accepted,
    Peer,
    Received,
    Reject,
    RejectKind,
    Rules,
    received_ipv4,
    validate,
)

SOURCE = parse_address("192.0.2.1")
PEER = parse_address("192.0.2.2")
ADVERT = Advert(2, 51, 100, 1.0, (parse_address("192.0.2.100"),))
RULES = Rules(
    version=2, vrid=51, interval=1.0, addresses=ADVERT.addresses,
    auth=Authentication(AuthKind.AH, b"s3cret"),
)  # fmt: skip


def signed(sequence: int = 1, secret: bytes = b"s3cret") -> Received:
    received = received_ipv4(
        encode_signed(ADVERT, SOURCE, GROUP4, secret=secret, sequence=sequence)
    )
    assert isinstance(received, Received)
    return received


def refused(received: Received, rules: Rules = RULES, sequence: int = 0) -> RejectKind:
    got = validate(received, rules, sequence=sequence)
    assert isinstance(got, Reject)
    assert "s3cret" not in got.detail
    return got.kind


@given(
    st.builds(
        AuthHeader, st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4),
        st.integers(0, MAX_SEQUENCE), st.binary(min_size=12, max_size=12),
    )
)  # fmt: skip
def test_reading_a_header_undoes_formatting(header: AuthHeader) -> None:
    assert parse_auth_header(b"xyz" + format_auth_header(header), 3) == header


def test_a_longer_secret_is_an_error_and_none_is_shown() -> None:
    with pytest.raises(ValueError, match="up to 8 bytes"):
        Authentication(AuthKind.PASS, b"123456789")
    assert "s3cret" not in repr(RULES)


@pytest.mark.parametrize("secret", [b"", b"s3cre", b"s3cret!", b"S3cret"])
def test_only_the_same_password_is_known(secret: bytes) -> None:
    ours = Authentication(AuthKind.PASS, b"s3cret")
    assert ours.knows(ours.data)
    assert not ours.knows(Authentication(AuthKind.PASS, secret).data)


def test_sequence_numbers_only_grow() -> None:
    assert isinstance(validate(signed(8), RULES, sequence=7), Accepted)
    assert refused(signed(7), sequence=7) is RejectKind.REPLAY
    assert refused(signed(6), sequence=7) is RejectKind.REPLAY


def test_a_recorded_conversation_passes_once() -> None:
    packets = [item for item in captured() if item.name == "v2-ah"]
    sequence = 0
    for item in packets:
        received = item.received()
        assert isinstance(received, Received)
        got = validate(received, item.rules(), sequence=sequence)
        assert isinstance(got, Accepted)
        assert got.sequence is not None
        sequence = got.sequence
    assert sequence == len(packets)
    for item in packets:
        received = item.received()
        assert isinstance(received, Received)
        assert refused(received, item.rules(), sequence) is RejectKind.REPLAY


def test_a_wrong_signature_is_told_before_a_replay() -> None:
    assert refused(signed(1, b"other"), sequence=9) is RejectKind.AUTH_FAILURE


def test_header_and_type_have_to_agree() -> None:
    plain = capture("v2-none").received()
    assert isinstance(plain, Received)
    assert refused(plain) is RejectKind.AUTH_MISMATCH
    assert refused(replace(signed(), auth_header=None)) is RejectKind.AUTH_MISMATCH
    around = replace(plain, auth_header=signed().auth_header)
    assert refused(around, replace(RULES, auth=Authentication())) is RejectKind.AUTH_MISMATCH


@pytest.mark.parametrize(
    "change", [{"shape": bytes(4)}, {"shape": AH_SHAPE[:3] + b"\1"}, {"spi": bytes(4)}]
)
def test_a_header_of_another_shape_is_refused(change: dict[str, bytes]) -> None:
    received = signed()
    assert received.auth_header is not None
    header = replace(received.auth_header, **change)  # type: ignore[arg-type] # all are bytes
    assert refused(replace(received, auth_header=header)) is RejectKind.AUTH_FAILURE


def test_routers_may_lower_the_ttl_of_signed_unicast() -> None:
    rules = replace(RULES, peers=(Peer(SOURCE),))
    packet = encode_signed(ADVERT, SOURCE, PEER, secret=b"s3cret", sequence=1, ttl=64)
    for ttl in (64, 60):
        received = received_ipv4(packet[:8] + bytes([ttl]) + packet[9:])
        assert isinstance(received, Received)
        assert validate(received, rules) == Accepted(ADVERT, SOURCE, ttl, 1)


@pytest.mark.parametrize("sequence", [0, -1, MAX_SEQUENCE + 1])
def test_sequence_numbers_run_out(sequence: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        encode_signed(ADVERT, SOURCE, GROUP4, secret=b"s3cret", sequence=sequence)


@pytest.mark.parametrize("sequence", [0x10000, MAX_SEQUENCE])
def test_the_identification_is_never_left_to_the_kernel(sequence: int) -> None:
    packet = encode_signed(ADVERT, SOURCE, GROUP4, secret=b"s3cret", sequence=sequence)
    assert int.from_bytes(packet[4:6], "big") != 0
    received = received_ipv4(packet)
    assert isinstance(received, Received)
    assert isinstance(validate(received, RULES), Accepted)
