"""The ring of what was told: bounded, read by number, and a reader learns what it has missed."""

import msgspec
import pytest

from lvskeeper.observe.diary import MAX_READ, Diary, ToldEvent


def filled(count: int, limit: int = 10) -> Diary:
    diary = Diary(limit)
    for number in range(count):
        event = ToldEvent(1e9 + number, float(number), "info", f"e{number}", msgspec.Raw(b"{}"))
        diary.note("router", event)
    return diary


@pytest.mark.parametrize(
    ("count", "after", "numbers", "missed"),
    [
        (0, 0, [], 0),
        (3, 0, [1, 2, 3], 0),
        (3, 2, [3], 0),
        (3, 3, [], 0),
        (3, 99, [], 0),
        (15, 0, list(range(6, 16)), 5),
        (15, 5, list(range(6, 16)), 0),
        (15, 13, [14, 15], 0),
    ],
)
def test_what_came_after_a_number(count: int, after: int, numbers: list[int], missed: int) -> None:
    entries, lost = filled(count).after(after)
    assert ([entry.number for entry in entries], lost) == (numbers, missed)


def test_one_answer_is_bounded_and_the_next_goes_on_from_there() -> None:
    diary = filled(3 * MAX_READ, 3 * MAX_READ)
    first, _ = diary.after(0)
    second, missed = diary.after(first[-1].number)
    assert len(first) == MAX_READ
    assert (second[0].number, missed) == (MAX_READ + 1, 0)


def test_the_newest() -> None:
    assert [entry.event for entry in filled(15).newest(3)] == ["e12", "e13", "e14"]
    assert len(filled(15).newest(1000)) == 10
    assert filled(15).newest(0) == ()
