"""Every transition of an instance, and the illegal ones."""

from typing import Any, get_args

import pytest
from support.vrrp import HIGH, KEY, LOW, OURS, advert, backup, expire, master, spec

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.instance import TRANSITIONS, Instance
from lvskeeper.vrrp.spec import Start
from lvskeeper.vrrp.states import (
    Cause,
    Fault,
    FaultKind,
    IllegalTransitionError,
    Occasion,
    State,
)
from lvskeeper.vrrp.tracking import FAILED, Track, TrackId, TrackKind, judge
from lvskeeper.vrrp.types import InstanceKey

DOWN = Fault(FaultKind.INTERFACE_DOWN)
SCRIPT = TrackId(TrackKind.SCRIPT, "chk")
GOOD = judge(100, (), {})
BAD = judge(100, (Track(SCRIPT),), {SCRIPT: FAILED})
HIGHER, EQUAL, LOWER, RESIGNED = advert(200), advert(100), advert(50), advert(0)


def waiting() -> Instance:
    """An instance that waits in INIT for the first result of a script."""
    vi = Instance(spec(tracks=(Track(SCRIPT),)))
    vi.on(ev.Started(), 100.0)
    return vi


def broken() -> Instance:
    vi = backup(spec())
    vi.on(ev.Faulted(DOWN), 100.0)
    return vi


def in_state(state: State) -> Instance:
    match state:
        case State.INIT:
            return waiting()
        case State.BACKUP:
            return backup(spec())
        case State.MASTER:
            return master(spec())
        case State.FAULT:
            return broken()


def play(vi: Instance, event: ev.Event) -> list[fx.Effect]:
    """Let *event* happen; a timer at its deadline, anything else a second before."""
    if isinstance(event, ev.TimerFired):
        return expire(vi)
    return vi.on(event, max(vi.since, 100.0) + 0.5)


def changed(old: State, new: State, cause: Cause, **values: Any) -> fx.StateChanged:
    return fx.StateChanged(KEY, old, new, cause, values.pop("priority", 100), **values)


def heard(priority: int, source: Address) -> ev.AdvertHeard:
    return ev.AdvertHeard(advert(priority), source)


SEND, RESIGN = fx.SendAdvert(KEY, 100), fx.SendAdvert(KEY, 0)
HOLD, RELEASE = fx.HoldAddresses(KEY), fx.ReleaseAddresses(KEY)
LOWER_PRIO = fx.Announce(KEY, Occasion.LOWER_PRIORITY)
INIT, B, M, F = State.INIT, State.BACKUP, State.MASTER, State.FAULT

CASES: list[tuple[State, ev.Event, State, list[Any]]] = [
    (INIT, ev.Stopped(), INIT, [changed(INIT, INIT, Cause.STOP)]),
    (INIT, heard(200, HIGH), INIT, []),
    (INIT, ev.Faulted(DOWN), F, [fx.FaultsChanged, changed(INIT, F, Cause.START)]),
    (INIT, ev.Healed(DOWN), INIT, []),
    (INIT, ev.Judged(GOOD), B, [changed(INIT, B, Cause.START)]),
    (INIT, ev.Judged(BAD), F, [fx.FaultsChanged, changed(INIT, F, Cause.START)]),
    (INIT, ev.SourceChanged(HIGH), INIT, []),
    (INIT, ev.SourceChanged(NO_ADDRESS), F, [fx.FaultsChanged, changed(INIT, F, Cause.START)]),
    (INIT, ev.AddressesLost(), INIT, []),
    (INIT, ev.AnnouncementDue(Occasion.LINK), INIT, []),
    (INIT, ev.Resumed(), INIT, []),
    (INIT, ev.LoopStalled(3), INIT, []),
    (INIT, ev.Reconfigured(spec(), GOOD), B, [changed(INIT, B, Cause.START)]),
    (B, ev.Stopped(), INIT, [changed(B, INIT, Cause.STOP)]),
    (B, heard(200, HIGH), B, [fx.MasterLearned(KEY, HIGH, 200, NO_ADDRESS)]),
    (B, heard(100, LOW), B, [fx.MasterLearned(KEY, LOW, 100, NO_ADDRESS)]),
    (B, heard(50, HIGH), B, [fx.LowerDiscarded(KEY, HIGH, 50)]),
    (B, heard(0, HIGH), B, [fx.PeerResigned(KEY, HIGH, obeyed=True)]),
    (
        B,
        ev.TimerFired(),
        M,
        [SEND, HOLD, fx.Announce(KEY, Occasion.MASTER), changed(B, M, Cause.SILENCE)],
    ),
    (
        B,
        ev.Faulted(DOWN),
        F,
        [fx.FaultsChanged(KEY, frozenset({DOWN})), changed(B, F, Cause.FAULT)],
    ),
    (B, ev.Healed(DOWN), B, []),
    (B, ev.Judged(GOOD), B, []),
    (B, ev.Judged(BAD), F, [fx.FaultsChanged, changed(B, F, Cause.FAULT)]),
    (B, ev.SourceChanged(NO_ADDRESS), F, [fx.FaultsChanged, changed(B, F, Cause.FAULT)]),
    (B, ev.SourceChanged(HIGH), B, []),
    (B, ev.AddressesLost(), B, []),
    (B, ev.AnnouncementDue(Occasion.LINK), B, []),
    (B, ev.Resumed(), B, []),
    (B, ev.LoopStalled(0.4), B, []),
    (B, ev.Reconfigured(spec(), GOOD), B, []),
    (M, ev.Stopped(), INIT, [RESIGN, RELEASE, changed(M, INIT, Cause.STOP)]),
    (
        M,
        heard(200, LOW),
        B,
        [RELEASE, changed(M, B, Cause.HIGHER_PRIORITY, peer=LOW, peer_priority=200)],
    ),
    (
        M,
        heard(100, HIGH),
        B,
        [RELEASE, changed(M, B, Cause.HIGHER_ADDRESS, peer=HIGH, peer_priority=100)],
    ),
    (M, heard(100, LOW), M, [fx.ContentionBegan, fx.LowerHeard(KEY, LOW, 100), SEND, LOWER_PRIO]),
    (M, heard(50, HIGH), M, [fx.ContentionBegan, fx.LowerHeard(KEY, HIGH, 50), SEND, LOWER_PRIO]),
    (M, heard(100, OURS), M, [fx.OwnAddressHeard(KEY)]),
    (M, heard(0, HIGH), M, [fx.PeerResigned(KEY, HIGH, obeyed=False), SEND]),
    (M, ev.TimerFired(), M, [SEND]),
    (M, ev.Faulted(DOWN), F, [fx.FaultsChanged, RESIGN, RELEASE, changed(M, F, Cause.FAULT)]),
    (M, ev.Healed(DOWN), M, []),
    (M, ev.Judged(GOOD), M, []),
    (M, ev.Judged(BAD), F, [fx.FaultsChanged, RESIGN, RELEASE, changed(M, F, Cause.FAULT)]),
    (M, ev.SourceChanged(HIGH), M, []),
    (
        M,
        ev.SourceChanged(NO_ADDRESS),
        F,
        [fx.FaultsChanged, RESIGN, RELEASE, changed(M, F, Cause.FAULT)],
    ),
    (M, ev.AddressesLost(), M, [HOLD, fx.Announce(KEY, Occasion.RESTORED)]),
    (M, ev.AnnouncementDue(Occasion.LINK), M, [fx.Announce(KEY, Occasion.LINK)]),
    (M, ev.Resumed(), B, [RELEASE, changed(M, B, Cause.RESUMED)]),
    (M, ev.StandBack(), B, [RELEASE, changed(M, B, Cause.GROUP)]),
    (M, ev.LoopStalled(3), M, []),
    (M, ev.Reconfigured(spec(), GOOD), M, []),
    (F, ev.Stopped(), INIT, [changed(F, INIT, Cause.STOP)]),
    (F, heard(200, HIGH), F, []),
    (F, ev.Faulted(Fault(FaultKind.DIRECTOR)), F, [fx.FaultsChanged]),
    (F, ev.Healed(DOWN), B, [fx.FaultsChanged(KEY, frozenset()), changed(F, B, Cause.HEALED)]),
    (F, ev.Healed(Fault(FaultKind.DIRECTOR)), F, []),
    (F, ev.Judged(BAD), F, [fx.FaultsChanged]),
    (F, ev.SourceChanged(NO_ADDRESS), F, [fx.FaultsChanged]),
    (F, ev.AddressesLost(), F, []),
    (F, ev.AnnouncementDue(Occasion.LINK), F, []),
    (F, ev.Resumed(), F, []),
    (F, ev.LoopStalled(3), F, []),
    (F, ev.Reconfigured(spec(), GOOD), F, []),
]


@pytest.mark.parametrize(
    ("state", "event", "to", "effects"),
    CASES,
    ids=[f"{s.value}-{type(e).__name__}-{i}" for i, (s, e, _, _) in enumerate(CASES)],
)
def test_transition(state: State, event: ev.Event, to: State, effects: list[Any]) -> None:
    vi = in_state(state)
    told = play(vi, event)
    assert vi.state is to
    assert to in TRANSITIONS[state, type(event)].to
    assert [type(e) if x is type(e) else e for e, x in zip(told, effects, strict=True)] == effects
    assert (vi.deadline() < float("inf")) == (to in {B, M})


def test_the_cases_cover_the_table() -> None:
    apart = {(INIT, ev.Started), (B, ev.TakeOver)}
    assert {(state, type(event)) for state, event, _, _ in CASES} | apart == set(TRANSITIONS)


ILLEGAL = [
    (state, kind)
    for state in State
    for kind in get_args(ev.Event)
    if (state, kind) not in TRANSITIONS
]


def test_what_is_illegal() -> None:
    assert {(state.value, kind.__name__) for state, kind in ILLEGAL} == {
        ("INIT", "TimerFired"), ("INIT", "TakeOver"), ("INIT", "StandBack"),
        ("BACKUP", "Started"), ("BACKUP", "StandBack"),
        ("MASTER", "Started"), ("MASTER", "TakeOver"),
        ("FAULT", "Started"), ("FAULT", "TimerFired"), ("FAULT", "TakeOver"),
        ("FAULT", "StandBack"),
    }  # fmt: skip


def snapshot(vi: Instance) -> tuple[object, ...]:
    return tuple(repr(getattr(vi._record, name)) for name in vi._record.__slots__)


@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
def test_an_illegal_event_raises_and_changes_nothing(state: State, kind: Any) -> None:
    vi = in_state(state)
    before = snapshot(vi)
    with pytest.raises(IllegalTransitionError, match=f"{kind.__name__} in state {state.value}"):
        vi.on(kind(), 1000.0)
    assert snapshot(vi) == before


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (ev.Started(), "started already"),
        (ev.Reconfigured(spec(version=2), GOOD), "cannot become"),
        (ev.Reconfigured(spec(key=InstanceKey("eth0", 4, 52)), GOOD), "vrid 52"),
    ],
)
def test_what_the_table_cannot_know_is_refused_too(event: ev.Event, why: str) -> None:
    vi = waiting()
    before = snapshot(vi)
    with pytest.raises(IllegalTransitionError, match=why):
        vi.on(event, 1000.0)
    assert snapshot(vi) == before


def test_an_instance_with_a_master_does_not_take_over_for_its_group() -> None:
    with pytest.raises(IllegalTransitionError, match="has a master"):
        backup(spec()).on(ev.TakeOver(), 101.0)


def test_time_does_not_go_back() -> None:
    vi = backup(spec())
    with pytest.raises(IllegalTransitionError, match=r"time went back by 0\.5 s"):
        vi.on(ev.Resumed(), 99.5)


def test_no_source_address_is_a_fault_that_heals() -> None:
    vi = Instance(spec(source=NO_ADDRESS))
    vi.on(ev.Started(), 100.0)
    assert vi.state is F
    assert [str(fault) for fault in vi.faults] == ["no source address"]
    vi.on(ev.SourceChanged(OURS), 101.0)
    assert vi.state is B


def test_fault_goes_when_the_last_reason_goes() -> None:
    vi = broken()
    vi.on(ev.Faulted(Fault(FaultKind.DIRECTOR)), 101.0)
    vi.on(ev.Healed(DOWN), 102.0)
    assert vi.state is F
    vi.on(ev.Healed(Fault(FaultKind.DIRECTOR)), 103.0)
    assert vi.state is B
    assert vi.deadline() == pytest.approx(106.609375)


def test_an_owner_that_heals_is_master_without_delay() -> None:
    vi = backup(spec(priority=255, start=Start.MASTER))
    vi.on(ev.Faulted(DOWN), 100.0)
    vi.on(ev.Healed(DOWN), 101.0)
    assert vi.deadline() == 101.0


def test_a_stopped_instance_starts_again() -> None:
    vi = master(spec())
    vi.on(ev.Stopped(), 200.0)
    vi.on(ev.Started(), 201.0)
    assert vi.state is B
