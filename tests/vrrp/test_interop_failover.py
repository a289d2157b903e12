"""Ways in which a master goes, with keepalived as the peer, and who has the addresses then.

Each story has namespaces of its own, and all run at the same time.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_duel import Duel, Match, all_kinds, match
from support.vrrp_lan import HAS_KEEPALIVED, OURS, SECOND, THEIRS, Announced
from support.vrrp_net import DEVICE, HERE_LINK, THERE_LINK

from lvskeeper.units import format_address, parse_address
from lvskeeper.vrrp.auth import AuthKind
from lvskeeper.vrrp.states import State

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HAS_KEEPALIVED, reason="needs keepalived"),
]

B, M, F = State.BACKUP, State.MASTER, State.FAULT
SECOND_VERSION: Final[dict[str, Any]] = {"version": 2, "interval": 1.0, "auth": AuthKind.PASS}


def we_are_killed(folder: Path) -> None:
    """They take over in time; our next start takes away what was left before it takes part."""
    with match(all_kinds(200, 100), folder) as pair:
        pair.start_ours()
        pair.expect_ours_alone(clean=True)
        pair.keepalived.start()
        pair.expect_master(OURS)
        now = time.time()
        pair.daemon.kill()
        pair.expect_addresses(THEIRS, alone=False)
        for duel in pair.duels:
            assert pair.adverts(duel, OURS)[-1][1].message.priority == 200
            assert pair.lan.holders(duel.vip) == [OURS, THEIRS]
            pair.expect_gap(duel, OURS, after=now, expected=duel.down(100))
        pair.start_ours()
        (released,) = pair.daemon.events("vips_released", instance="earlier run")
        pair.expect_master(OURS)
        for duel in pair.duels:
            for vip in duel.vips:
                assert f"{format_address(vip)}/" in released.fields["addresses"]
            assert released.at < pair.events(duel, "vrrp_state_changed")[0].at
            assert pair.states(duel) == [(B, "START"), (M, "SILENCE")]


def links_go_down(folder: Path) -> None:
    """First the link of ours, then that of theirs; what comes back gets back what it had."""
    stronger, weaker = Duel("stronger", 1, 200, 100), Duel("weaker", 2, 100, 200)
    second = Duel("second", 3, 200, 100, **SECOND_VERSION)
    mine = (stronger, second)
    with match((stronger, weaker, second), folder) as pair:
        pair.keepalived.start()
        pair.start_ours()
        pair.expect_master(OURS, *mine)
        pair.expect_master(THEIRS, weaker)
        since, now = time.monotonic(), time.time()
        pair.lan.ours.ip(f"link set {DEVICE} down")
        pair.expect_addresses(THEIRS)
        for duel in mine:
            assert pair.states(duel, since=since) == [(F, "FAULT")]
            (told,) = pair.events(duel, "vrrp_faults_changed", since=since)
            assert told.fields["faults"] == f"interface down ({DEVICE})"
            pair.expect_gap(duel, OURS, after=now, expected=duel.down(100))
        pair.lan.ours.ip(f"link set {DEVICE} up")
        pair.expect_master(OURS, *mine)
        pair.expect_master(THEIRS, weaker)
        for duel in mine:
            states = [(F, "FAULT"), (B, "HEALED"), (M, "SILENCE")]
            assert pair.states(duel, since=since) == states
        _their_link_goes_down(pair, weaker)


def _their_link_goes_down(pair: Match, weaker: Duel) -> None:
    since, now = time.monotonic(), time.time()
    pair.lan.theirs.ip(f"link set {DEVICE} down")
    pair.wait_for_theirs(weaker, "FAULT")
    pair.expect_addresses(OURS)
    assert pair.states(weaker, since=since) == [(M, "SILENCE")]
    pair.expect_gap(weaker, THEIRS, after=now, expected=weaker.down(100))
    pair.expect_burst(weaker, after=now)
    pair.lan.theirs.ip(f"link set {DEVICE} up")
    pair.expect_master(THEIRS, weaker)
    assert pair.states(weaker, since=since) == [(M, "SILENCE"), (B, "HIGHER_PRIORITY")]


def _script(folder: Path, side: str) -> str:
    """Return a script that goes by whether a file is there, which it makes."""
    fit = folder / f"{side}-are-fit"
    fit.touch()
    # A busy machine may be late with a start, and a shorter interval would be missed
    options = "interval 1\n timeout 2"
    return f'vrrp_script fit {{\n script "/usr/bin/test -e {fit}"\n {options}\n}}\n'


def scripts_fail(folder: Path) -> None:
    """A failing script is a fault, or takes so much from the priority that the peer preempts."""
    fault, lower = ("track_script {", "fit", "}"), ("track_script {", "fit weight -150", "}")
    our_fault = Duel("our_fault", 1, 200, 100, here=fault)
    our_lower = Duel("our_lower", 2, 200, 100, here=lower)
    their_fault = Duel("their_fault", 3, 100, 200, there=fault)
    their_lower = Duel("their_lower", 4, 100, 200, there=lower)
    mine, others = (our_fault, our_lower), (their_fault, their_lower)
    here, there = _script(folder, OURS), _script(folder, THEIRS)
    with match((*mine, *others), folder, here=here, there=there) as pair:
        pair.keepalived.start()
        pair.start_ours()
        pair.expect_master(OURS, *mine)
        pair.expect_master(THEIRS, *others)
        since, now = time.monotonic(), time.time()
        (folder / "ours-are-fit").unlink()
        pair.expect_addresses(THEIRS)
        (told,) = pair.events(our_fault, "vrrp_faults_changed", since=since)
        assert told.fields["faults"] == "script failed (fit)"
        (told,) = pair.events(our_lower, "vrrp_priority_changed", since=since)
        assert (told.fields["old"], told.fields["new"]) == (200, 50)
        assert told.fields["sum"] == "200 - 150 (script fit) = 50"
        assert pair.states(our_fault, since=since) == [(F, "FAULT")]
        assert pair.states(our_lower, since=since) == [(B, "HIGHER_PRIORITY")]
        assert pair.adverts(our_fault, OURS)[-1][1].message.priority == 0
        pair.expect_gap(our_fault, OURS, after=now, expected=our_fault.skew(100))
        assert {p.message.priority for _, p in pair.adverts(our_lower, OURS, since=now)} >= {50}
        (folder / "ours-are-fit").touch()
        pair.expect_master(OURS, *mine)
        (folder / "theirs-are-fit").unlink()
        pair.expect_addresses(OURS)
        assert pair.states(their_lower)[-1] == (M, "SILENCE")
        (folder / "theirs-are-fit").touch()
        pair.expect_master(THEIRS, *others)
        for duel in others:
            assert pair.states(duel)[-1] == (B, "HIGHER_PRIORITY")


def virtual_macs(folder: Path) -> None:
    """Both have VMACs: the neighbours know one MAC, and the bridge learns where it is."""
    six: dict[str, Any] = {"source": HERE_LINK, "peer": THERE_LINK}
    duels = (
        Duel("second", 1, 200, 100, vmac=True, **SECOND_VERSION),
        Duel("three", 2, 200, 100, vmac=True),
        Duel("six", 3, 200, 100, vmac=True, **six),
    )
    with match(duels, folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        pair.expect_master(OURS)
        now = time.time()
        assert pair.daemon.stop() == 0
        pair.expect_addresses(THEIRS)
        for duel in duels:
            pair.expect_gap(duel, OURS, after=now, expected=duel.skew(100))
        pair.start_ours()
        pair.expect_master(OURS)
        now = time.time()
        pair.daemon.kill()
        pair.expect_addresses(THEIRS, alone=False)
        for duel in duels:
            pair.expect_gap(duel, OURS, after=now, expected=duel.down(100))
            told = [frame.what for frame in pair.announcements(duel.vip)]
            assert {what.mac for what in told if isinstance(what, Announced)} == {duel.mac}
        pair.start_ours()
        pair.expect_master(OURS)
        assert pair.daemon.stop() == 0
        links = pair.lan.ours.run(["ip", "-br", "link"]).stdout
        assert not any(f"vm{duel.vrid}" in links for duel in duels), links


def sync_groups(folder: Path) -> None:
    """Two instances on two links move together, whichever link or router goes."""
    second: dict[str, Any] = {
        "device": SECOND, "source": parse_address("198.51.100.1"),
        "peer": parse_address("198.51.100.2"),
    }  # fmt: skip
    one, two = Duel("one", 1, 200, 100), Duel("two", 2, 200, 100, **second)
    group = "vrrp_sync_group both {\n group {\n  one\n  two\n }\n}\n"
    with match((one, two), folder, here=group, there=group, second_link=True) as pair:
        pair.keepalived.start()
        pair.start_ours()
        pair.expect_master(OURS)
        for link, other in ((SECOND, one), (DEVICE, two)):
            since = time.monotonic()
            pair.lan.ours.ip(f"link set {link} down")
            pair.expect_addresses(THEIRS)
            assert pair.states(other, since=since) == [(F, "FAULT")]
            (told,) = pair.events(other, "vrrp_faults_changed", since=since)
            assert told.fields["faults"] == "member of sync group in fault (both)"
            pair.daemon.wait_for("vrrp_group_changed", since=since, group="both", new="FAULT")
            pair.lan.ours.ip(f"link set {link} up")
            pair.expect_master(OURS)
            pair.daemon.wait_for("vrrp_group_changed", since=since, group="both", new="MASTER")
        since = time.monotonic()
        pair.lan.theirs.ip(f"link set {SECOND} down")
        pair.wait_for_theirs(two, "FAULT")
        pair.lan.theirs.ip(f"link set {SECOND} up")
        pair.wait_for_theirs(two, "BACKUP")
        assert pair.states(one, since=since) == []
        pair.daemon.kill()
        pair.expect_addresses(THEIRS, alone=False)


STORIES: Final[tuple[Story, ...]] = (
    we_are_killed, links_go_down, scripts_fail, virtual_macs, sync_groups,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
