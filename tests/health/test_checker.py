"""keepalived's checker rules as tables, with time as plain numbers."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvskeeper.health.checker import (
    CheckBroken,
    CheckDown,
    CheckEffect,
    Checker,
    CheckFailed,
    CheckHeld,
    CheckSilent,
    CheckUp,
    IllegalTransitionError,
    State,
)
from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult
from lvskeeper.units import parse_address

SPEC = CheckSpec(
    CheckKind.TCP, parse_address("192.0.2.1"), 80, delay_loop=10, retry=2, delay_before_retry=3
)
OK = ProbeResult(Phase.DONE)
BAD = ProbeResult(Phase.CONNECT, "connection refused")
BROKEN = ProbeResult(Phase.INTERNAL, "too many open files")
RESULTS = {"+": OK, "-": BAD, "!": BROKEN}


def short(effect: CheckEffect) -> str:
    match effect:
        case CheckUp():
            return "up"
        case CheckDown(attempts=attempts):
            return f"down after {attempts}"
        case CheckFailed(attempt=attempt, attempts=attempts):
            return f"{attempt} of {attempts}"
        case CheckBroken():
            return "broken"
        case CheckHeld(seconds=seconds):
            return f"held for {seconds:g}"


def play(checker: Checker, results: str) -> list[str]:
    """Let each probe start when due and answer at once; return the effects, "." for none."""
    told = []
    for letter in results:
        now = checker.due
        checker.on_start(now)
        told.append(", ".join(short(e) for e in checker.on_result(RESULTS[letter], now)) or ".")
    return told


@pytest.mark.parametrize(
    ("alpha", "prior", "retry", "results", "told"),
    [
        # not alpha: serves from the start, and the first failure has no retries
        (False, None, 2, "++", [".", "."]),
        (False, None, 2, "-", ["down after 1"]),
        (False, None, 2, "+---", [".", "1 of 3", "2 of 3", "down after 3"]),
        (False, None, 2, "+--+---", [".", "1 of 3", "2 of 3", ".", "1 of 3", "2 of 3",
                                     "down after 3"]),
        (False, None, 0, "+-", [".", "down after 1"]),
        # down: silent failures, one success brings it back, then retries as before
        (False, None, 2, "---+-", ["down after 1", ".", ".", "up", "1 of 3"]),
        # alpha: the first failure tells why it is not let in
        (True, None, 2, "--+", ["1 of 1", ".", "up"]),
        (True, None, 2, "+-+", ["up", "1 of 3", "."]),
        # a prior holds until a result decides
        (False, True, 2, "---", ["1 of 3", "2 of 3", "down after 3"]),
        (True, True, 2, "-+-", ["1 of 3", ".", "1 of 3"]),
        (False, False, 2, "-+", ["1 of 1", "up"]),
        # the director's own trouble judges nobody
        (False, None, 2, "!-", ["broken", "down after 1"]),
        (False, None, 2, "+-!-!-", [".", "1 of 3", "broken", "2 of 3", "broken", "down after 3"]),
        # the same trouble is told once
        (True, None, 2, "!!+!", ["broken", ".", "up", "broken"]),
    ],
)  # fmt: skip
def test_effects(
    alpha: bool, prior: bool | None, retry: int, results: str, told: list[str]
) -> None:
    checker = Checker(replace(SPEC, alpha=alpha, retry=retry), 0, prior=prior)
    assert play(checker, results) == told


@pytest.mark.parametrize(
    ("alpha", "prior", "up"),
    [
        (False, None, True), (True, None, False),
        (False, True, True), (True, True, True), (False, False, False), (True, False, False),
    ],
)  # fmt: skip
def test_unknown_is_policy_or_prior(alpha: bool, prior: bool | None, up: bool) -> None:
    checker = Checker(replace(SPEC, alpha=alpha), 0, prior=prior)
    assert (checker.state, checker.up, checker.last) == (State.UNKNOWN, up, None)


@pytest.mark.parametrize(
    ("before", "result", "took", "wait"),
    [
        ("", OK, 0, 10),
        ("", OK, 4, 10),  # from start to start
        ("", OK, 12, 12),  # a probe longer than delay_loop: at once
        ("+", BAD, 2, 5),  # delay_before_retry counts from the failure
        ("+--", BAD, 2, 10),  # down: back to delay_loop
        ("-", BAD, 2, 10),
        ("-", OK, 2, 10),
        ("+", BROKEN, 2, 5),
    ],
)
def test_due_after(before: str, result: ProbeResult, took: float, wait: float) -> None:
    checker = Checker(SPEC, 100)
    play(checker, before)
    start = checker.due
    checker.on_start(start)
    assert checker.due == inf
    checker.on_result(result, start + took)
    assert checker.due == start + wait


def test_a_director_that_cannot_probe_pauses_whatever_the_retry_says() -> None:
    checker = Checker(replace(SPEC, delay_before_retry=0), 100)
    checker.on_start(100)
    checker.on_result(BROKEN, 100)
    assert checker.due == 101


def test_phase_shortens_the_first_cycle_only() -> None:
    checker = Checker(SPEC, 0, phase=0.25)
    play(checker, "+")
    assert checker.due == 2.5
    play(checker, "+")
    assert checker.due == 12.5


def test_a_late_start_does_not_make_up_for_lost_time() -> None:
    checker = Checker(SPEC, 0)
    checker.on_start(35)
    checker.on_result(OK, 35)
    assert checker.due == 45


@pytest.mark.parametrize(
    ("results", "told"),
    [
        # 2 downs within 100 s: well for 100 s, from the first good answer on
        ("+---+---" + "+" * 12, ["down after 3", "up", "down after 3", "held for 100", "up"]),
        # a failure meanwhile begins it anew
        ("+---+---++-" + "+" * 12,
         ["down after 3", "up", "down after 3", "held for 100", "held for 100", "up"]),
        # far enough apart they are no flapping
        ("+---" + "+" * 12 + "---+", ["down after 3", "up", "down after 3", "up"]),
    ],
)  # fmt: skip
def test_a_check_that_flaps_is_held_down_until_it_is_well(results: str, told: list[str]) -> None:
    checker = Checker(replace(SPEC, damping=(2, 100.0)), 0)
    effects = [each for each in play(checker, results) if " of " not in each and each != "."]
    assert effects == told
    assert checker.state is State.UP


def test_silence_is_no_time_in_which_a_check_that_flaps_is_well() -> None:
    checker = Checker(replace(SPEC, retry=0, damping=(2, 100.0)), 0)
    assert play(checker, "+-+-+") == [".", "down after 1", "up", "down after 1", "held for 100"]
    assert checker.on_silence(checker.due + 200)
    checker.on_start(500)
    assert [short(effect) for effect in checker.on_result(OK, 500)] == ["held for 100"]


def test_a_check_that_finds_out_nothing_for_three_intervals_is_unknown_once() -> None:
    checker = Checker(SPEC, 0)
    play(checker, "+-")  # at 0 and 10
    assert checker.on_silence(40) == []
    assert checker.on_silence(41) == [CheckSilent(31)]
    assert checker.on_silence(99) == []
    assert (checker.state, checker.up) == (State.UNKNOWN, True)
    # Then it is as after a start that adopts: what was holds, and a failure has its retries.
    assert play(checker, "--+") == ["2 of 3", "down after 3", "up"]
    assert checker.on_silence(checker.due + 20) == []
    assert checker.on_silence(checker.due + 21) == [CheckSilent(31)]


def test_what_the_director_cannot_probe_is_unknown_in_the_end() -> None:
    checker = Checker(SPEC, 0)
    play(checker, "+---")
    assert checker.state is State.DOWN
    told = []
    for _ in range(20):
        play(checker, "!")
        told += checker.on_silence(checker.due)
    assert len(told) == 1
    assert (checker.state, checker.up) == (State.UNKNOWN, False)
    assert play(checker, "+") == ["up"]


def test_a_check_that_never_ran_is_told_of() -> None:
    checker = Checker(SPEC, 5)
    assert checker.on_silence(35) == []
    assert checker.on_silence(36) == [CheckSilent(31)]


def test_a_long_probe_is_no_silence() -> None:
    checker = Checker(replace(SPEC, connect_timeout=60), 0)
    assert checker.on_silence(180) == []
    assert checker.on_silence(181) == [CheckSilent(181)]


def test_to_wait_before_a_retry_is_no_silence() -> None:
    checker = Checker(replace(SPEC, delay_before_retry=40), 0)
    play(checker, "+-")  # at 0 and 10
    assert checker.due == 50
    assert checker.on_silence(50) == []
    assert play(checker, "--") == ["2 of 3", "down after 3"]


def test_a_check_that_is_to_ask_more_often_was_not_silent_before() -> None:
    checker = Checker(replace(SPEC, delay_loop=60), 0)
    play(checker, "+")
    often = checker.with_spec(SPEC, 50)
    assert often.on_silence(55) == []
    assert often.on_silence(181) != []
    play(often, "+")
    assert often.on_silence(often.due + 21) != []


def test_the_first_probe_waits_its_turn_among_many() -> None:
    checker = Checker(SPEC, 1, phase=0.25)
    checker.defer(5, whole=True)
    play(checker, "+")
    assert checker.due == 15
    with pytest.raises(IllegalTransitionError, match="has started already"):
        checker.defer(20, whole=True)
    checker = Checker(SPEC, 1, phase=0.25)
    checker.defer(0.5, whole=False)
    assert checker.due == 1
    play(checker, "+")
    assert checker.due == 3.5


def test_illegal_inputs_change_nothing() -> None:
    checker = Checker(SPEC, 5)
    with pytest.raises(IllegalTransitionError, match="no probe is running"):
        checker.on_result(BAD, 6)
    assert (checker.state, checker.due, checker.last) == (State.UNKNOWN, 5, None)
    checker.on_start(6)
    with pytest.raises(IllegalTransitionError, match="is running already"):
        checker.on_start(7)
    with pytest.raises(IllegalTransitionError, match="before its probe's start"):
        checker.on_result(BAD, 5)
    assert checker.in_flight
    assert checker.up
    checker.on_result(OK, 6)
    assert checker.due == 16
    assert checker.last == OK


@pytest.mark.parametrize(
    ("delay_loop", "now", "due"), [(4, 0, 4), (4, 5, 7), (4, 11, 10), (10, 5, 10), (60, 5, 10)]
)
def test_with_spec_takes_the_new_times(delay_loop: float, now: float, due: float) -> None:
    old = Checker(SPEC, 0)
    play(old, "+")
    new = old.with_spec(replace(SPEC, delay_loop=delay_loop), now)
    assert (new.state, new.due, new.spec.delay_loop) == (State.UP, due, delay_loop)
    assert (old.due, old.spec) == (10, SPEC)


def test_with_spec_lets_no_retry_wait_longer_than_it_is_to_now() -> None:
    old = Checker(replace(SPEC, delay_before_retry=600), 0)
    play(old, "+-")  # at 0 and 10
    assert old.with_spec(replace(SPEC, delay_before_retry=600, delay_loop=2), 11).due == 610
    assert old.with_spec(SPEC, 11).due == 13


def test_with_spec_keeps_a_probe_in_flight_and_the_failures() -> None:
    old = Checker(SPEC, 0)
    play(old, "+-")
    old.on_start(13)
    new = old.with_spec(replace(SPEC, retry=1), 13)
    assert new.in_flight
    assert new.failed == 1
    assert new.on_result(BAD, 14) == [CheckDown(BAD, 2)]
    assert old.in_flight


def test_with_spec_refuses_another_target() -> None:
    with pytest.raises(IllegalTransitionError, match="does not continue"):
        Checker(SPEC, 0).with_spec(replace(SPEC, port=81), 0)


@settings(deadline=None)  # a loaded machine is no failure
@given(
    alpha=st.booleans(),
    prior=st.none() | st.booleans(),
    retry=st.integers(0, 3),
    results=st.lists(st.sampled_from((OK, BAD, BROKEN))),
)
def test_effects_alternate_and_agree_with_the_state(
    alpha: bool, prior: bool | None, retry: int, results: list[ProbeResult]
) -> None:
    checker = Checker(replace(SPEC, alpha=alpha, retry=retry), 0, prior=prior)
    up = checker.up
    for result in results:
        now = checker.due
        checker.on_start(now)
        effects = checker.on_result(result, now + 1)
        assert len(effects) <= 1
        for effect in effects:
            if isinstance(effect, CheckUp | CheckDown):
                assert isinstance(effect, CheckUp) is not up
                up = not up
            if isinstance(effect, CheckDown):
                assert 1 <= effect.attempts <= 1 + retry
        assert checker.up is up
        assert now < checker.due < inf
        assert checker.failed <= retry
