"""What is told of packets that were held after a take-over."""

from typing import TYPE_CHECKING

from lvskeeper.daemon.hold_log import Held, HoldLog
from lvskeeper.observe.fullnat_events import StateSyncHoldEnded

if TYPE_CHECKING:
    from lvskeeper.observe.events import Event


class Stage:
    def __init__(self, held: Held | None) -> None:
        self.held = held
        self.told: list[Event] = []
        self.log = HoldLog(self.told.append, lambda: self.held)

    def counted(self) -> list[Held]:
        """Return the packets of servers and clients that were told."""
        return [
            (event.servers, event.clients)
            for event in self.told
            if isinstance(event, StateSyncHoldEnded)
        ]


def test_what_grew_is_told_once_when_the_time_is_over() -> None:
    stage = Stage((5, 7))
    stage.log.look(0.0)
    stage.held = (6, 7)  # before the router's message is there
    assert stage.log.begin(3.0, 1.0) == "3.0 s"
    stage.held = (9, 8)
    stage.log.look(3.9)
    assert stage.counted() == []
    stage.log.look(4.0)
    stage.log.look(5.0)
    assert stage.counted() == [(4, 1)]


def test_each_hold_is_counted_by_itself() -> None:
    stage = Stage((0, 0))
    for number in (1, 2):
        stage.log.begin(1.0, 10.0 * number)
        stage.held = (2 * number, 0)
        stage.log.look(10.0 * number + 1)
    assert stage.counted() == [(2, 0), (2, 0)]


def test_a_second_take_over_makes_the_hold_longer() -> None:
    stage = Stage((0, 0))
    stage.log.begin(3.0, 0.0)
    stage.log.begin(3.0, 2.0)
    stage.log.look(3.0)
    assert stage.counted() == []
    stage.log.look(5.0)
    assert stage.counted() == [(0, 0)]


def test_a_table_that_was_replaced_counts_anew() -> None:
    stage = Stage((5, 7))
    stage.log.look(0.0)
    stage.log.begin(3.0, 0.0)
    stage.held = (1, 9)
    stage.log.look(3.0)
    assert stage.counted() == [(1, 2)]


def test_without_a_table_or_a_time_there_is_no_hold() -> None:
    stage = Stage(None)
    assert stage.log.begin(3.0, 0.0) == "off"
    stage.log.look(9.0)
    stage.held = (0, 0)
    assert stage.log.begin(0.0, 10.0) == "off"
    stage.log.look(19.0)
    assert stage.counted() == []
