"""The announcement planner: bursts, repetition, refresh, spacing, and the one rate for all."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.units import parse_address
from lvskeeper.vrrp.announce import BURST, RATE, SLICE, Place, Planner
from lvskeeper.vrrp.spec import AnnounceSpec
from lvskeeper.vrrp.states import Occasion
from lvskeeper.vrrp.types import InstanceKey

KEY = InstanceKey("eth0", 4, 51)
OTHER = InstanceKey("eth0", 4, 52)
A, B, C = (Place("eth0", parse_address(f"192.0.2.{n}")) for n in (1, 2, 3))
SIX = Place("eth0", parse_address("2001:db8::1"))
FAR = Place("eth1", parse_address("192.0.2.9"))


def run(planner: Planner, until: float, now: float = 100.0) -> list[tuple[float, Place]]:
    """Return what is said, and when, by a loop that is always in time."""
    said: list[tuple[float, Place]] = []
    while (at := planner.deadline()) <= until:
        now = max(now, at)
        said += [(round(now - 100, 4), each.place) for each in planner.on_timer(now)]
    return said


def test_a_new_master_says_all_five_times_and_again_after_five_seconds() -> None:
    planner = Planner()
    planner.announce(KEY, AnnounceSpec(), [A, B], Occasion.MASTER, 100.0)
    assert run(planner, 1000.0) == [(0, A), (0, B)] * 5 + [(5, A), (5, B)] * 5
    assert planner.deadline() == inf
    assert planner.last(KEY, A) == 105.0
    assert planner.last(OTHER, A) is None


@pytest.mark.parametrize(
    ("spec", "occasion", "times"),
    [
        (AnnounceSpec(repeat=1, delay=0), Occasion.MASTER, [0]),
        (AnnounceSpec(repeat=2, delay=3), Occasion.STALL, [0, 0, 3, 3]),
        (AnnounceSpec(repeat=1, delay=0, refresh=10), Occasion.MASTER, [0, 10, 20]),
        (AnnounceSpec(repeat=1, delay=0, refresh=20, refresh_repeat=2), Occasion.MASTER,
         [0, 20, 20]),
        (AnnounceSpec(lower_prio_repeat=2, lower_prio_delay=1), Occasion.LOWER_PRIORITY,
         [0, 0, 1, 1]),
        (AnnounceSpec(repeat=3, delay=0, garp_interval=0.5), Occasion.MASTER, [0, 0.5, 1]),
        (AnnounceSpec(repeat=3, delay=0, gna_interval=0.5), Occasion.MASTER, [0, 0, 0]),
    ],
)  # fmt: skip
def test_bursts(spec: AnnounceSpec, occasion: Occasion, times: list[float]) -> None:
    planner = Planner()
    planner.announce(KEY, spec, [A], occasion, 100.0)
    assert [at for at, _ in run(planner, 125.0)] == times


def test_all_are_said_once_before_any_is_repeated() -> None:
    planner = Planner()
    spec = AnnounceSpec(repeat=3, delay=0)
    planner.announce(KEY, spec, [A, B], Occasion.MASTER, 100.0)
    planner.announce(OTHER, spec, [C], Occasion.MASTER, 100.0)
    said = [place for _, place in run(planner, 101.0)]
    assert {*said[:3]} == {*said[3:6]} == {*said[6:]} == {A, B, C}


def test_spacing_is_an_interfaces_and_a_familys_own_unless_shared() -> None:
    spec = AnnounceSpec(repeat=1, delay=0, garp_interval=1.0, gna_interval=2.0)
    planner = Planner()
    planner.announce(KEY, spec, [A, B], Occasion.MASTER, 100.0)
    planner.announce(OTHER, spec, [FAR, SIX], Occasion.MASTER, 100.0)
    assert {*run(planner, 110.0)} == {(0, A), (1, B), (0, FAR), (0, SIX)}
    shared = AnnounceSpec(repeat=1, delay=0, garp_interval=1.0, spacing="wan")
    planner = Planner()
    planner.announce(KEY, shared, [A], Occasion.MASTER, 100.0)
    planner.announce(OTHER, shared, [FAR], Occasion.MASTER, 100.0)
    assert [at for at, _ in run(planner, 110.0)] == [0, 1]


def test_release_ends_it() -> None:
    planner = Planner()
    planner.announce(KEY, AnnounceSpec(refresh=1), [A], Occasion.MASTER, 100.0)
    planner.on_timer(100.0)
    planner.stop(KEY)
    planner.stop(KEY)
    assert run(planner, 1000.0) == []
    planner.announce(KEY, AnnounceSpec(repeat=1, delay=0), [A], Occasion.MASTER, 200.0)
    assert len(run(planner, 300.0, 200.0)) == 1


def test_occasions_that_follow_each_other_do_not_pile_up() -> None:
    planner = Planner()
    for _ in range(100):
        planner.announce(KEY, AnnounceSpec(), [A], Occasion.LOWER_PRIORITY, 100.0)
    assert len(run(planner, 1000.0)) == 10


def test_nothing_to_say() -> None:
    planner = Planner()
    planner.announce(KEY, AnnounceSpec(), [], Occasion.MASTER, 100.0)
    assert planner.deadline() == inf
    assert planner.on_timer(100.0) == []


def test_other_addresses_replace_the_plan() -> None:
    planner = Planner()
    spec = AnnounceSpec(repeat=1, delay=0)
    planner.announce(KEY, spec, [A], Occasion.MASTER, 100.0)
    planner.announce(KEY, spec, [B], Occasion.MASTER, 100.0)
    assert [place for _, place in run(planner, 101.0)] == [B]


def test_an_answer_is_a_slice_and_the_rate_is_one_for_all() -> None:
    planner = Planner()
    for vrid in range(1, 256):
        key = InstanceKey("eth0", 4, vrid)
        places = [Place("eth0", parse_address(f"10.0.{vrid}.{n}")) for n in range(8)]
        planner.announce(key, AnnounceSpec(delay=0), places, Occasion.MASTER, 100.0)
    assert len(planner.on_timer(100.0)) == SLICE
    said = run(planner, 1000.0)
    total = 255 * 8 * 5
    assert len(said) + SLICE == total
    assert said[-1][0] == pytest.approx((total - BURST) / RATE, abs=0.01)
    first_round = [place for _, place in said[: 255 * 8 - SLICE]]
    assert len({*first_round}) == len(first_round)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4), st.sampled_from([*Occasion, None]), st.floats(0, 3), st.booleans()
        ),
        max_size=30,
    )
)
def test_any_course_ends_and_says_only_what_is_held(
    course: list[tuple[int, Occasion | None, float, bool]],
) -> None:
    planner = Planner(rate=50, burst=5)
    spec = AnnounceSpec(repeat=3, delay=2, garp_interval=0.05)
    now, held = 100.0, set()
    for vrid, occasion, wait, drain in course:
        key = InstanceKey("eth0", 4, vrid)
        if occasion:
            held.add(key)
            planner.announce(key, spec, [A, FAR], occasion, now)
        else:
            held.discard(key)
            planner.stop(key)
        now += wait
        if drain:
            assert {said.key for said in planner.on_timer(now)} <= held
    for _ in range(2000):
        if planner.deadline() == inf:
            break
        now = max(now, planner.deadline())
        assert {said.key for said in planner.on_timer(now)} <= held
    assert planner.deadline() == inf
    assert all(planner.last(key, A) is not None for key in held)
