"""Our VRRP machine against keepalived itself, on a bridge with a third host.

Each story has namespaces of its own, and all run at the same time.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from support.vrrp_duel import Duel, Match, all_kinds, match
from support.vrrp_lan import HAS_KEEPALIVED, OURS, THEIRS, wait_until
from support.vrrp_net import HERE4
from support.vrrp_shell import states

from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.spec import AnnounceSpec, Start
from lvskeeper.vrrp.states import Occasion, State

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HAS_KEEPALIVED, reason="needs keepalived"),
]

HIGHER4: Final = parse_address("192.0.2.11")
"""An address of ours that is higher than keepalived's."""
Story: TypeAlias = Callable[[Path], None]

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
            effects = pair.effects(duel)
            assert states(effects) == PREEMPTED
            assert effects.count(fx.LowerDiscarded(duel.key, duel.peer, 100)) == 1
            taken = effects.index(fx.HoldAddresses(duel.key))
            assert effects[taken - 1 : taken + 2] == [
                fx.SendAdvert(duel.key, 200),
                fx.HoldAddresses(duel.key),
                fx.Announce(duel.key, Occasion.MASTER),
            ]
        _resign(pair)
        pair.start_ours()
        pair.expect_master(OURS)
        _stand_still(pair)


def _resign(pair: Match) -> None:
    now = time.time()
    pair.shell.stop()
    pair.expect_addresses(THEIRS)
    for duel in pair.duels:
        effects = pair.effects(duel)
        resigned = effects.index(fx.SendAdvert(duel.key, 0))
        assert effects[resigned + 1 :][:1] == [fx.ReleaseAddresses(duel.key)]
        assert states(effects)[2:] == [(State.INIT, "STOP")]
        assert pair.adverts(duel, OURS)[-1][1].message.priority == 0
        pair.expect_gap(duel, OURS, after=now, expected=duel.skew(100))


def _stand_still(pair: Match) -> None:
    """Our loop stands still for longer than keepalived waits; then there are two masters."""
    since, now = time.monotonic(), time.time()
    pair.shell.freeze()
    for duel in pair.duels:
        pair.wait_for_theirs(duel, "MASTER")
    thawed = time.time()
    pair.shell.thaw()
    pair.expect_master(OURS)
    for duel in pair.duels:
        effects = pair.effects(duel, since=since)
        assert states(effects) == []
        told = {type(effect) for effect in effects}
        assert {fx.Late, fx.LookAgain, fx.LowerHeard, fx.ContentionBegan} <= told, duel.name
        assert pair.adverts(duel, THEIRS, since=now)[0][0] < thawed
        pair.expect_gap(duel, OURS, after=now, expected=duel.down(100))
        occasions = [e.occasion for e in effects if isinstance(e, fx.Announce)]
        assert {Occasion.STALL, Occasion.LOWER_PRIORITY} & set(occasions)


def theirs_is_stronger(folder: Path) -> None:
    """We wait while keepalived is master; it ends in order, comes back, and is killed."""
    with match(all_kinds(100, 200), folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        time.sleep(4.5)  # more than any master-down time
        pair.expect_master(THEIRS)
        for duel in pair.duels:
            effects = pair.effects(duel)
            assert states(effects) == [(B, "START")]
            assert not pair.adverts(duel, OURS)
            assert any(
                isinstance(e, fx.MasterLearned) and (e.address, e.priority) == (duel.peer, 200)
                for e in effects
            )
        _they_end_in_order(pair)
        since = time.monotonic()
        pair.keepalived.start()
        pair.expect_master(THEIRS)
        for duel in pair.duels:
            effects = pair.effects(duel, since=since)
            assert states(effects) == [(B, "HIGHER_PRIORITY")]
            assert fx.ReleaseAddresses(duel.key) in effects
            assert pair.adverts(duel, OURS)[-1][1].message.priority == 100
        _they_are_killed(pair)


def _they_end_in_order(pair: Match) -> None:
    since, now = time.monotonic(), time.time()
    pair.keepalived.terminate()
    pair.expect_ours_alone(clean=True)
    for duel in pair.duels:
        effects = pair.effects(duel, since=since)
        assert states(effects) == [(M, "PRIORITY_ZERO")]
        assert effects.count(fx.PeerResigned(duel.key, duel.peer, obeyed=True)) >= 1
        assert pair.adverts(duel, THEIRS)[-1][1].message.priority == 0
        pair.expect_gap(duel, THEIRS, after=now, expected=duel.skew(100))
        pair.expect_burst(duel, after=now)


def _they_are_killed(pair: Match) -> None:
    since, now = time.monotonic(), time.time()
    pair.keepalived.kill()
    pair.expect_ours_alone(clean=False)
    for duel in pair.duels:
        assert states(pair.effects(duel, since=since)) == [(M, "SILENCE")]
        assert pair.adverts(duel, THEIRS)[-1][1].message.priority == 200
        pair.expect_gap(duel, THEIRS, after=now, expected=duel.down(100))
        pair.expect_burst(duel, after=now)


def preemption(folder: Path) -> None:
    """Each side with ``nopreempt`` and with ``preempt_delay``, as the one that comes later."""
    delay = {"preempt_delay": 0.5}
    we_wait = Duel("we_wait", 1, 200, 100, here={"preempt": False})
    they_wait = Duel("they_wait", 2, 100, 200, there=("nopreempt",))
    we_delay = Duel("we_delay", 3, 200, 100, here=delay)
    they_delay = Duel("they_delay", 4, 100, 200, there=("preempt_delay 1",))
    we_patient_too = Duel("we_patient_too", 5, 200, 100, here=delay | {"preempt": False})
    with match((we_wait, they_wait, we_delay, they_delay, we_patient_too), folder) as pair:
        pair.keepalived.start()
        pair.expect_their_start()
        pair.start_ours()
        pair.expect_master(OURS, we_delay)
        pair.expect_master(THEIRS, we_wait, they_wait, they_delay, we_patient_too)
        effects = pair.effects(we_delay)
        assert states(effects) == PREEMPTED
        (began,) = (e for e in effects if isinstance(e, fx.PreemptDelayStarted))
        changed = next(
            told.at for told in pair.shell.told
            if isinstance(told.effect, fx.StateChanged) and told.effect.new is M
        )  # fmt: skip
        assert 0 < changed - began.until < 2 * we_delay.down(200)
        assert sum(isinstance(e, fx.PreemptDelayEnded) for e in effects) == 1
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
    mine = {"start": Start.MASTER}
    we_own = Duel("we_own", 1, 255, 100, here=mine)
    they_own = Duel("they_own", 2, 100, 255, there=("state MASTER",))
    last_word = Duel("last_word", 5, 100, 200, here={"higher_prio_send_advert": True})
    no_word = Duel("no_word", 6, 100, 200)
    their_word = Duel("their_word", 7, 200, 100, there=("higher_prio_send_advert",))
    duels = (we_own, they_own, last_word, no_word, their_word)
    with match(duels, folder) as pair:
        pair.start_ours()
        pair.expect_ours_alone(clean=True)
        start, taken, *_ = [
            t.at for t in pair.shell.told
            if isinstance(t.effect, fx.StateChanged) and t.effect.key == we_own.key
        ]  # fmt: skip
        assert taken - start < we_own.down(255)
        pair.keepalived.start()
        pair.expect_master(THEIRS, they_own, last_word, no_word)
        pair.expect_master(OURS, we_own, their_word)
        for duel in (they_own, last_word, no_word):
            assert states(pair.effects(duel))[2:] == [(B, "HIGHER_PRIORITY")]
        assert not any(isinstance(t.effect, fx.OwnerConflict) for t in pair.shell.told)
        _expect_words(pair, last_word, 1)
        _expect_words(pair, no_word, 0)
        pair.shell.stop()
        pair.expect_addresses(THEIRS)
        pair.start_ours()
        pair.expect_master(OURS, we_own, their_word)
        assert len(states(pair.effects(we_own))) == 2
        heard = [e for e in pair.effects(their_word) if isinstance(e, fx.LowerHeard)]
        assert len(heard) == 1


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
    mine = {"start": Start.MASTER, "announce": AnnounceSpec(refresh=1.0)}
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
        assert states(pair.effects(they_are_higher))[2:] == [(B, "HIGHER_ADDRESS")]
        effects = pair.effects(we_are_higher)
        assert states(effects)[2:] == [(B, "HIGHER_PRIORITY")]
        assert fx.OwnerConflict(we_are_higher.key, we_are_higher.peer) in effects
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
        assert states(pair.effects(weaker, since=since)) == [
            (M, "SILENCE"), (B, "HIGHER_PRIORITY")
        ]  # fmt: skip
        _they_are_deaf(pair, stronger, lower, higher)
        pair.lan.deafen(pair.lan.ours)
        pair.wait_for_ours(lower, M)
        since = time.monotonic()
        pair.lan.heal(pair.lan.ours)
        pair.expect_master(THEIRS, lower)
        assert states(pair.effects(lower, since=since)) == [(B, "HIGHER_ADDRESS")]


def _they_are_deaf(pair: Match, stronger: Duel, lower: Duel, higher: Duel) -> None:
    since = time.monotonic()
    pair.lan.deafen(pair.lan.theirs)
    for duel in (stronger, lower, higher):
        pair.wait_for_theirs(duel, "MASTER")
    time.sleep(0.5)
    assert states(pair.effects(lower, since=since)) == [(B, "HIGHER_ADDRESS")]
    for duel in (stronger, higher):
        (began,) = (e for e in pair.effects(duel, since=since) if isinstance(e, fx.ContentionBegan))
        assert began.contention.stronger.address == duel.source
        assert began.contention.weaker.address == duel.peer
    pair.lan.heal(pair.lan.theirs)
    pair.expect_master(OURS, stronger, higher)
    for duel in (stronger, higher):
        _wait_for_end_of_contention(pair, duel, since)
        assert states(pair.effects(duel, since=since)) == []
        assert any(isinstance(e, fx.LowerHeard) for e in pair.effects(duel, since=since))


def _wait_for_end_of_contention(pair: Match, duel: Duel, since: float) -> None:
    wait_until(
        lambda: any(isinstance(e, fx.ContentionEnded) for e in pair.effects(duel, since=since)),
        f"{duel.name}: the contention goes on",
    )


STORIES: Final[tuple[Story, ...]] = (
    ours_is_stronger, theirs_is_stronger, preemption, owners, two_owners, cuts,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """All stories that are asked for, under way."""
    names = "".join(item.name for item in request.session.items)
    chosen = [story for story in STORIES if f"[{story.__name__}]" in names]
    with ThreadPoolExecutor(len(chosen)) as pool:
        yield {
            story.__name__: pool.submit(story, tmp_path_factory.mktemp(story.__name__))
            for story in chosen
        }


@pytest.mark.parametrize("name", [story.__name__ for story in STORIES])
def test_story(name: str, told: dict[str, Future[None]]) -> None:
    told[name].result()
    assert told[name].done()
