"""The same again and again: told a few times, then counted."""

import asyncio

import pytest

from lvskeeper.observe import log, repeats
from lvskeeper.observe.events import Event, QuorumLost, RealServerDown, RepeatsSuppressed
from lvskeeper.observe.repeats import MAX_KINDS, TOLD_AT_ONCE, WINDOW, Repeats


def down(server: str = "10.0.0.1:80", took: str = "1 ms") -> Event:
    return RealServerDown("tcp 192.0.2.1:80", server, "TCP_CHECK", 3, "connect", "refused", took)


def test_a_few_times_it_is_told() -> None:
    machine = Repeats()
    told = [machine.admit(down(), float(second)) for second in range(TOLD_AT_ONCE)]
    assert told == [[down()]] * TOLD_AT_ONCE


def test_beyond_it_is_counted_and_the_count_told_when_the_window_is_over() -> None:
    machine = Repeats()
    for number in range(TOLD_AT_ONCE + 7):
        machine.admit(down(took=f"{number} ms"), number * 0.1)
    assert machine.deadline == WINDOW
    assert machine.settle(WINDOW - 0.01) == []
    (summary,) = machine.settle(WINDOW)
    assert isinstance(summary, RepeatsSuppressed)
    assert (summary.of, summary.times) == ("real_server_down", 7)
    assert "10.0.0.1:80" in summary.latest
    assert "11 ms" in summary.latest
    assert machine.admit(down(), WINDOW + 1) == [down()], "a new window begins"


def test_what_differs_in_more_than_measures_is_another_event() -> None:
    machine = Repeats()
    for number in range(100):
        assert machine.admit(down(f"10.0.0.{number}:80"), 0.0) == [down(f"10.0.0.{number}:80")]


def test_a_count_comes_with_the_next_event_too() -> None:
    machine = Repeats()
    for _ in range(TOLD_AT_ONCE + 1):
        machine.admit(down(), 0.0)
    other = QuorumLost("tcp 192.0.2.1:80", 0, 1, "")
    summary, told = machine.admit(other, WINDOW)
    assert isinstance(summary, RepeatsSuppressed)
    assert told == other


def test_nothing_grows_without_bound() -> None:
    machine = Repeats()
    for number in range(MAX_KINDS + 10):
        machine.admit(down(str(number)), 0.0)
    more = down(str(MAX_KINDS + 5))
    assert [machine.admit(more, 0.0) for _ in range(TOLD_AT_ONCE + 2)] == [[more]] * (
        TOLD_AT_ONCE + 2
    ), "what is not remembered is told"
    assert machine.settle(WINDOW) == []


def test_nothing_is_left_untold_at_the_end() -> None:
    machine = Repeats()
    for _ in range(TOLD_AT_ONCE + 3):
        machine.admit(down(), 0.0)
    (summary,) = machine.finish(1.0)
    assert isinstance(summary, RepeatsSuppressed)
    assert summary.times == 3
    assert machine.finish(1.0) == []


@pytest.mark.asyncio
async def test_the_loop_tells_a_count_without_another_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeats, "WINDOW", 0.2)
    told: list[Event] = []
    summarized = asyncio.Event()

    def tell(event: Event) -> None:
        told.append(event)
        if isinstance(event, RepeatsSuppressed):
            summarized.set()

    emit = log.without_repeats(tell)
    for _ in range(TOLD_AT_ONCE + 2):
        emit(down())
    async with asyncio.timeout(10):
        await summarized.wait()
    assert len(told) == TOLD_AT_ONCE + 1
