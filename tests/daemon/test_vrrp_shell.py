"""The shell around the VRRP machines, with real sockets on the loopback interface."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from support.waiting import until

from lvskeeper.daemon.router_spec import InstanceConfig
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.kernel.vrrp_socket import Receiver, find_interface
from lvskeeper.observe.events import Event
from lvskeeper.observe.vrrp_events import RouterResumed, VrrpLate, VrrpStateChanged
from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Peer, Received, Rules

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

HERE, PEER = parse_address("127.0.0.1"), parse_address("127.0.0.9")
INTERVAL = 0.05


@dataclass
class Nothing:
    """Duties of a router that holds no addresses."""

    ticks: int = 0
    states: list[State] = field(default_factory=list)

    def hold(self, seat: Seat) -> None: ...

    def release(self, seat: Seat) -> None: ...

    def on_state(self, seat: Seat, change: fx.StateChanged) -> None:
        del seat
        self.states.append(change.new)

    def on_group(self, change: fx.GroupChanged) -> None: ...

    def on_effect(self, seat: Seat, effect: fx.Effect) -> None: ...

    def on_tick(self, now: float) -> None:
        del now
        self.ticks += 1


def config(vrid: int, interval: float = INTERVAL) -> InstanceConfig:
    key = InstanceKey("lo", 4, vrid)
    spec = InstanceSpec(key, f"VI_{vrid}", HERE, version=3, priority=200, interval=interval)
    return InstanceConfig(spec, Rules(3, vrid, interval, peers=(Peer(PEER),)))


@asynccontextmanager
async def router(
    *configs: InstanceConfig,
    emit: Callable[[Event], None],
    away: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[tuple[Shell, Nothing]]:
    duties = Nothing()
    shell = Shell(emit, duties, away)
    shell.begin(configs, (), {}, {})
    shell.start()
    try:
        yield shell, duties
    finally:
        shell.stop()


async def test_a_suspended_machine_comes_back_as_backup() -> None:
    events: list[Event] = []
    clock = {"away": 3.0}
    one = config(1)
    async with router(one, emit=events.append, away=lambda: clock["away"]) as (shell, duties):
        await until(lambda: shell.state(one.spec.key) is State.MASTER)
        clock["away"] += 61.5
        await until(lambda: duties.states.count(State.BACKUP) == 2)
        await until(lambda: shell.state(one.spec.key) is State.MASTER)

    assert [event for event in events if isinstance(event, RouterResumed)] == [
        RouterResumed("61.5 s")
    ]
    causes = [event.cause for event in events if isinstance(event, VrrpStateChanged)]
    assert causes[:3] == [
        "start",
        "no advert within the master-down time",
        "the machine was suspended",
    ]


async def test_no_line_is_told_before_the_last_advert_of_a_take_over() -> None:
    with Receiver(find_interface("lo"), 4, groups=()) as wire:
        sent: list[int] = []
        seen: set[int] = set()

        def emit(event: Event) -> None:
            for packet in wire.drain():
                if isinstance(packet, Received) and packet.destination == PEER:
                    seen.add(packet.vrid)
            if isinstance(event, VrrpStateChanged) and event.new == "MASTER":
                sent.append(len(seen))

        configs = [config(vrid, interval=0.2) for vrid in range(1, 101)]
        async with router(*configs, emit=emit) as (shell, _):
            await until(lambda: len(sent) == 100)
            assert all(shell.state(one.spec.key) is State.MASTER for one in configs)

    assert sent[0] == 100, "adverts that had left when the first take-over was told"


async def test_a_master_whose_loop_stood_still_says_so_and_goes_on() -> None:
    events: list[Event] = []
    one = config(1)
    async with router(one, emit=events.append) as (shell, _):
        await until(lambda: shell.state(one.spec.key) is State.MASTER)
        # On a busy machine it may have been late before
        before = shell.seats[one.spec.key].counters.late
        events.clear()
        time.sleep(8 * INTERVAL)  # noqa: ASYNC251 - this is the stall
        await until(lambda: any(isinstance(event, VrrpLate) for event in events))
        sent = shell.seats[one.spec.key].counters.sent
        await until(lambda: shell.seats[one.spec.key].counters.sent > sent + 2)
        assert shell.state(one.spec.key) is State.MASTER

    late = next(event for event in events if isinstance(event, VrrpLate))
    assert (late.instance, late.state, late.count) == ("VI_1", "MASTER", before + 1)


async def test_a_stopped_router_has_told_everything() -> None:
    events: list[Event] = []
    configs = [config(vrid) for vrid in range(1, 61)]
    async with router(*configs, emit=events.append) as (shell, duties):
        await until(lambda: all(shell.state(one.spec.key) is State.MASTER for one in configs))

    ended = [event for event in events if isinstance(event, VrrpStateChanged)]
    assert len([event for event in ended if event.cause == "stop"]) == 60
    assert duties.ticks > 0
