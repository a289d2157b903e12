"""Benchmark of what 5,000 services cost the director's loop: how long others wait for a turn.

FULLNAT, SYN cookies and all defences, in a network namespace of this host, with SCHED_RR so that
other load of the machine does not count.
"""

import asyncio
import contextlib
import gc
import os
import sys
import time
from collections.abc import Coroutine, Iterator
from typing import Final

from bench.measure import Bound
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.director import SWITCH_INTERVAL
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    SynProxySpec,
    TcpDefence,
    VirtualServerSpec,
)
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.units import parse_address

SERVICES: Final = 5_000
MORE: Final = 100
"""Services that a reload brings."""
LIMIT: Final = 0.02
"""Seconds; the aim of the house is half of it."""
TURN: Final = 0.001
SHARE: Final = 0.995
"""Of the turns that are to be within the limit; a virtual machine stands still now and then."""


def key(number: int) -> ServiceKey:
    """Return the key of a service."""
    address = parse_address(f"198.18.{number >> 8}.{number & 255}")
    return ServiceKey(Family.INET, Protocol.TCP, address, 80)


def spec(services: int) -> DirectorSpec:
    """Return the configuration of so many services."""
    server = RealServerSpec(parse_address("10.1.1.2"), 80, Forward.FULLNAT)
    defence = DefenceSpec(TcpDefence.VIP, udp=True, fragments=True)
    lips = tuple(LocalAddressSpec(parse_address(f"10.0.0.{number}")) for number in (9, 10))
    return DirectorSpec(
        virtual_servers=tuple(
            VirtualServerSpec(
                str(item), (item,), "rr", (server,), pool="lips",
                syn_proxy=SynProxySpec(), defence=defence,
            )
            for item in map(key, range(services))
        ),
        pools=(PoolSpec("lips", lips),),
    )  # fmt: skip


async def waits(work: Coroutine[None, None, None]) -> list[float]:
    """Return how late each turn of the loop was while *work* was done, in seconds."""
    late = []

    async def turn() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(TURN)
            late.append(time.perf_counter() - started - TURN)

    turning = asyncio.create_task(turn())
    await asyncio.sleep(TURN)
    await work
    turning.cancel()
    return late


async def measure() -> list[tuple[str, list[float]]]:
    """Return what was done, and how late the turns were."""
    keeper = FullnatKeeper(lambda _: None)
    few, many = spec(SERVICES), spec(SERVICES + MORE)
    served = {item for virtual in many.virtual_servers for item in virtual.keys}

    async def load(configuration: DirectorSpec) -> None:
        await keeper.prepare(configuration)
        gc.freeze()  # as the director does after each
        await keeper.settle(configuration, served)
        gc.freeze()

    found = [("start", await waits(load(few)))]
    found.append((f"reload with {MORE} more", await waits(load(many))))
    run("nft add table inet other")
    found.append(("a foreign change", await waits(keeper.check_drift())))
    run("nft delete table inet lvskeeper")
    found.append(("repair", await waits(keeper.check_drift())))
    half = frozenset(sorted(served)[::2])
    found.append(("half lose their servers", await waits(keeper.withdraw(half))))
    found.append(("half get them back", await waits(keeper.admit(half))))
    keeper.close()
    return found


@contextlib.contextmanager
def real_time() -> Iterator[None]:
    """Run this process, and what it starts meanwhile, before all others."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main() -> None:
    """Print the rows: the longest wait but for the rare ones, and the longest of all."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    with empty_namespace(), real_time():
        found = asyncio.run(measure())
    for what, late in found:
        late.sort()
        usual = late[int(SHARE * (len(late) - 1))]
        print(Bound("N2", f"loop waits: {what}", usual, late[-1], LIMIT, "the longest"), flush=True)


if __name__ == "__main__":
    main()
