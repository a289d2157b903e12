"""Stories that operators told, played by two routers."""

from itertools import pairwise

import pytest
from sim.pairs import FIRST, pair
from sim.world import LOOP_LAG, MAX_DELAY, World

from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.spec import AnnounceSpec
from lvskeeper.vrrp.states import State

QUIET = AnnounceSpec()


def running(seed: int = 7, announce: AnnounceSpec = QUIET, *, last_advert: bool = False) -> World:
    world = pair(seed, announce=announce, last_advert=last_advert)
    for node in world.nodes:
        world.boot(node)
    world.run(20)
    assert world.masters(FIRST) == ["n1"]
    return world


def sent(world: World, number: int) -> list[tuple[float, int]]:
    told = world.nodes[number].told
    return [(at, e.priority) for at, e in told if isinstance(e, fx.SendAdvert)]


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_master_is_replaced_after_three_adverts_and_the_skew(seed: int) -> None:
    world = running(seed)
    world.power_off(world.nodes[0])
    last = sent(world, 0)[-1][0]
    world.run(10)
    silence = sent(world, 1)[0][0] - last
    assert 3.609375 <= silence <= 3.609375 + MAX_DELAY + LOOP_LAG
    assert world.masters(FIRST) == ["n2"]


def test_a_master_that_stops_is_replaced_after_the_skew() -> None:
    world = running()
    world.stop(world.nodes[0])
    at, priority = sent(world, 0)[-1]
    assert priority == 0
    world.run(2)
    assert 0.609375 <= sent(world, 1)[0][0] - at <= 0.609375 + MAX_DELAY + LOOP_LAG


def test_adverts_lost_one_way_show_as_contention_on_the_master_that_is_right() -> None:
    world = running()
    world.cuts.add(("n1", "n2"))
    world.run(10)
    assert world.masters(FIRST) == ["n1", "n2"]
    contention = world.nodes[0].router.instances[FIRST].contention
    assert contention is not None
    assert contention.weaker.priority == 100
    assert world.nodes[1].router.instances[FIRST].contention is None
    world.heal()
    world.run(10)
    assert world.masters(FIRST) == ["n1"]
    assert world.nodes[0].router.instances[FIRST].contention is None
    assert any(isinstance(e, fx.ContentionEnded) for _, e in world.nodes[0].told)


def split(world: World) -> None:
    world.cuts |= {("n1", "n2"), ("n2", "n1")}
    world.run(10)
    assert world.masters(FIRST) == ["n1", "n2"]
    world.heal()
    world.run(1.5)
    assert world.masters(FIRST) == ["n1"]


def test_the_loser_of_a_split_lets_the_winner_know_by_a_last_advert() -> None:
    world = running(last_advert=True)
    split(world)
    assert world.caches[FIRST][0] == "n1"


def test_a_winner_that_never_heard_the_loser_is_helped_by_a_refresh_only() -> None:
    world = running()
    split(world)
    assert world.caches[FIRST][0] == "n2"
    world = running(announce=AnnounceSpec(refresh=2.0))
    split(world)
    world.run(2.1)
    assert world.caches[FIRST][0] == "n1"


@pytest.mark.parametrize("seconds", [0.7, 2.9, 4.2, 60.0])
def test_a_backup_whose_machine_stood_still_waits_for_the_master_to_be_heard(
    seconds: float,
) -> None:
    world = running()
    world.freeze(world.nodes[1], seconds, machine=True)
    world.run(seconds + 10)
    assert sent(world, 1) == []


def test_a_suspended_master_comes_back_as_backup() -> None:
    world = running()
    world.suspend(world.nodes[0])
    assert world.nodes[0].router.instances[FIRST].state is State.BACKUP
    assert world.nodes[0].holds == set()


@pytest.mark.parametrize("seconds", [1.5, 2.9, 3.5, 4.0, 231.0])
def test_a_late_timer_takes_nothing_over_while_adverts_are_queued(seconds: float) -> None:
    world = running()
    world.freeze(world.nodes[1], seconds, machine=False)
    world.run(seconds + 10)
    assert sent(world, 1) == []


def test_adverts_leave_in_time_whatever_is_announced() -> None:
    world = running(announce=AnnounceSpec(repeat=500, delay=0.1, refresh=0.05, refresh_repeat=50))
    times = [at for at, _ in sent(world, 0)]
    assert len(times) > 15
    assert max(b - a for a, b in pairwise(times)) < 1 + 2 * LOOP_LAG
