"""The authentication trailer and time: replay, windows, clocks that step, and restarts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp_hmac import AUTH, MONOTONIC, OLD_KEY, VIP4, WALL, arrived, judge, noted, why, wire

from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.auth_hmac import MAX_SENDERS, ReplayGuard, next_sequence
from lvskeeper.vrrp.validate import Accepted, NoteKind, Peer, RejectKind, Rules, validate


def test_what_was_heard_is_not_heard_again() -> None:
    guard = ReplayGuard()
    data = [wire(sequence=(int(WALL) << 32) + n) for n in range(3)]
    got = [why(judge(data[n], guard=guard)) for n in (1, 1, 0, 2, 1, 2)]
    again = RejectKind.AUTH_EXT_REPLAY
    assert got == [None, again, again, None, again, again]


def test_senders_do_not_share_a_number() -> None:
    guard = ReplayGuard()
    other = parse_address("192.0.2.3")
    assert why(judge(wire(sent=WALL + 1), guard=guard)) is None
    assert why(judge(wire(source=other), source=other, guard=guard)) is None


def test_a_packet_that_does_not_count_raises_no_number() -> None:
    guard = ReplayGuard()
    good = wire()
    # the HMAC does not cover the checksum, so anybody can damage that
    broken = good[:6] + bytes(2) + good[8:]
    assert why(judge(broken, guard=guard)) is RejectKind.CHECKSUM
    assert why(judge(good, guard=guard)) is None


@pytest.mark.parametrize("off", range(-7, 8))
def test_the_window_ends_after_whole_seconds(off: int) -> None:
    verdict = judge(wire(sent=WALL + off))
    assert why(verdict) is (RejectKind.AUTH_EXT_STALE if abs(off) > 5 else None)
    if abs(off) <= 5:
        assert noted(verdict) == ([NoteKind.CLOCK_SKEW] if abs(off) > 2 else [])


def test_without_a_window_only_the_order_counts() -> None:
    guard = ReplayGuard()
    year = 365 * 86400
    for sent in (WALL - year, WALL, WALL + year):
        assert noted(judge(wire(sent=sent), auth=MONOTONIC, guard=guard)) == []
    late = wire(sent=WALL)
    assert why(judge(late, auth=MONOTONIC, guard=guard)) is RejectKind.AUTH_EXT_REPLAY


def test_time_goes_on_where_its_32_bits_end() -> None:
    end = float(2**32)
    guard = ReplayGuard()
    last = None
    for sent in (end - 1, end - 1, end, end + 1):
        last = next_sequence(AUTH, last, sent)
        got = judge(wire(sequence=last), guard=guard, wall=sent)
        assert isinstance(got, Accepted), sent
    assert why(judge(wire(sent=end - 1), guard=guard, wall=end)) is RejectKind.AUTH_EXT_REPLAY


@given(st.lists(st.floats(0, 4.9), min_size=2, max_size=30))
def test_numbers_grow_whatever_the_clock_does_within_the_window(steps: list[float]) -> None:
    guard = ReplayGuard()
    last = None
    for step in steps:
        now = WALL + step
        last = next_sequence(AUTH, last, now)
        got = judge(wire(sequence=last), guard=guard, wall=now)
        assert isinstance(got, Accepted), (step, got)


def test_the_counter_carries_into_the_time() -> None:
    now = next_sequence(AUTH, None, WALL)
    assert now == (int(WALL) << 32) + (0x4000 << 16)
    assert next_sequence(AUTH, now, WALL) == now + 1
    assert next_sequence(AUTH, now + 0xFFFF, WALL) == now + 0x10000
    assert next_sequence(MONOTONIC, 2**64 - 1, 2**32 - 1.0) == 0


def test_a_sender_whose_clock_is_put_back_by_more_than_the_window_begins_anew() -> None:
    ahead = next_sequence(AUTH, None, WALL + 3600)
    assert next_sequence(AUTH, ahead, WALL) == next_sequence(AUTH, None, WALL)
    near = next_sequence(AUTH, None, WALL + 5)
    assert next_sequence(AUTH, near, WALL) == near + 1
    assert next_sequence(MONOTONIC, ahead, WALL) == ahead + 1


def test_all_clocks_put_back_together_silence_nobody() -> None:
    guard = ReplayGuard()
    assert why(judge(wire(sent=WALL + 3600), guard=guard, wall=WALL + 3600)) is None
    back = wire(sent=WALL)
    assert why(judge(back, guard=guard)) is None
    assert why(judge(back, guard=guard)) is RejectKind.AUTH_EXT_REPLAY


def test_without_a_window_a_clock_put_back_silences_its_sender_after_a_restart() -> None:
    guard = ReplayGuard()
    assert why(judge(wire(sent=WALL + 3600), auth=MONOTONIC, guard=guard)) is None
    restarted = wire(sent=WALL)
    assert why(judge(restarted, auth=MONOTONIC, guard=guard)) is RejectKind.AUTH_EXT_REPLAY


def test_a_restarted_sender_is_heard_when_its_clock_has_gone_on() -> None:
    guard = ReplayGuard()
    last = None
    for _ in range(3):
        last = next_sequence(AUTH, last, WALL)
        assert why(judge(wire(sequence=last), guard=guard)) is None
    # nothing is kept over the restart, and its clock stands: what it says was said before
    assert why(judge(wire(sent=WALL), guard=guard)) is RejectKind.AUTH_EXT_REPLAY
    assert why(judge(wire(sent=WALL + 0.001), guard=guard)) is None


def test_a_restarted_receiver_takes_what_is_fresh_once() -> None:
    data = wire()
    guard = ReplayGuard()
    assert why(judge(data, guard=guard, wall=WALL + 4)) is None
    assert why(judge(data, guard=guard, wall=WALL + 4)) is RejectKind.AUTH_EXT_REPLAY
    assert why(judge(data, guard=guard, wall=WALL + 6)) is RejectKind.AUTH_EXT_STALE


def test_the_guard_is_bounded_and_forgets_who_was_silent_longest() -> None:
    guard = ReplayGuard()
    senders = [Address(bytes((192, 0, 2, n))) for n in range(1, MAX_SENDERS + 1)]
    for sender in [*senders, senders[0]]:
        number = next_sequence(AUTH, None, WALL) + len(guard)
        got = judge(wire(source=sender, sequence=number), source=sender, guard=guard)
        assert why(got) is None
    newcomer = parse_address("192.0.2.200")
    assert why(judge(wire(source=newcomer), source=newcomer, guard=guard)) is None
    assert len(guard) == MAX_SENDERS
    assert guard.last(senders[0], AUTH, WALL) is not None
    assert guard.last(senders[1], AUTH, WALL) is None


def test_forged_senders_take_no_place() -> None:
    guard = ReplayGuard()
    forged = replace(AUTH, keys=(replace(OLD_KEY, secret=b"x" * 32),))
    for n in range(200):
        sender = Address(bytes((198, 51, 100, n)))
        got = judge(wire(auth=forged, source=sender), source=sender, guard=guard)
        assert why(got) is RejectKind.AUTH_EXT_INVALID_HMAC
    assert len(guard) == 0


def test_every_peer_has_a_place() -> None:
    here = parse_address("192.0.2.250")
    peers = [Address(bytes((192, 0, 2, n))) for n in range(1, 3 * MAX_SENDERS)]
    rules = Rules(3, 51, 1.0, (VIP4,), peers=tuple(map(Peer, peers)), hmac=AUTH)
    guard = ReplayGuard()
    for expected in (None, RejectKind.AUTH_EXT_REPLAY):
        for peer in peers:
            received = arrived(wire(source=peer, destination=here), peer, here)
            assert why(validate(received, rules, wall=WALL, guard=guard)) is expected
