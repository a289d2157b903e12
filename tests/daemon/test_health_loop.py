"""The loop of checks: a file that changes makes its checks due, also while they run."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from lvskeeper.daemon.health import HealthLoop
from lvskeeper.health.pool import Pool, PoolEffect, Server, WeightChanged
from lvskeeper.health.spec import CheckKind, CheckSpec, FileNumber, QuorumSpec
from lvskeeper.ipvs.types import DestKey
from lvskeeper.units import parse_address

ADDRESS = parse_address("192.0.2.1")
KEY = DestKey(ADDRESS, 80)


@pytest.mark.asyncio
async def test_no_change_of_a_file_is_missed(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    check = CheckSpec(CheckKind.FILE, ADDRESS, 80, delay_loop=0.01, file=FileNumber(str(number)))
    pool = Pool([Server(KEY, 5, (check,))], QuorumSpec(), asyncio.get_running_loop().time())
    pool.start()
    told: list[PoolEffect[DestKey]] = []
    loop = HealthLoop(lambda _, effects: told.extend(effects), lambda *_: None, lambda _: None)
    loop.replace({"web": pool})
    (check_id,) = pool.checkers

    async def until(condition: Callable[[], object]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"it did not come about; told: {told}")

    async def until_weight(weight: int) -> None:
        await until(lambda: pool.serving().servers[0].weight == weight)

    await until_weight(5)
    await until(lambda: pool.checkers[check_id].last)
    # From now on only news of the file can bring it forward.
    slow = Pool(
        [Server(KEY, 5, (CheckSpec(CheckKind.FILE, ADDRESS, 80, delay_loop=60, file=check.file),))],
        QuorumSpec(),
        asyncio.get_running_loop().time(),
    )
    slow.carry(pool)
    pool = slow
    loop.replace({"web": pool})
    for value in (3, 7, 0, 2):
        number.write_text(str(value))
        await until_weight(5 + value)
    await until(lambda: not pool.checkers[check_id].in_flight)
    # The probe has looked, its result is on its way, and the number changes again.
    loop._schedule.remove(("web", check_id))
    loop._on_file(str(number))
    assert ("web", check_id) in loop._again
    pool.on_start(check_id, asyncio.get_running_loop().time())
    loop._on_result(("web", check_id), await loop._files.probe(check))
    assert not loop._again
    assert loop._schedule.next_due() <= asyncio.get_running_loop().time()
    await loop.close()
    assert all(isinstance(effect, WeightChanged) for effect in told)
