"""Sync groups and the router around them."""

from math import inf

import pytest
from support.vrrp import HIGH, KEY, LOW, advert, spec

from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.spec import GroupSpec
from lvskeeper.vrrp.states import Cause, Fault, FaultKind, Occasion, State
from lvskeeper.vrrp.tracking import FAILED, UNKNOWN, WELL, Track, TrackId, TrackKind
from lvskeeper.vrrp.types import InstanceKey

OTHER = InstanceKey("eth1", 4, 52)
ALONE = InstanceKey("eth2", 4, 53)
LINK = TrackId(TrackKind.INTERFACE, "eth9")
SCRIPT = TrackId(TrackKind.SCRIPT, "chk")
DOWN = Fault(FaultKind.INTERFACE_DOWN)


def router(*, tracks: tuple[Track, ...] = (), weights: bool = False) -> Router:
    made = Router(
        [spec(), spec(key=OTHER), spec(key=ALONE, tracks=(Track(SCRIPT, -30),))],
        [GroupSpec("G", (KEY, OTHER), tracks, tracking_weight=weights)],
    )
    made.start(100.0)
    return made


def run(made: Router, until: float) -> list[fx.Effect]:
    told: list[fx.Effect] = []
    while made.deadline() <= until:
        told += made.on_timer(made.deadline())
    return told


def states(made: Router) -> list[str]:
    return [made.instances[key].state.value for key in (KEY, OTHER)]


def test_all_members_are_master_when_all_want_it() -> None:
    made = router()
    made.on_advert(OTHER, advert(200), HIGH, 102.0)
    run(made, 104.0)
    assert made.instances[KEY].wants
    assert states(made) == ["BACKUP", "BACKUP"]
    told = run(made, 106.0)
    assert states(made) == ["MASTER", "MASTER"]
    changes = [e for e in told if isinstance(e, fx.StateChanged) and e.key != ALONE]
    assert [e.cause for e in changes] == [Cause.SILENCE, Cause.SILENCE]
    assert fx.GroupChanged("G", State.BACKUP, State.MASTER) in told


def test_members_that_take_over_together_tell_of_a_resignation() -> None:
    made = router()
    for key in (KEY, OTHER):
        made.on_advert(key, advert(200), HIGH, 102.0)
        made.on_advert(key, advert(0), HIGH, 102.5)
    told = run(made, 104.0)
    assert states(made) == ["MASTER", "MASTER"]
    changes = [e for e in told if isinstance(e, fx.StateChanged) and e.key != ALONE]
    assert [e.cause for e in changes] == [Cause.PRIORITY_ZERO, Cause.PRIORITY_ZERO]


def test_a_master_heard_while_others_are_awaited_is_followed() -> None:
    made = router()
    made.on_advert(OTHER, advert(200), HIGH, 102.0)
    run(made, 104.0)
    made.on_advert(KEY, advert(200), HIGH, 105.0)
    run(made, 106.0)
    assert states(made) == ["BACKUP", "BACKUP"]
    assert not made.instances[KEY].wants


def test_one_that_yields_takes_the_others_along_without_a_resignation() -> None:
    made = router()
    run(made, 104.0)
    told = made.on_advert(KEY, advert(200), HIGH, 104.5)
    assert states(made) == ["BACKUP", "BACKUP"]
    assert not any(isinstance(e, fx.SendAdvert) for e in told)
    assert [e.key for e in told if isinstance(e, fx.ReleaseAddresses)] == [KEY, OTHER]


def test_a_fault_of_one_is_a_fault_of_all_until_it_heals() -> None:
    made = router()
    run(made, 104.0)
    told = made.on(KEY, ev.Faulted(DOWN), 104.5)
    assert states(made) == ["FAULT", "FAULT"]
    assert fx.SendAdvert(OTHER, 0) in told
    assert [str(f) for f in made.instances[OTHER].faults] == ["member of sync group in fault (G)"]
    made.on(KEY, ev.Healed(DOWN), 105.0)
    assert states(made) == ["BACKUP", "BACKUP"]
    assert made.groups["G"].state is State.BACKUP


def test_two_faults_heal_only_together() -> None:
    made = router()
    made.on(KEY, ev.Faulted(DOWN), 100.5)
    made.on(OTHER, ev.Faulted(DOWN), 100.6)
    made.on(KEY, ev.Healed(DOWN), 101.0)
    assert states(made) == ["FAULT", "FAULT"]
    made.on(OTHER, ev.Healed(DOWN), 102.0)
    assert states(made) == ["BACKUP", "BACKUP"]


def test_a_defence_announces_the_other_members_too() -> None:
    made = router()
    run(made, 104.0)
    told = made.on_advert(KEY, advert(50), LOW, 104.5)
    assert fx.Announce(OTHER, Occasion.LOWER_PRIORITY) in told


def test_a_clean_stop_resigns_everywhere() -> None:
    made = router()
    run(made, 104.0)
    told = made.stop(104.5)
    assert {e.key for e in told if e in {fx.SendAdvert(k, 0) for k in (KEY, OTHER, ALONE)}
            and isinstance(e, fx.SendAdvert)} == {KEY, OTHER, ALONE}  # fmt: skip
    assert made.deadline() == inf


def test_an_instance_outside_the_group_goes_its_own_way() -> None:
    made = router()
    made.on(KEY, ev.Faulted(DOWN), 100.5)
    run(made, 104.0)
    assert made.instances[ALONE].state is State.MASTER


def test_a_status_reaches_those_that_track_it() -> None:
    made = router()
    assert made.on_status(SCRIPT, FAILED, 101.0)[0] == fx.PriorityChanged(
        ALONE, State.BACKUP, 100, made.instances[ALONE].verdict.priority
    )
    assert made.instances[ALONE].priority == 70
    assert made.on_status(SCRIPT, FAILED, 101.5) == []


def test_tracks_of_a_group_are_faults_of_all_members() -> None:
    made = Router([spec(), spec(key=OTHER)], [GroupSpec("G", (KEY, OTHER), (Track(LINK, 20),))])
    made.start(100.0)
    assert states(made) == ["INIT", "INIT"]
    made.on_status(LINK, WELL, 100.1)
    assert states(made) == ["BACKUP", "BACKUP"]
    made.on_status(LINK, FAILED, 101.0)
    assert states(made) == ["FAULT", "FAULT"]


def test_weights_count_in_a_group_that_allows_them() -> None:
    made = Router(
        [spec(), spec(key=OTHER)],
        [GroupSpec("G", (KEY, OTHER), (Track(LINK, 20),), tracking_weight=True)],
        {LINK: WELL},
    )
    made.start(100.0)
    assert [made.instances[key].priority for key in (KEY, OTHER)] == [120, 120]


def test_a_member_that_waits_for_a_result_holds_the_group_back() -> None:
    tracks = (Track(SCRIPT),)
    made = Router([spec(), spec(key=OTHER, tracks=tracks)], [GroupSpec("G", (KEY, OTHER))])
    made.start(100.0)
    run(made, 110.0)
    assert states(made) == ["BACKUP", "INIT"]
    made.on_status(SCRIPT, UNKNOWN, 110.0)
    made.on_status(SCRIPT, WELL, 111.0)
    run(made, 115.0)
    assert states(made) == ["MASTER", "MASTER"]


def test_members_without_an_instance_are_left_out() -> None:
    made = Router([spec()], [GroupSpec("G", (KEY, OTHER)), GroupSpec("EMPTY", (ALONE,))])
    made.start(100.0)
    run(made, 104.0)
    assert made.instances[KEY].state is State.MASTER
    assert set(made.groups) == {"G"}


def test_the_deadline_is_the_earliest_of_all() -> None:
    made = router()
    assert made.deadline() == pytest.approx(103.609375)
    made.on_advert(ALONE, advert(0), HIGH, 101.0)
    assert made.deadline() == pytest.approx(101.609375)


def test_a_reload_keeps_what_did_not_change() -> None:
    made = router()
    run(made, 104.0)
    specs = [spec(), spec(key=OTHER), spec(key=ALONE, name="renamed")]
    assert made.reload(specs, [GroupSpec("G", (KEY, OTHER))], 104.2) == []
    assert states(made) == ["MASTER", "MASTER"]
    assert made.instances[ALONE].spec.name == "renamed"
    assert made.instances[ALONE].state is State.MASTER


def test_a_reload_stops_what_is_gone_and_starts_what_is_new() -> None:
    made = router()
    run(made, 104.0)
    new = InstanceKey("eth3", 4, 54)
    told = made.reload([spec(), spec(key=new)], [], 104.2)
    assert fx.SendAdvert(OTHER, 0) in told
    assert fx.ReleaseAddresses(ALONE) in told
    assert set(made.instances) == {KEY, new}
    assert made.instances[KEY].state is State.MASTER
    assert made.instances[new].state is State.BACKUP
    assert not made.groups
    run(made, 110.0)
    assert made.instances[new].state is State.MASTER


def test_a_member_set_free_waits_for_nobody() -> None:
    made = router()
    made.on_advert(OTHER, advert(200), HIGH, 102.0)
    run(made, 104.0)
    made.reload([spec(), spec(key=OTHER)], [], 104.2)
    run(made, 104.3)
    assert states(made) == ["MASTER", "BACKUP"]


def test_a_member_set_free_is_rid_of_the_groups_fault() -> None:
    made = router()
    made.on(OTHER, ev.Faulted(DOWN), 101.0)
    made.reload([spec(), spec(key=OTHER)], [], 102.0)
    assert states(made) == ["BACKUP", "FAULT"]


def test_another_version_is_another_instance() -> None:
    made = Router([spec()])
    made.start(100.0)
    run(made, 104.0)
    told = made.reload([spec(version=2)], [], 104.2)
    assert fx.SendAdvert(KEY, 0) in told
    assert made.instances[KEY].state is State.BACKUP


def test_all_that_expire_together_look_at_the_sockets_once() -> None:
    keys = [InstanceKey("eth0", 4, vrid) for vrid in range(1, 256)]
    made = Router([spec(key=key) for key in keys])
    made.start(100.0)
    at = made.deadline()
    assert made.on_timer(at) == [fx.LookAgain(key) for key in keys]
    sent = [e.key for e in made.on_timer(at) if isinstance(e, fx.SendAdvert)]
    assert sorted(sent) == keys


NEW = InstanceKey("eth3", 4, 54)


def joined() -> Router:
    """Return a router in which a reload has put another member beside two masters."""
    made = router()
    run(made, 104.0)
    specs = [spec(), spec(key=OTHER), spec(key=ALONE), spec(key=NEW)]
    made.reload(specs, [GroupSpec("G", (KEY, OTHER, NEW))], 104.2)
    assert states(made) == ["MASTER", "MASTER"]
    assert made.instances[NEW].state is State.BACKUP
    return made


def test_a_new_member_joins_masters_after_its_own_silence() -> None:
    made = joined()
    told = run(made, 108.0)
    assert made.instances[NEW].state is State.MASTER
    assert states(made) == ["MASTER", "MASTER"]
    assert [e.key for e in told if isinstance(e, fx.StateChanged)] == [NEW]


def test_a_new_member_that_hears_a_master_takes_the_others_along() -> None:
    made = joined()
    made.on_advert(NEW, advert(200), HIGH, 104.5)
    assert states(made) == ["BACKUP", "BACKUP"]
    assert made.instances[NEW].state is State.BACKUP


def test_a_new_member_with_a_fault_takes_the_others_along() -> None:
    made = joined()
    made.on(NEW, ev.Faulted(DOWN), 104.5)
    assert states(made) == ["FAULT", "FAULT"]


def test_a_new_member_steps_back_with_the_masters_it_joined() -> None:
    made = joined()
    made.on_advert(KEY, advert(200), HIGH, 104.5)
    assert states(made) == ["BACKUP", "BACKUP"]
    run(made, 112.0)
    assert {one.state for key, one in made.instances.items() if key != ALONE} == {State.MASTER}
