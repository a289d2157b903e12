"""The times of VRRP as numbers, at the times of keepalived on the wire."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp import HIGH, KEY, LOW, advert, backup, expire, master, spec

from lvskeeper.units import NO_ADDRESS
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.spec import Start
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.timers import Deadlines, master_down_time, skew_time


@pytest.mark.parametrize(
    ("version", "priority", "interval", "skew", "down"),
    [
        (3, 100, 1.0, 0.609375, 3.609375),  # measured on the wire: 3.6094
        (3, 100, 0.1, 0.0609375, 0.3609375),  # measured: 0.3609
        (2, 100, 1.0, 0.609375, 3.609375),
        (2, 100, 10.0, 0.609375, 30.609375),  # version 2: parts of a second
        (3, 100, 10.0, 6.09375, 36.09375),  # version 3: parts of the interval
        (3, 254, 1.0, 0.0078125, 3.0078125),
        (3, 255, 1.0, 0.00390625, 3.00390625),
        (2, 1, 1.0, 0.99609375, 3.99609375),
        (3, 100, 40.95, 24.953906, 147.803906),
    ],
)
def test_skew_and_master_down(
    version: int, priority: int, interval: float, skew: float, down: float
) -> None:
    assert skew_time(version, priority, interval) == pytest.approx(skew)
    assert master_down_time(version, priority, interval) == pytest.approx(down)


def test_silence_is_judged_3_6094_s_after_the_last_advert() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.deadline() == pytest.approx(103.609375)
    assert vi.on_timer(103.609) == []
    told = expire(vi)
    assert told[0] == fx.SendAdvert(KEY, 100)
    assert vi.state is State.MASTER
    assert vi.deadline() == pytest.approx(104.609375)


def test_a_resignation_leaves_the_skew_time() -> None:
    vi = backup(spec())
    vi.on_advert(advert(200), HIGH, 100.0)
    vi.on_advert(advert(0), HIGH, 100.5)
    assert vi.deadline() == pytest.approx(101.109375)


def test_more_missed_adverts_by_configuration() -> None:
    vi = backup(spec(down_timer_adverts=5))
    vi.on_advert(advert(200), HIGH, 100.0)
    assert vi.deadline() == pytest.approx(105.609375)


@pytest.mark.parametrize(
    ("start", "priority", "first"),
    [
        (Start.BACKUP, 100, 3.609375),
        (Start.MASTER, 100, 1.00390625),  # an interval and the skew of 255
        (Start.MASTER, 255, 0.0),
        (Start.BACKUP, 255, 3.00390625),
    ],
)
def test_start_state(start: Start, priority: int, first: float) -> None:
    vi = Instance(spec(start=start, priority=priority))
    vi.on(ev.Started(), 100.0)
    assert vi.state is State.BACKUP
    assert vi.deadline() == pytest.approx(100.0 + first)


def test_an_interval_of_nothing_is_not_learned() -> None:
    vi = backup(spec(version=3))
    before = vi.master_down
    vi.on_advert(advert(200, 0.0), HIGH, 100.0)
    assert (vi.master_down, vi.deadline()) == (before, 100.0 + before)


def test_version_3_follows_the_interval_of_its_master() -> None:
    vi = backup(spec())
    assert fx.IntervalLearned(KEY, 1.0, 2.0) in vi.on_advert(advert(200, 2.0), HIGH, 100.0)
    assert vi.deadline() == pytest.approx(100.0 + 3 * 2 + 2 * 156 / 256)
    expire(vi)
    assert vi.state is State.MASTER
    assert vi.master_interval == 1.0


def test_version_2_keeps_its_own_interval() -> None:
    vi = backup(spec(version=2))
    vi.on_advert(advert(200, 2.0), HIGH, 100.0)
    assert vi.deadline() == pytest.approx(103.609375)


def test_adverts_keep_their_row_in_spite_of_small_lateness() -> None:
    vi = master(spec())
    first = vi.deadline()
    for turn in range(1, 50):
        assert vi.on_timer(vi.deadline() + 0.004) == [fx.SendAdvert(KEY, 100)]
        assert vi.deadline() == pytest.approx(first + turn)


def test_preempt_delay_counts_from_the_first_lower_advert() -> None:
    vi = backup(spec(preempt_delay=2.5))
    assert vi.on_advert(advert(50), LOW, 101.0) == [
        fx.PreemptDelayStarted(KEY, 103.5),
        fx.MasterLearned(KEY, LOW, 50, NO_ADDRESS),
    ]
    vi.on_advert(advert(50), LOW, 102.0)
    vi.on_advert(advert(50), LOW, 103.0)
    assert vi.deadline() == pytest.approx(106.609375)
    told = vi.on_advert(advert(50), LOW, 104.0)
    assert told == [fx.PreemptDelayEnded(KEY), fx.LowerDiscarded(KEY, LOW, 50)]
    assert vi.deadline() == pytest.approx(106.609375)


def test_preempt_delay_ends_with_an_equal_master_and_begins_anew() -> None:
    vi = backup(spec(preempt_delay=10))
    vi.on_advert(advert(50), LOW, 101.0)
    assert fx.PreemptDelayEnded(KEY) in vi.on_advert(advert(100), HIGH, 102.0)
    assert fx.PreemptDelayStarted(KEY, 113.0) in vi.on_advert(advert(50), LOW, 103.0)


def test_a_master_that_dies_within_the_preempt_delay_is_replaced_in_time() -> None:
    vi = backup(spec(preempt_delay=1000))
    vi.on_advert(advert(50), LOW, 101.0)
    assert vi.deadline() == pytest.approx(104.609375)
    expire(vi)
    assert vi.state is State.MASTER


@pytest.mark.parametrize("changes", [{"preempt": False}, {"start": Start.MASTER}])
def test_preempt_delay_is_for_preempting_backups(changes: dict[str, object]) -> None:
    vi = backup(spec(preempt_delay=10, **changes))
    told = vi.on_advert(advert(50), LOW, 101.0)
    assert not any(isinstance(effect, fx.PreemptDelayStarted) for effect in told)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100) | st.just(inf))))
def test_deadlines_give_the_earliest(changes: list[tuple[int, float]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    plain: dict[int, float] = {}
    for key, at in changes:
        deadlines.set(key, at)
        plain[key] = at
        earliest = min(plain.values())
        first = deadlines.first()
        if earliest == inf:
            assert first is None
        else:
            assert first is not None
            assert first[0] == earliest == plain[first[1]]


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100) | st.just(inf))), st.floats(0, 100))
def test_what_is_due_is_taken_in_order(changes: list[tuple[int, float]], now: float) -> None:
    deadlines: Deadlines[int] = Deadlines()
    plain: dict[int, float] = {}
    for key, at in changes:
        deadlines.set(key, at)
        plain[key] = at
        assert deadlines.bound() <= min(plain.values())
    due = deadlines.take(now)
    assert sorted(due) == sorted(key for key, at in plain.items() if at <= now)
    assert [plain[key] for key in due] == sorted(plain[key] for key in due)
    first = deadlines.first()
    assert deadlines.bound() == (first[0] if first else inf) > now


def test_many_moves_do_not_make_the_deadlines_grow() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for turn in range(10_000):
        deadlines.set(0, 1e9 - turn)
    assert deadlines.first() == (1e9 - 9_999, 0)
    assert len(deadlines._heap) < 100
    deadlines.discard(0)
    assert deadlines.first() is None
