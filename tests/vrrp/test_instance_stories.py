"""Stalls, contention, two owners, preemption: the ways in which pairs go wrong in real life."""

import pytest
from support.vrrp import HIGH, KEY, LOW, OURS, advert, backup, expire, master, spec

from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.record import MAX_COMPLAINTS
from lvskeeper.vrrp.spec import Start
from lvskeeper.vrrp.states import Cause, Occasion, State
from lvskeeper.vrrp.tracking import Status, Track, TrackId, TrackKind, judge

FOURTH = parse_address("192.0.2.4")


def kinds(effects: list[fx.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


# Stalls


def test_a_backup_looks_at_its_sockets_before_it_takes_over() -> None:
    vi = backup(spec())
    at = vi.deadline()
    assert vi.on_timer(at) == [fx.LookAgain(KEY)]
    vi.on_advert(advert(200), HIGH, at)
    assert vi.on_timer(at) == []
    assert vi.deadline() == pytest.approx(at + 3.609375)
    assert vi.state is State.BACKUP


def test_a_backup_that_was_late_says_so_and_waits_once_more() -> None:
    vi = backup(spec())
    due = vi.deadline()
    late = due + 5
    assert vi.on_timer(late) == [fx.Late(KEY, State.BACKUP, 5), fx.LookAgain(KEY)]
    assert vi.on_timer(late) == [fx.Extended(KEY, late + 1.609375)]
    later = vi.deadline() + 5
    assert kinds(vi.on_timer(later)) == [fx.Late, fx.LookAgain]
    assert fx.StateChanged(KEY, State.BACKUP, State.MASTER, Cause.SILENCE, 100) in (
        vi.on_timer(later)
    )


def test_a_backup_that_was_deaf_waits_until_the_master_can_have_been_heard() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.on(ev.LoopStalled(2.9), 103.0) == [
        fx.Extended(KEY, 104.609375),
        fx.Late(KEY, State.BACKUP, 2.9),
    ]
    assert vi.on(ev.LoopStalled(2.9), 104.0) == []
    assert vi.deadline() == 104.609375


def test_a_backup_that_was_deaf_early_waits_no_longer_than_ever() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.on(ev.LoopStalled(0.7), 101.0) == []
    assert vi.deadline() == pytest.approx(103.609375)


def test_a_little_late_costs_nothing() -> None:
    vi = backup(spec())
    at = vi.deadline() + 0.45
    assert vi.on_timer(at) == [fx.LookAgain(KEY)]
    assert kinds(vi.on_timer(at))[0] is fx.SendAdvert


def test_a_resigned_master_needs_no_second_wait() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    vi.on_advert(advert(0), HIGH, 100.1)
    at = vi.deadline() + 5
    vi.on_timer(at)
    assert fx.StateChanged(KEY, State.BACKUP, State.MASTER, Cause.PRIORITY_ZERO, 100) in (
        vi.on_timer(at)
    )


def test_a_thawed_master_looks_first_and_announces_again() -> None:
    vi = master(spec(priority=200))
    at = vi.deadline() + 5
    assert vi.on_timer(at) == [fx.Late(KEY, State.MASTER, 5), fx.LookAgain(KEY)]
    assert vi.on_timer(at) == [fx.SendAdvert(KEY, 200), fx.Announce(KEY, Occasion.STALL)]
    assert vi.deadline() == pytest.approx(at + 1)


def test_a_thawed_master_whose_socket_holds_a_resignation_announces_too() -> None:
    vi = master(spec(priority=200))
    told = vi.on_advert(advert(0), LOW, vi.deadline() + 5)
    assert fx.Announce(KEY, Occasion.STALL) in told


def test_a_thawed_master_yields_to_the_stronger_one_in_its_socket() -> None:
    vi = master(spec())
    at = vi.deadline() + 5
    vi.on_timer(at)
    told = vi.on_advert(advert(100), HIGH, at)
    assert kinds(told) == [fx.ReleaseAddresses, fx.StateChanged]
    assert vi.on_timer(at) == []


def test_timer_expired_backup() -> None:
    vi = master(spec(preempt=False, timer_expired_backup=200))
    at = vi.deadline() + 2.3
    vi.on_timer(at)
    assert vi.on_timer(at)[-1] == fx.StateChanged(
        KEY, State.MASTER, State.BACKUP, Cause.STALLED, 100
    )
    assert vi.deadline() == pytest.approx(at + 3.609375)


def test_a_suspended_backup_starts_its_patience_anew() -> None:
    vi = backup(spec())
    vi.on(ev.Resumed(), 103.0)
    assert vi.deadline() == pytest.approx(106.609375)


# Contention


def test_a_master_shows_who_claims_its_addresses_and_who_is_to_yield() -> None:
    vi = master(spec())
    told = vi.on_advert(advert(50), HIGH, 110.0)
    contention = vi.contention
    assert contention is not None
    assert told[0] == fx.ContentionBegan(KEY, contention)
    assert (contention.stronger.address, contention.weaker.address) == (OURS, HIGH)
    assert contention.since == 110.0
    assert str(contention) == (
        "192.0.2.2 (priority 100, every 1 s) and 192.0.2.3 (priority 50, every 1 s): "
        "the latter is to yield (higher priority)"
    )


def test_contention_is_told_once_and_ends_with_silence() -> None:
    vi = master(spec())
    vi.on_advert(advert(100), LOW, 110.0)
    assert fx.ContentionBegan not in kinds(vi.on_advert(advert(100), LOW, 111.0))
    assert vi.contention is not None
    assert vi.contention.why == "equal priority, higher address"
    ended: list[fx.ContentionEnded] = []
    while not ended and vi.deadline() < 130:
        told = vi.on_timer(vi.deadline())
        ended = [effect for effect in told if isinstance(effect, fx.ContentionEnded)]
    assert ended[0].lasted == pytest.approx(5)
    assert vi.contention is None


def test_contention_ends_when_the_other_resigns_or_we_leave() -> None:
    vi = master(spec())
    vi.on_advert(advert(50), LOW, 110.0)
    assert fx.ContentionEnded in kinds(vi.on_advert(advert(0), LOW, 110.5))
    vi.on_advert(advert(50), LOW, 111.0)
    assert fx.ContentionEnded in kinds(vi.on_advert(advert(200), HIGH, 111.5))


def test_a_backup_sees_two_masters_that_advertise_by_turns() -> None:
    vi = backup(spec())
    turns = [(200, LOW), (150, HIGH), (200, LOW), (150, HIGH), (200, LOW)]
    told = [vi.on_advert(advert(p), a, 100 + i / 2) for i, (p, a) in enumerate(turns)]
    began = [e for effects in told for e in effects if isinstance(e, fx.ContentionBegan)]
    assert len(began) == 1
    assert began[0].contention.weaker.address == HIGH
    told += [vi.on_advert(advert(200), LOW, float(second)) for second in range(103, 110)]
    assert fx.ContentionEnded in kinds([e for effects in told for e in effects])


def test_a_change_of_master_is_no_contention() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), LOW, 100.0)
    told = vi.on_advert(advert(250), HIGH, 100.9)
    assert told == [fx.MasterLearned(KEY, HIGH, 250, LOW)]
    assert vi.contention is None


def test_a_stranger_that_resigns_does_not_end_the_masters_reign() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.on_advert(advert(0), FOURTH, 100.5) == [fx.PeerResigned(KEY, FOURTH, obeyed=False)]
    assert vi.deadline() == pytest.approx(103.609375)


def test_many_strangers_take_no_memory() -> None:
    vi = master(spec())
    for number in range(200):
        vi.on_advert(advert(50), parse_address(f"198.51.100.{number}"), 110 + number / 1000)
    assert len(vi._record.watch._claims) == 8


# Options of elections


def test_a_lower_priority_without_an_answer() -> None:
    vi = master(spec(lower_prio_no_advert=True))
    due = vi.deadline()
    assert fx.SendAdvert not in kinds(vi.on_advert(advert(50), LOW, 103.7))
    assert vi.deadline() == due


def test_a_last_advert_before_yielding() -> None:
    vi = master(spec(higher_prio_send_advert=True))
    told = vi.on_advert(advert(200), HIGH, 110.0)
    assert kinds(told) == [fx.SendAdvert, fx.ReleaseAddresses, fx.StateChanged]


def test_who_yields_follows_the_interval_of_the_winner() -> None:
    vi = master(spec())
    vi.on_advert(advert(200, 2.0), HIGH, 110.0)
    assert vi.deadline() == pytest.approx(110 + 6 + 2 * 156 / 256)
    assert vi.master is not None
    assert vi.master.address == HIGH


def test_nopreempt_lets_a_lower_master_be() -> None:
    vi = backup(spec(preempt=False))
    vi.on_advert(advert(50), LOW, 101.0)
    assert vi.deadline() == pytest.approx(104.609375)


def test_an_owner_preempts_in_any_case() -> None:
    vi = backup(spec(preempt=False, priority=255))
    assert vi.on_advert(advert(50), LOW, 101.0) == [fx.LowerDiscarded(KEY, LOW, 50)]


def test_complaints_come_once_a_peer_until_the_next_transition() -> None:
    vi = backup(spec())
    assert fx.LowerDiscarded in kinds(vi.on_advert(advert(50), LOW, 101.0))
    assert vi.on_advert(advert(50), LOW, 102.0) == []
    vi = master(spec())
    vi.on_advert(advert(100), OURS, 110.0)
    assert vi.on_advert(advert(100), OURS, 111.0) == []


def test_forged_peers_without_number_are_complained_of_up_to_a_limit() -> None:
    vi = backup(spec(preempt_delay=2.5))
    vi.on_advert(advert(50), LOW, 101.0)
    forged = [parse_address(f"198.51.100.{last}") for last in range(2 * MAX_COMPLAINTS)]
    told = [kinds(vi.on_advert(advert(50), source, 104.0)) for source in forged]
    assert told[:MAX_COMPLAINTS] == [[fx.PreemptDelayEnded, fx.LowerDiscarded]] * MAX_COMPLAINTS
    assert told[MAX_COMPLAINTS:] == [[]] * MAX_COMPLAINTS


def test_of_two_owners_the_higher_address_stays_for_a_while() -> None:
    vi = master(spec(priority=255, start=Start.MASTER))
    assert vi.deadline() == 101.0
    told: list[fx.Effect] = []
    at = 101.0
    while vi.state is State.MASTER:
        told += vi.on_timer(at)
        told += vi.on_advert(advert(255), LOW, at + 0.5)
        at += 1
    assert at == pytest.approx(104.0)
    assert fx.OwnerConflict(KEY, LOW) in told
    assert vi.priority == 254
    assert vi.on_advert(advert(255), LOW, at) == []
    told = expire(vi)
    assert told[0] == fx.SendAdvert(KEY, 255)


def test_of_two_owners_the_lower_address_yields_at_once() -> None:
    vi = master(spec(priority=255, start=Start.MASTER))
    told = vi.on_advert(advert(255), HIGH, 100.5)
    assert kinds(told) == [fx.ReleaseAddresses, fx.StateChanged]
    assert vi.priority == 255


def test_an_owner_may_be_deaf() -> None:
    vi = master(spec(priority=255, start=Start.MASTER, owner_ignore_adverts=True))
    assert vi.on_advert(advert(255), HIGH, 100.5) == []


# Priority and reload


def test_a_changed_priority_moves_the_running_timer() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    track = Track(TrackId(TrackKind.SCRIPT, "chk"), 50)
    told = vi.on(ev.Judged(judge(100, [track], {track.id: Status(well=True)})), 101.0)
    assert isinstance(told[0], fx.PriorityChanged)
    assert (told[0].old, str(told[0].new)) == (100, "100 + 50 (script chk) = 150")
    assert vi.deadline() == pytest.approx(100 + 3 + 106 / 256)


def test_a_reload_goes_on_with_the_running_timer() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.on(ev.Reconfigured(spec(), judge(100, (), {})), 101.0) == []
    assert vi.deadline() == pytest.approx(103.609375)
    vi.on(ev.Reconfigured(spec(interval=2.0), judge(100, (), {})), 101.0)
    assert vi.deadline() == pytest.approx(100 + 6 + 2 * 156 / 256)


def test_a_reload_keeps_a_learned_interval() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200, 3.0), HIGH, 100.0)
    vi.on(ev.Reconfigured(spec(interval=2.0), judge(100, (), {})), 101.0)
    assert vi.master_interval == 3.0


def test_a_reloaded_master_tells_its_peers_at_once() -> None:
    vi = master(spec())
    now = vi.since + 0.5
    told = vi.on(ev.Reconfigured(spec(priority=150), judge(150, (), {})), now)
    assert kinds(told) == [fx.PriorityChanged]
    assert vi.on_timer(now) == [fx.SendAdvert(KEY, 150)]
