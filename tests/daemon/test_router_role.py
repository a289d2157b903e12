"""The router role at the end of a channel, with an instance on the loopback interface."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from support.fullnat_net import empty_namespace, run
from support.waiting import until

from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Channel,
    DirectorBeat,
    FromRole,
    Report,
    Stop,
    Stopped,
    SyncRole,
)
from lvskeeper.daemon.compare_router import compare_router
from lvskeeper.daemon.plan_change import Change
from lvskeeper.daemon.router import RouterRole
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.fullnat.hold import Hold
from lvskeeper.fullnat.ruleset import Ruleset, render
from lvskeeper.observe.events import Event
from lvskeeper.observe.vrrp_events import VrrpReport, VrrpStateChanged
from lvskeeper.units import parse_address
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Peer, Rules

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

HERE, PEER = parse_address("127.0.0.1"), parse_address("127.0.0.9")


def config(vrid: int, *addresses: HeldAddress) -> InstanceConfig:
    key = InstanceKey("lo", 4, vrid)
    spec = InstanceSpec(key, f"VI_{vrid}", HERE, version=3, priority=200, interval=0.05)
    return InstanceConfig(spec, Rules(3, vrid, 0.05, peers=(Peer(PEER),)), addresses=addresses)


class Boss:
    """What the supervisor is to the role."""

    def __init__(self, channel: Channel, role: RouterRole, masters: asyncio.Semaphore) -> None:
        self._channel = channel
        self.role = role
        self.masters = masters
        """Counts the transitions to MASTER."""
        self.told: list[Event] = []
        self._decoder: msgspec.json.Decoder[FromRole] = msgspec.json.Decoder(FromRole)

    async def apply(self, generation: int, spec: RouterSpec) -> list[FromRole]:
        """Let the role have *spec*; return what it said from then on, its answer the last."""
        await self._channel.send(Apply(generation, msgspec.Raw(msgspec.json.encode(spec))))
        return await self.hear(Applied(generation, instances=len(spec.instances)))

    async def hear(self, last: FromRole) -> list[FromRole]:
        heard: list[FromRole] = []
        async with asyncio.timeout(10):
            while last not in heard:
                message = await self._channel.receive(self._decoder)
                assert message is not None
                heard.append(message)
        return heard

    async def report(self) -> list[VrrpReport]:
        """Ask how all instances are; return what is told of them."""
        await self._channel.send(Report())
        await until(lambda: any(isinstance(one, VrrpReport) for one in self.told))
        return [one for one in self.told if isinstance(one, VrrpReport)]

    async def stop(self) -> None:
        await self._channel.send(Stop(remove=True))
        await self.hear(Stopped())


@asynccontextmanager
async def role(run_dir: Path) -> AsyncIterator[Boss]:
    ours, theirs = socket.socketpair()
    masters = asyncio.Semaphore(0)

    def emit(event: Event) -> None:
        boss.told.append(event)
        if isinstance(event, VrrpStateChanged) and event.new == "MASTER":
            masters.release()

    made = RouterRole(await Channel.connect(theirs), run_dir, emit)
    boss = Boss(await Channel.connect(ours), made, masters)
    task = asyncio.create_task(made.run())
    try:
        yield boss
        await boss.stop()
    finally:
        await asyncio.wait({task}, timeout=10)
        assert task.done()


async def test_a_reload_tells_the_state_of_the_instance_that_is_followed_from_then_on(
    tmp_path: Path,
) -> None:
    instances = (config(1), config(2))
    async with role(tmp_path) as boss:
        await boss.apply(1, RouterSpec(instances=instances))
        await asyncio.wait_for(boss.masters.acquire(), 10)
        await asyncio.wait_for(boss.masters.acquire(), 10)
        heard = await boss.apply(2, RouterSpec(instances=instances, sync_instance="VI_2"))
        told = SyncRole(master=True)
        assert told in heard or told in await boss.hear(told)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_packets_are_held_from_a_take_over_on_and_not_when_an_address_comes_back(
    tmp_path: Path, seconds: float
) -> None:
    def held() -> int:
        return run("nft list set inet lvskeeper hold").count("expires")

    vip = HeldAddress(parse_address("198.51.100.9"), 32, "lo")
    ruleset = Ruleset(hold=Hold(frozenset({vip.address})))
    with empty_namespace():
        run("nft -f -", data=render(ruleset))
        async with role(tmp_path) as boss:
            await boss.apply(1, RouterSpec(instances=(config(1, vip),), hold=seconds))
            await asyncio.wait_for(boss.masters.acquire(), 10)
            assert held() == (2 if seconds else 0)
            run("nft flush set inet lvskeeper hold; ip addr del 198.51.100.9/32 dev lo")
            await until(lambda: "198.51.100.9" in run("ip addr"))
            assert held() == 0


def here() -> set[str]:
    """Return the addresses that are here beside those of the machine."""
    shown = run("ip -o -4 addr show dev lo").splitlines()
    return {line.split()[3] for line in shown} - {"127.0.0.1/8"}


def has(wanted: set[str]) -> bool:
    return here() == wanted


def vip(last: int, prefix: int = 32) -> HeldAddress:
    return HeldAddress(parse_address(f"198.51.100.{last}"), prefix, "lo")


def named(changes: list[Change], verb: str) -> set[str]:
    """Return the addresses that a plan adds or deletes."""
    return {
        word
        for one in changes
        if one.area == "addresses" and one.what.startswith(verb) and not one.waiting
        for word in one.what.split()
        if word.startswith("198.51.100.")
    }


async def test_an_instance_that_waits_to_begin_is_reported_too(tmp_path: Path) -> None:
    with empty_namespace():
        run("ip link set lo up")
        async with role(tmp_path) as boss:
            await boss.apply(1, RouterSpec(instances=(config(1),), startup_delay=60.0))
            (told,) = await boss.report()
            assert (told.why, told.since) == ("INIT: not started", "")


async def test_reloads_do_not_put_off_the_first_start_again_and_again(tmp_path: Path) -> None:
    spec = RouterSpec(instances=(config(1),), startup_delay=0.5)
    with empty_namespace():
        run("ip link set lo up")
        async with role(tmp_path) as boss, asyncio.timeout(10):
            generation = 0
            while boss.masters.locked():
                generation += 1
                await boss.apply(generation, spec)
        assert generation > 1


async def test_a_director_that_nobody_waits_for_any_more_is_no_fault(tmp_path: Path) -> None:
    def states() -> list[str]:
        return [one.new for one in boss.told if isinstance(one, VrrpStateChanged)]

    with empty_namespace():
        run("ip link set lo up")
        async with role(tmp_path) as boss:
            await boss.apply(1, RouterSpec(instances=(config(1),), director_timeout=0.2))
            await until(lambda: states()[-1:] == ["FAULT"])
            # A reload that takes away the last virtual server takes the director away as well.
            await boss.apply(2, RouterSpec(instances=(config(1),)))
            await until(lambda: states()[-1:] == ["MASTER"])


async def test_a_director_that_is_heard_in_the_very_turn_of_its_fault_is_none(
    tmp_path: Path,
) -> None:
    with empty_namespace():
        run("ip link set lo up")
        async with role(tmp_path) as boss:
            await boss.apply(1, RouterSpec(instances=(config(1),), director_timeout=60.0))
            await asyncio.wait_for(boss.masters.acquire(), 10)
            now = asyncio.get_running_loop().time()
            boss.role.on_tick(now + 61)
            boss.role.on_tick(now + 62)
            boss.role._is_stop(DirectorBeat())
            (told,) = await boss.report()
            assert told.why.startswith("MASTER")


async def test_a_reload_does_with_addresses_what_the_plan_says(tmp_path: Path) -> None:
    """Each step goes on from the one before; the instance stays master unless the plan says so."""
    fast = replace(config(1, vip(1), vip(3)), ttl=200)
    quick = replace(fast, spec=replace(fast.spec, priority=150, down_timer_adverts=2))
    other = config(2, vip(1), vip(3))
    steps = [
        RouterSpec(instances=(config(1, vip(1), vip(2)),)),
        RouterSpec(instances=(config(1, vip(1), vip(3)),)),
        RouterSpec(instances=(fast,), static_addresses=(vip(9),)),
        RouterSpec(instances=(quick,), static_addresses=(vip(8),), fence=30.0),
        RouterSpec(instances=(other,)),
        RouterSpec(instances=(other, config(3, vip(5)))),
    ]
    with empty_namespace():
        run("ip link set lo up")
        async with role(tmp_path) as boss:
            await boss.apply(1, steps[0])
            await asyncio.wait_for(boss.masters.acquire(), 10)
            await until(lambda: here() == {"198.51.100.1/32", "198.51.100.2/32"})
            for number, (old, new) in enumerate(pairwise(steps), 2):
                told, before = compare_router(old, new), here()
                joins = [one for one in told if " joins" in one.what]
                await boss.apply(number, new)
                for _ in joins:
                    await asyncio.wait_for(boss.masters.acquire(), 10)
                wanted = {str(one).split()[0] for one in new.static_addresses}
                wanted |= {
                    str(one).split()[0] for config in new.instances for one in config.addresses
                }
                await until(partial(has, wanted))
                if not joins:
                    assert before - wanted == named(told, "delete ")
                    assert wanted - before == named(told, "add ")
                assert boss.masters.locked()
