"""What the flight recorder kept, the machines do again: the same transitions at the same times."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from sim.pairs import pair
from sim.test_schedules import KINDS, Step, play, steps, take, worlds
from sim.world import Node, World

from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.replay import differences, replay
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.tape import Segment, Tape

SMALL = 40
"""Inputs a segment, so that most runs begin in the middle of something."""
some = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def record(world: World) -> None:
    for node in world.nodes:
        node.tape = Tape(SMALL)


def carried(node: Node) -> tuple[Segment, ...]:
    """Return the tape of a node as it comes out of a file."""
    assert node.tape is not None
    text = msgspec.json.encode(node.tape.segments())
    return msgspec.json.decode(text, type=tuple[Segment, ...])


def replays(nodes: Sequence[Node]) -> int:
    """Hold that all tapes replay without a difference; return how many transitions they have."""
    count = 0
    for node in nodes:
        for segment in carried(node):
            assert differences(segment, replay(segment)) == []
            count += len(segment.changes)
    return count


@given(worlds(), steps(KINDS))
@some
def test_any_schedule_replays(world: World, schedule: list[Step]) -> None:
    record(world)
    play(world, schedule)
    replays(world.nodes)


def test_a_failover_of_a_sync_group_replays_with_its_cause() -> None:
    world = pair(7, group=True)
    record(world)
    for node in world.nodes:
        world.boot(node)
    world.run(20)
    world.power_off(world.nodes[0])
    world.run(8)
    assert replays(world.nodes) >= 2
    took = [
        (change.at, change.cause.value)
        for segment in carried(world.nodes[1])
        for step in replay(segment)
        for change in step.changes
        if change.new is State.MASTER
    ]
    told = [
        (at, effect.cause.value)
        for at, effect in world.nodes[1].told
        if isinstance(effect, fx.StateChanged) and effect.new is State.MASTER
    ]
    assert took == told[-len(took) :]
    assert {cause for _, cause in took} == {"no advert within the master-down time"}


def test_a_tape_that_was_altered_does_not_replay() -> None:
    world = pair(7)
    record(world)
    for node in world.nodes:
        world.boot(node)
    take(world, Step("off", 0, 0, 0.0, 8.0))
    (segment,) = carried(world.nodes[1])
    cut = replace(segment, times=segment.times[:2], which=segment.which[:2])
    (told,) = differences(cut, replay(cut))
    recorded = "eth0 vrid 51 BACKUP to MASTER (no advert within the master-down time)"
    assert told == f"recorded {recorded}, replayed nothing"
    assert replays([world.nodes[1]]) == 2
