"""Pairs and triples through random schedules; what must hold is watched by the world itself.

LVSKEEPER_SCHEDULES sets the number of schedules a test (nightly: hundreds of thousands).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sim.pairs import FIRST, SECOND, pair
from sim.world import Node, World, transitions_are_declared

from lvskeeper.units import Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.spec import AnnounceSpec, InstanceSpec, Start
from lvskeeper.vrrp.states import State

SCHEDULES = int(os.environ.get("LVSKEEPER_SCHEDULES", "600"))
thorough = settings(
    max_examples=SCHEDULES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
durations = st.sampled_from([0.05, 0.5, 1.2, 2.5, 3.7, 7.0])


@dataclass(frozen=True)
class Step:
    """One disturbance, and how long the world runs on after it."""

    what: str
    node: int
    other: int
    lasts: float
    then: float


KINDS = ["cut", "loss", "twice", "heal", "freeze", "pause", "suspend", "off", "boot", "stop",
         "fault", "mend", "run"]  # fmt: skip


def steps(kinds: list[str]) -> st.SearchStrategy[list[Step]]:
    node = st.integers(0, 2)
    step = st.builds(Step, st.sampled_from(kinds), node, node, durations, durations)
    return st.lists(step, min_size=1, max_size=12)


@st.composite
def specs(draw: st.DrawFn, name: str, number: int, version: int) -> InstanceSpec:
    priority = draw(st.sampled_from([1, 50, 100, 100, 150, 254, 255]))
    owner = priority == 255
    return InstanceSpec(
        FIRST,
        name,
        Address(bytes([192, 0, 2, number])),
        version=version,
        priority=priority,
        # Version 2 demands the same interval of all; validation sees to it
        interval=draw(st.sampled_from([0.5, 1.0])) if version == 3 else 1.0,
        start=Start.MASTER if owner else draw(st.sampled_from(Start)),
        preempt=draw(st.booleans()),
        preempt_delay=draw(st.sampled_from([0.0, 0.0, 2.5])),
        lower_prio_no_advert=draw(st.booleans()),
        higher_prio_send_advert=draw(st.booleans()),
        timer_expired_backup=draw(st.sampled_from([0, 0, 254])),
        # A one-way cut hides from the winner that somebody else announced: only a refresh heals it
        announce=AnnounceSpec(refresh=4.0, delay=draw(st.sampled_from([0.0, 2.0]))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    version = draw(st.sampled_from([2, 3]))
    made = [
        Node(f"n{i}", (draw(specs(f"n{i}", i + 1, version)),), ())
        for i in range(draw(st.integers(2, 3)))
    ]
    return World(made, draw(st.integers(0, 2**32)))


def deeds(world: World, step: Step) -> dict[str, Callable[[], None]]:
    nodes = world.nodes
    node, other = nodes[step.node % len(nodes)], nodes[step.other % len(nodes)]
    return {
        "cut": lambda: world.cuts.add((node.name, other.name)),
        "loss": lambda: world.lose(0.5),
        "twice": lambda: world.duplicate(0.3),
        "heal": world.heal,
        "freeze": lambda: world.freeze(node, step.lasts, machine=True),
        "pause": lambda: world.freeze(node, step.lasts, machine=False),
        "suspend": lambda: world.suspend(node),
        "off": lambda: world.power_off(node),
        "boot": lambda: world.boot(node),
        "stop": lambda: world.stop(node),
        "fault": lambda: world.fault(node, heal=False),
        "mend": lambda: world.fault(node, heal=True),
        "run": lambda: None,
    }


def take(world: World, step: Step) -> None:
    deeds(world, step)[step.what]()
    world.run(step.then)


def play(world: World, schedule: list[Step]) -> None:
    for node in world.nodes:
        world.boot(node)
    for step in schedule:
        take(world, step)
    world.heal()
    world.run(max(7.1, world.bound) + world.bound + 7.0)
    for node in world.nodes:
        assert transitions_are_declared(node)


@given(worlds(), steps(KINDS))
@thorough
def test_any_routers_settle_on_one_master_within_the_bound(
    world: World, schedule: list[Step]
) -> None:
    play(world, schedule)
    able = [node for node in world.nodes if node.able]
    assert len(world.masters(FIRST)) == min(1, len(able))


@given(st.integers(0, 2**32), steps(KINDS))
@thorough
def test_a_sync_group_is_never_split(seed: int, schedule: list[Step]) -> None:
    world = pair(seed, group=True)
    play(world, schedule)
    assert world.masters(FIRST) == world.masters(SECOND)
    if all(node.able for node in world.nodes):
        assert world.masters(FIRST) == ["n1"]


@given(st.integers(0, 2**32), steps(["pause", "run", "suspend"]))
@thorough
def test_after_stalls_alone_neighbours_need_no_refresh(seed: int, schedule: list[Step]) -> None:
    """Sockets buffer meanwhile; an advert that is lost may cost the winner its knowledge."""
    world = pair(seed, announce=AnnounceSpec())
    play(world, schedule)
    assert world.masters(FIRST) == ["n1"]
    assert world.caches[FIRST][0] == "n1"


@given(st.integers(0, 2**32), st.floats(2.1, 30), st.booleans())
@thorough
def test_a_thawed_master_announces_again(seed: int, seconds: float, machine: bool) -> None:
    world = pair(seed, announce=AnnounceSpec())
    first, second = world.nodes
    world.boot(first)
    world.boot(second)
    world.run(10)
    assert world.masters(FIRST) == ["n1"]
    ruled = seconds > 4.5
    world.freeze(first, seconds, machine=machine)
    thawed = world.now + seconds
    world.run(seconds + 1)
    assert world.masters(FIRST) == ["n1"]
    assert world.caches[FIRST][0] == "n1"
    assert any(at >= thawed and isinstance(e, fx.Announce) for at, e in first.told)
    assert ruled <= any(
        isinstance(e, fx.StateChanged) and e.new is State.MASTER for _, e in second.told
    )


@given(st.integers(0, 2**32), st.floats(0.1, 60))
@thorough
def test_a_backup_that_stood_still_with_its_sockets_open_takes_nothing_over(
    seed: int, seconds: float
) -> None:
    world = pair(seed)
    first, second = world.nodes
    world.boot(first)
    world.boot(second)
    world.run(10)
    world.freeze(second, seconds, machine=False)
    world.run(seconds + 10)
    assert second.router.instances[FIRST].state is State.BACKUP
    assert not any(isinstance(e, fx.StateChanged) and e.new is State.MASTER for _, e in second.told)
