from collections import Counter
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvskeeper.health.schedule import (
    FIRST_SPAN,
    SHORTEST_PHASE,
    TICKS,
    Wheel,
    crowd_span,
    first_delay,
    first_phase,
    fraction,
)
from lvskeeper.health.spec import CheckKind, CheckSpec
from lvskeeper.units import parse_address

SPEC = CheckSpec(CheckKind.TCP, parse_address("192.0.2.1"), 80)


def names(count: int) -> list[str]:
    """Names as a real farm has them: neighbours that differ in a digit."""
    return [
        f"TCP_CHECK 10.0.{number // 250}.{number % 250 + 1}:80 of server {number}"
        for number in range(count)
    ]


def test_due_items_leave_in_order_once() -> None:
    schedule = Wheel[str]()
    for item, due in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("b2", 2.0)]:
        schedule.add(item, due)
    assert schedule.next_due() == 1.0
    assert schedule.pop_due(0.5, 9) == []
    assert schedule.pop_due(2.0, 2) == ["a", "b"]
    assert schedule.next_due() == 2.0
    assert schedule.pop_due(2.0, 9) == ["b2"]
    assert schedule.pop_due(2.0, 9) == []
    assert "c" in schedule
    assert schedule.next_due() == 3.0


def test_add_again_moves_and_remove_forgets() -> None:
    schedule = Wheel[str]()
    schedule.add("a", 1)
    schedule.add("a", 5)
    schedule.add("b", 2)
    schedule.remove("b")
    schedule.remove("never there")
    assert len(schedule) == 1
    assert schedule.next_due() == 5
    schedule.add("a", 3)
    assert schedule.pop_due(10, 9) == ["a"]
    assert schedule.next_due() == inf
    assert schedule.pop_due(inf, 9) == []


@pytest.mark.parametrize("due", [inf, -inf, nan])
def test_a_time_that_never_comes_is_refused(due: float) -> None:
    schedule = Wheel[str]()
    with pytest.raises(ValueError, match="cannot be due"):
        schedule.add("a", due)
    assert len(schedule) == 0


def test_moving_an_item_for_ever_takes_no_memory() -> None:
    schedule = Wheel[int]()
    for turn in range(10_000):
        schedule.add(turn % 10, 60 + turn % 60)
    assert len(schedule._heap) == len(schedule._slots) <= 60
    assert sorted(schedule.pop_due(1e6, 99)) == list(range(10))
    assert schedule.next_due() == inf
    assert not schedule._heap
    assert not schedule._slots


@given(st.floats(0, 1e7))
def test_nothing_leaves_before_it_is_due_or_a_tick_after_it(due: float) -> None:
    wheel = Wheel[str]()
    wheel.add("a", due)
    assert due - 1e-6 <= wheel.next_due() <= due + 1 / TICKS + 1e-6
    assert wheel.pop_due(wheel.next_due(), 1) == ["a"]


@settings(deadline=None)  # a loaded machine is no failure
@given(
    st.lists(st.tuples(st.sampled_from("ard"), st.integers(0, 5), st.integers(0, 20)), max_size=80)
)
def test_agrees_with_a_dictionary(steps: list[tuple[str, int, int]]) -> None:
    schedule = Wheel[int]()
    model: dict[int, int] = {}
    for step, item, time in steps:
        match step:
            case "a":
                schedule.add(item, time)
                model[item] = time
            case "r":
                schedule.remove(item)
                model.pop(item, None)
            case _:
                popped = schedule.pop_due(time, 1000)
                assert set(popped) == {each for each, when in model.items() if when <= time}
                left = [model.pop(each) for each in popped]
                assert left == sorted(left)
        assert len(schedule) == len(model)
        assert schedule.next_due() == min(model.values(), default=inf)


@pytest.mark.parametrize(
    ("warmup", "delay_loop", "serving", "span"),
    [
        (0, 60, True, FIRST_SPAN),
        (0, 60, False, FIRST_SPAN),
        (0, 0.5, True, 0.5),
        (20, 60, True, 20),
        (20, 60, False, FIRST_SPAN),  # nobody is served until this probe: no waiting
        (100, 60, True, 60),
    ],
)
def test_first_delays_fill_their_span(
    warmup: float, delay_loop: float, serving: bool, span: float
) -> None:
    spec = replace(SPEC, warmup=warmup, delay_loop=delay_loop)
    delays = [first_delay(spec, name, serving=serving) for name in names(2000)]
    assert 0 <= min(delays) < 0.02 * span
    assert 0.98 * span < max(delays) < span


def test_many_checks_never_make_a_herd() -> None:
    """Over the second cycle, no hundredth of delay_loop has more than thrice its share."""
    starts = [
        first_delay(SPEC, name, serving=True) + first_phase(name) * SPEC.delay_loop
        for name in names(10_000)
    ]
    bins = Counter(int(start % SPEC.delay_loop / SPEC.delay_loop * 100) for start in starts)
    assert len(bins) == 100
    assert max(bins.values()) < 300


def test_fractions_are_stable_and_in_range() -> None:
    assert fraction("") == 0
    assert fraction("a") == 0xE8B7BE43 / 2**32
    assert all(SHORTEST_PHASE <= first_phase(name) < 1 for name in names(500))


@pytest.mark.parametrize(
    ("count", "delay_loop", "span"), [(10, 60, 0.01), (10_000, 5, 5), (10_000, 60, 10)]
)
def test_many_that_begin_together_take_their_time(
    count: int, delay_loop: float, span: float
) -> None:
    assert crowd_span(count, delay_loop) == span
