"""Our daemon against keepalived itself, on a bridge with a third host.

Each story has namespaces of its own, and all run at the same time.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.stories import Story, Told, hear, names, tell
from support.vrrp_duel import Duel, Match, all_kinds, match
from support.vrrp_lan import HAS_KEEPALIVED, OURS, THEIRS
from support.vrrp_net import HERE4

from lvskeeper.units import format_address, parse_address
from lvskeeper.vrrp.states import State

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HAS_KEEPALIVED, reason="needs keepalived"),
]

HIGHER4: Final = parse_address("192.0.2.11")
"""An address of ours that is higher than keepalived's."""

B, M = State.BACKUP, State.MASTER
PREEMPTED: Final = [(B, "START"), (M, "SILENCE")]


def ours_is_stronger(folder: Path) -> None:
    """We preempt, resign, preempt again, fall silent, and come back."""
    with match(all_kinds(200, 100), folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        pair.expect_master(OURS)
        for duel in pair.duels:
            assert pair.states(duel) == PREEMPTED
            # as a master, too, where an advert crossed our first one
            (lower,) = pair.events(duel, "vrrp_lower_heard", state="BACKUP")
            assert lower.fields["peer"] == format_address(duel.peer)
            assert lower.fields["peer_priority"] == 100
            (held,) = pair.events(duel, "vips_held")
            first, advert = pair.adverts(duel, OURS)[0]
            assert advert.message.priority == 200
            assert first < held.at
            pair.expect_burst(duel, after=first)
        _resign(pair)
        pair.start_ours()
        pair.expect_master(OURS)
        _stand_still(pair)


def _resign(pair: Match) -> None:
    now = time.time()
    assert pair.daemon.stop() == 0
    pair.expect_addresses(THEIRS)
    for duel in pair.duels:
        (released,) = pair.events(duel, "vips_released")
        assert pair.adverts(duel, OURS)[-1][0] < released.at
        assert pair.states(duel)[2:] == [(State.INIT, "STOP")]
        assert pair.adverts(duel, OURS)[-1][1].message.priority == 0
        pair.expect_gap(duel, OURS, after=now, expected=duel.skew(100))


def _stand_still(pair: Match) -> None:
    """Our loop stands still for longer than keepalived waits; then there are two masters."""
    since, now = time.monotonic(), time.time()
    frozen = pair.daemon.freeze(pair.daemon.role("router"))
    for duel in pair.duels:
        pair.wait_for_theirs(duel, "MASTER")
    thawed = time.time()
    pair.daemon.thaw(frozen)
    pair.expect_master(OURS)
    for duel in pair.duels:
        assert pair.states(duel, since=since) == []
        told = {event.name for event in pair.events(duel, since=since)}
        assert {"vrrp_late", "vrrp_contention_began"} <= told, duel.name
        # told once a transition: an advert may have crossed our first one
        assert pair.events(duel, "vrrp_lower_heard", state="MASTER"), duel.name
        assert pair.adverts(duel, THEIRS, since=now)[0][0] < thawed
        pair.expect_gap(duel, OURS, after=now, expected=duel.down(100))
        pair.expect_burst(duel, after=thawed, once=False)


def theirs_is_stronger(folder: Path) -> None:
    """We wait while keepalived is master; it ends in order, comes back, and is killed."""
    with match(all_kinds(100, 200), folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        time.sleep(4.5)  # more than any master-down time
        pair.expect_master(THEIRS)
        for duel in pair.duels:
            assert pair.states(duel) == [(B, "START")]
            assert not pair.adverts(duel, OURS)
            peer = format_address(duel.peer)
            assert pair.events(duel, "vrrp_master_learned", master=peer, priority=200)
        _they_end_in_order(pair)
        since = time.monotonic()
        pair.keepalived.start()
        pair.expect_master(THEIRS)
        for duel in pair.duels:
            assert pair.states(duel, since=since) == [(B, "HIGHER_PRIORITY")]
            assert len(pair.events(duel, "vips_released", since=since)) == 1
            assert pair.adverts(duel, OURS)[-1][1].message.priority == 100
        _they_are_killed(pair)


def _they_end_in_order(pair: Match) -> None:
    since, now = time.monotonic(), time.time()
    pair.keepalived.terminate()
    pair.expect_ours_alone(clean=True)
    for duel in pair.duels:
        assert pair.states(duel, since=since) == [(M, "PRIORITY_ZERO")]
        peer = format_address(duel.peer)
        assert pair.events(duel, "vrrp_peer_resigned", since=since, peer=peer, obeyed=True)
        assert pair.adverts(duel, THEIRS)[-1][1].message.priority == 0
        pair.expect_gap(duel, THEIRS, after=now, expected=duel.skew(100))
        pair.expect_burst(duel, after=now)


def _they_are_killed(pair: Match) -> None:
    since, now = time.monotonic(), time.time()
    pair.keepalived.kill()
    pair.expect_ours_alone(clean=False)
    for duel in pair.duels:
        assert pair.states(duel, since=since) == [(M, "SILENCE")]
        assert pair.adverts(duel, THEIRS)[-1][1].message.priority == 200
        pair.expect_gap(duel, THEIRS, after=now, expected=duel.down(100))
        pair.expect_burst(duel, after=now)


def preemption(folder: Path) -> None:
    """Each side with ``nopreempt`` and with ``preempt_delay``, as the one that comes later."""
    delay = "preempt_delay 0.5"
    we_wait = Duel("we_wait", 1, 200, 100, here=("nopreempt",))
    they_wait = Duel("they_wait", 2, 100, 200, there=("nopreempt",))
    we_delay = Duel("we_delay", 3, 200, 100, here=(delay,))
    they_delay = Duel("they_delay", 4, 100, 200, there=("preempt_delay 1",))
    we_patient_too = Duel("we_patient_too", 5, 200, 100, here=(delay, "nopreempt"))
    with match((we_wait, they_wait, we_delay, they_delay, we_patient_too), folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        pair.expect_master(OURS, we_delay)
        pair.expect_master(THEIRS, we_wait, they_wait, they_delay, we_patient_too)
        assert pair.states(we_delay) == PREEMPTED
        began, _ = pair.events(we_delay, "vrrp_preempt_delay")
        changed = pair.events(we_delay, "vrrp_state_changed")[-1].at
        assert 0.49 < changed - began.at < 0.5 + 2 * we_delay.down(200)
        assert len(pair.events(we_delay, "vrrp_preempt_delay", change="ended")) == 1
        assert not pair.adverts(we_wait, OURS)
        pair.keepalived.terminate()
        pair.expect_ours_alone(clean=True)
        now = time.time()
        pair.keepalived.start()
        pair.expect_master(THEIRS, they_delay)
        pair.expect_master(OURS, we_wait, they_wait, we_delay, we_patient_too)
        assert pair.adverts(they_delay, THEIRS, since=now)[0][0] - now > 1
        assert not pair.adverts(they_wait, THEIRS, since=now)


def owners(folder: Path) -> None:
    """Owners of the addresses, and the last word of a weaker master."""
    mine = ("state MASTER",)
    we_own = Duel("we_own", 1, 255, 100, here=mine)
    they_own = Duel("they_own", 2, 100, 255, there=("state MASTER",))
    last_word = Duel("last_word", 5, 100, 200, here=("higher_prio_send_advert",))
    no_word = Duel("no_word", 6, 100, 200)
    their_word = Duel("their_word", 7, 200, 100, there=("higher_prio_send_advert",))
    duels = (we_own, they_own, last_word, no_word, their_word)
    with match(duels, folder) as pair:
        pair.start_ours()
        pair.expect_ours_alone(clean=True)
        start, taken = [told.at for told in pair.events(we_own, "vrrp_state_changed")]
        assert taken - start < we_own.down(255)
        pair.keepalived.start()
        pair.expect_master(THEIRS, they_own, last_word, no_word)
        pair.expect_master(OURS, we_own, their_word)
        for duel in (they_own, last_word, no_word):
            assert pair.states(duel)[2:] == [(B, "HIGHER_PRIORITY")]
        assert not pair.daemon.events("vrrp_owner_conflict")
        _expect_words(pair, last_word, 1)
        _expect_words(pair, no_word, 0)
        assert pair.daemon.stop() == 0
        pair.expect_addresses(THEIRS)
        pair.start_ours()
        pair.expect_master(OURS, we_own, their_word)
        assert len(pair.states(we_own)) == 2
        assert len(pair.events(their_word, "vrrp_lower_heard", state="MASTER")) == 1


def _expect_words(pair: Match, duel: Duel, count: int) -> None:
    """Expect *count* adverts of ours after the first one of the stronger router."""
    first, _ = pair.adverts(duel, THEIRS)[0]
    assert len(pair.adverts(duel, OURS, since=first)) == count


def two_owners(folder: Path) -> None:
    """Two routers of priority 255: the lower address yields; if it is deaf, the other one does.

    An owner that hears another one before it is master stays backup, on either side; so which of
    the two is first must not decide what is expected here. And who is deaf does not learn that it
    has to announce its addresses after a rival's last word, so both refresh them.
    """
    mine = ("state MASTER", "garp_master_refresh 1")
    duels = [
        Duel(name, vrid, 255, 255, source=source, here=mine, there=("garp_master_refresh 1",))
        for name, vrid, source in (("they_are_higher", 1, HERE4), ("we_are_higher", 2, HIGHER4))
    ]
    they_are_higher, we_are_higher = duels
    with match(duels, folder) as pair:
        pair.lan.deafen(pair.lan.theirs)
        pair.start_ours()
        pair.expect_ours_alone(clean=True)
        pair.keepalived.start()
        pair.expect_master(THEIRS)
        assert pair.states(they_are_higher)[2:] == [(B, "HIGHER_ADDRESS")]
        assert pair.states(we_are_higher)[2:] == [(B, "HIGHER_PRIORITY")]
        rival = format_address(we_are_higher.peer)
        assert pair.events(we_are_higher, "vrrp_owner_conflict", rival=rival)
        pair.keepalived.terminate()
        pair.expect_ours_alone(clean=True)
        for duel in duels:
            assert pair.adverts(duel, OURS)[-1][1].message.priority == 255
        pair.lan.heal(pair.lan.theirs)
        pair.lan.deafen(pair.lan.ours)
        pair.keepalived.start()
        pair.expect_master(OURS)
        pair.lan.heal(pair.lan.ours)
        pair.expect_master(OURS)


def cuts(folder: Path) -> None:
    """One side is deaf for a while; healed, each pair has one master again."""
    weaker = Duel("weaker", 1, 100, 200)
    stronger = Duel("stronger", 2, 200, 100)
    lower = Duel("lower", 3, 150, 150)
    higher = Duel("higher", 4, 150, 150, source=HIGHER4)
    with match((weaker, stronger, lower, higher), folder) as pair:
        pair.start_ours()
        pair.expect_ours_alone(clean=True)
        pair.keepalived.start()
        pair.expect_master(THEIRS, weaker)
        pair.expect_master(OURS, stronger, lower, higher)
        since = time.monotonic()
        pair.lan.deafen(pair.lan.ours)
        pair.wait_for_ours(weaker, M)
        time.sleep(0.5)
        assert pair.keepalived.entries("weaker")[-1] == "MASTER"
        pair.lan.heal(pair.lan.ours)
        pair.expect_master(THEIRS, weaker)
        pair.expect_master(OURS, stronger, lower, higher)
        assert pair.states(weaker, since=since) == [
            (M, "SILENCE"), (B, "HIGHER_PRIORITY")
        ]  # fmt: skip
        _they_are_deaf(pair, stronger, lower, higher)
        pair.lan.deafen(pair.lan.ours)
        pair.wait_for_ours(lower, M)
        since = time.monotonic()
        pair.lan.heal(pair.lan.ours)
        pair.expect_master(THEIRS, lower)
        assert pair.states(lower, since=since) == [(B, "HIGHER_ADDRESS")]


def _they_are_deaf(pair: Match, stronger: Duel, lower: Duel, higher: Duel) -> None:
    since = time.monotonic()
    pair.lan.deafen(pair.lan.theirs)
    for duel in (stronger, lower, higher):
        pair.wait_for_theirs(duel, "MASTER")
    time.sleep(0.5)
    assert pair.states(lower, since=since) == [(B, "HIGHER_ADDRESS")]
    for duel, why in ((stronger, "higher priority"), (higher, "equal priority, higher address")):
        (began,) = pair.events(duel, "vrrp_contention_began", since=since)
        assert began.fields["stronger"].startswith(f"{format_address(duel.source)} (priority")
        assert began.fields["weaker"].startswith(f"{format_address(duel.peer)} (priority")
        assert began.fields["why"] == why
        asked = pair.daemon.ask_for_reports()
        told = pair.await_event(duel, "vrrp_report", since=asked).fields["why"]
        assert re.search(r"contention for [0-9.]+ m?s between", told), told
    pair.lan.heal(pair.lan.theirs)
    pair.expect_master(OURS, stronger, higher)
    for duel in (stronger, higher):
        pair.await_event(duel, "vrrp_contention_ended", since=since)
        assert pair.states(duel, since=since) == []
        assert pair.events(duel, "vrrp_lower_heard", state="MASTER")


STORIES: Final[tuple[Story, ...]] = (
    ours_is_stronger, theirs_is_stronger, preemption, owners, two_owners, cuts,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    yield from tell(STORIES, request, tmp_path_factory)


@pytest.mark.parametrize("name", names(STORIES))
def test_story(name: str, told: Told) -> None:
    hear(told, name)
