"""Effective priority as a sum, faults of tracked things, and the machines behind them."""

from math import inf

import pytest

from lvskeeper.vrrp.states import Fault, FaultKind, IllegalTransitionError
from lvskeeper.vrrp.trackers import (
    LinkTracker,
    ProcessSpec,
    ProcessTracker,
    ScriptAction,
    ScriptSpec,
    ScriptTracker,
    file_status,
)
from lvskeeper.vrrp.tracking import (
    FAILED,
    UNKNOWN,
    WELL,
    Status,
    Track,
    TrackId,
    TrackKind,
    in_group,
    judge,
)

SCRIPT = TrackId(TrackKind.SCRIPT, "chk")
LINK = TrackId(TrackKind.INTERFACE, "eth1")
FILE = TrackId(TrackKind.FILE, "load")


@pytest.mark.parametrize(
    ("weight", "reverse", "status", "priority", "faults"),
    [
        (0, False, WELL, 100, 0),
        (0, False, FAILED, 100, 1),
        (0, True, WELL, 100, 1),
        (0, True, FAILED, 100, 0),
        (20, False, WELL, 120, 0),
        (20, False, FAILED, 100, 0),
        (20, True, WELL, 100, 0),
        (20, True, FAILED, 120, 0),
        (-20, False, WELL, 100, 0),
        (-20, False, FAILED, 80, 0),
        (-20, True, WELL, 80, 0),
        (-20, True, FAILED, 100, 0),
        (20, False, UNKNOWN, 100, 0),
        (-20, False, UNKNOWN, 100, 0),
        (253, False, WELL, 254, 0),
        (-253, False, FAILED, 1, 0),
    ],
)
def test_a_weight(weight: int, reverse: bool, status: Status, priority: int, faults: int) -> None:
    verdict = judge(100, [Track(SCRIPT, weight, reverse)], {SCRIPT: status})
    assert verdict.priority.total == priority
    assert len(verdict.faults) == faults
    assert not verdict.pending


@pytest.mark.parametrize(
    ("weight", "value", "priority", "faults"),
    [
        (1, 10, 110, 0),
        (-1, 10, 90, 0),
        (2, -5, 90, 0),
        (10, 100, 254, 0),
        (1, -253, 1, 0),
        (1, -254, 100, 1),
        (-127, 2, 100, 1),
        (0, 0, 100, 0),
        (0, 3, 100, 1),
    ],
)
def test_a_file(weight: int, value: int, priority: int, faults: int) -> None:
    verdict = judge(100, [Track(FILE, weight)], {FILE: Status(well=True, value=value)})
    assert (verdict.priority.total, len(verdict.faults)) == (priority, faults)


def test_a_result_that_is_missing_and_could_be_a_fault_is_waited_for() -> None:
    verdict = judge(100, [Track(SCRIPT), Track(LINK, 5)], {})
    assert verdict.pending == {SCRIPT}
    assert not verdict.faults


def test_an_owner_takes_no_weights_but_has_faults() -> None:
    tracks = [Track(SCRIPT, -50), Track(LINK)]
    verdict = judge(255, tracks, {SCRIPT: FAILED, LINK: FAILED})
    assert verdict.priority.total == 255
    assert verdict.faults == {Fault(FaultKind.TRACKED_INTERFACE, "eth1")}


def test_the_sum_shows_its_terms() -> None:
    tracks = [Track(SCRIPT, 20), Track(LINK, -150)]
    up = judge(100, tracks, {SCRIPT: WELL, LINK: WELL})
    down = judge(100, tracks, {SCRIPT: WELL, LINK: FAILED})
    assert str(judge(100, (), {}).priority) == "100"
    assert str(up.priority) == "100 + 20 (script chk) = 120"
    assert str(down.priority) == (
        "100 + 20 (script chk) - 150 (interface eth1) = -30, bounded to 1"
    )


def test_a_group_makes_weights_faults_unless_they_are_allowed() -> None:
    own, shared = Track(SCRIPT, 20), Track(LINK, -5)
    assert in_group([own], [shared], weights=False) == (Track(SCRIPT), Track(LINK))
    assert in_group([own], [shared], weights=True) == (own, shared)


def outcomes(tracker: ScriptTracker, results: str) -> str:
    """Run once a letter, ``+`` or ``-``; return the status after each: ``u``, ``d``."""
    told = ""
    for letter in results:
        assert tracker.on_timer(tracker.deadline()) == [ScriptAction.RUN]
        tracker.on_exit(well=letter == "+")
        told += "u" if tracker.status.well else "d"
    return told


@pytest.mark.parametrize(
    ("rise", "fall", "results", "told"),
    [
        (1, 1, "+-+", "udu"),
        (3, 3, "+--+---", "uuuuuud"),
        (3, 3, "-++-+++", "ddddddu"),
        (2, 1, "-+++-", "dduud"),
    ],
)
def test_rise_and_fall(rise: int, fall: int, results: str, told: str) -> None:
    assert outcomes(ScriptTracker(ScriptSpec(rise=rise, fall=fall), 0.0), results) == told


def test_init_fail_needs_a_rise() -> None:
    tracker = ScriptTracker(ScriptSpec(rise=2, init_fail=True), 0.0)
    assert tracker.status == FAILED
    assert outcomes(tracker, "++") == "du"


def test_a_script_over_its_time_fails_and_is_killed() -> None:
    tracker = ScriptTracker(ScriptSpec(interval=10, timeout=3), 100.0)
    assert tracker.status == UNKNOWN
    assert tracker.on_timer(100.0) == [ScriptAction.RUN]
    assert tracker.deadline() == 103.0
    assert tracker.on_timer(103.0) == [ScriptAction.TERMINATE]
    assert tracker.status == FAILED
    assert tracker.on_timer(105.0) == [ScriptAction.KILL]
    assert tracker.on_timer(110.0) == [ScriptAction.SKIP]
    tracker.on_exit(well=True)
    assert tracker.status == FAILED
    assert not tracker.running
    assert tracker.on_timer(120.0) == [ScriptAction.RUN]


def test_a_script_gets_the_time_in_which_we_stood_still_but_once() -> None:
    tracker = ScriptTracker(ScriptSpec(interval=60, timeout=3), 100.0)
    tracker.on_timer(100.0)
    assert tracker.on_timer(105.0) == []
    assert tracker.deadline() == 107.0
    assert tracker.on_timer(109.0) == [ScriptAction.TERMINATE]
    tracker.on_exit(well=True)
    assert tracker.on_timer(160.0) == [ScriptAction.RUN]
    assert tracker.on_timer(200.0) == []
    assert tracker.deadline() == 203.0


def test_a_script_that_obeys_sigterm_with_success_has_failed_all_the_same() -> None:
    tracker = ScriptTracker(ScriptSpec(), 100.0)
    tracker.on_timer(100.0)
    assert tracker.on_timer(101.0) == [ScriptAction.TERMINATE, ScriptAction.SKIP]
    tracker.on_exit(well=True)
    assert tracker.status == FAILED


def test_a_result_without_a_run_is_a_bug() -> None:
    with pytest.raises(IllegalTransitionError):
        ScriptTracker(ScriptSpec(), 0.0).on_exit(well=True)


def test_a_link_that_flaps_waits_longer_each_time() -> None:
    link = LinkTracker(up=True)
    now, waits = 1000.0, []
    for _ in range(9):
        link.on_link(now, up=False)
        assert link.status == FAILED
        assert link.deadline() == inf
        link.on_link(now + 1, up=True)
        waits.append(0.0 if link.status == WELL else link.deadline() - now - 1)
        now += 5
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert link.flaps == 8
    link.on_timer(link.deadline())
    assert link.status == WELL
    link.on_link(now + 200, up=False)
    link.on_link(now + 201, up=True)
    assert link.status == WELL


def test_a_hold_that_is_configured_counts_for_every_link() -> None:
    link = LinkTracker(up=False, hold=3.0)
    link.on_link(10.0, up=True)
    link.on_timer(12.9)
    assert link.status == FAILED
    link.on_timer(13.0)
    assert link.status == WELL
    assert link.deadline() == inf


@pytest.mark.parametrize(("count", "status"), [(0, FAILED), (1, FAILED), (2, WELL), (4, FAILED)])
def test_a_quorum_of_processes(count: int, status: Status) -> None:
    assert ProcessTracker(ProcessSpec(quorum=2, quorum_max=3), count).status == status


def test_process_delays() -> None:
    tracker = ProcessTracker(ProcessSpec(up_delay=2, down_delay=5), 1)
    tracker.on_count(0, 10.0)
    assert (tracker.status, tracker.deadline()) == (WELL, 15.0)
    tracker.on_count(1, 12.0)
    assert tracker.deadline() == inf
    tracker.on_count(0, 13.0)
    tracker.on_timer(18.0)
    assert tracker.status == FAILED
    tracker.on_count(1, 20.0)
    tracker.on_timer(22.0)
    assert tracker.status == WELL


@pytest.mark.parametrize(
    ("content", "value"), [("", 0), ("5\n", 5), ("-3 rest", -3), ("x", 0), (" \n", 0)]
)
def test_file_content(content: str, value: int) -> None:
    assert file_status(content) == Status(well=True, value=value)
