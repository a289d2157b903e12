"""Our checks of a farm in a process of its own: the director's loop of them, without its table.

It prints as JSON what the checks cost, how many there were and how many failed, and how long others
waited for a turn of the loop meanwhile.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Final

from lvskeeper.daemon.director import SWITCH_INTERVAL
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.health.pool import Pool, PoolEffect, ProbeFailed, Server, ServerDown
from lvskeeper.health.spec import CheckKind, CheckSpec, QuorumSpec, Url
from lvskeeper.ipvs.types import DestKey
from lvskeeper.units import parse_address

PER_SERVICE: Final = 20
PORT: Final = 8080
TURN: Final = 0.01
"""Seconds between two looks at the loop's clock."""


def address(number: int) -> str:
    """Return the address of a real server, all of which are of one host."""
    return f"10.1.{number >> 8}.{number & 255}"


def farm(kind: CheckKind, servers: int, delay_loop: float) -> dict[str, Pool[DestKey]]:
    """Return the virtual servers."""
    pools = {}
    now = asyncio.get_running_loop().time()
    for first in range(0, servers, PER_SERVICE):
        members = []
        for number in range(first, min(first + PER_SERVICE, servers)):
            where = parse_address(address(number))
            spec = CheckSpec(kind, where, PORT, 3.0, delay_loop, 2, 1.0)
            if kind is CheckKind.HTTP:
                spec = CheckSpec(kind, where, PORT, 3.0, delay_loop, 2, 1.0, urls=(Url("/"),))
            members.append(Server(DestKey(where, PORT), 1, (spec,)))
        pools[str(first)] = Pool(members, QuorumSpec(), now)
        pools[str(first)].start()
    return pools


async def measure(kind: CheckKind, servers: int, delay_loop: float, seconds: float) -> object:
    """Return what is found in so many seconds, after a start and a whole interval."""
    failures: list[PoolEffect[DestKey]] = []

    def on_effects(_: str, effects: list[PoolEffect[DestKey]]) -> None:
        failures.extend(each for each in effects if isinstance(each, ServerDown | ProbeFailed))

    loop = HealthLoop(on_effects, lambda *_: None, lambda _: None)
    with_gc = gc.isenabled()
    gc.disable()
    await loop.replace(farm(kind, servers, delay_loop))
    gc.freeze()
    if with_gc:
        gc.enable()
    await asyncio.sleep(3 * delay_loop)
    late: list[float] = []
    before, cpu, started = loop.tally.kinds[kind].good, time.process_time(), time.monotonic()
    while (now := time.monotonic()) < started + seconds:
        await asyncio.sleep(TURN)
        late.append(time.monotonic() - now - TURN)
    cpu, took = time.process_time() - cpu, time.monotonic() - started
    made = loop.tally.kinds[kind].good - before
    late.sort()
    await loop.close()
    return {
        "cpu": cpu, "made": made, "seconds": took, "failures": len(failures),
        "wait": late[int(0.99 * len(late))], "longest": late[-1],
    }  # fmt: skip


def main() -> None:
    """Measure what the command line says: kind, servers, seconds of an interval, and in all."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    kind, servers, delay_loop, seconds = sys.argv[1:]
    found = measure(CheckKind(kind), int(servers), float(delay_loop), float(seconds))
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
