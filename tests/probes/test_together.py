"""Pool, schedule and runner joined as the director joins them, against servers that come and go."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from support.http_servers import answer, http, serving, tcp

from lvskeeper.health.pool import (
    CheckId,
    Pool,
    PoolEffect,
    ProbeFailed,
    QuorumGained,
    QuorumLost,
    QuorumPresent,
    Server,
    ServerDown,
    ServerUp,
)
from lvskeeper.health.schedule import Wheel
from lvskeeper.health.spec import Phase, ProbeResult, QuorumSpec
from lvskeeper.probes.runner import ProbeRunner

pytestmark = pytest.mark.asyncio


class Watch:
    """The least director: starts probes when they are due, and collects effects."""

    def __init__(self, pool: Pool[str]) -> None:
        self.pool = pool
        self.effects: list[PoolEffect[str]] = pool.start()
        self._schedule = Wheel[CheckId[str]]()
        self._runner = ProbeRunner[CheckId[str]](self._on_result)
        for check_id, checker in pool.checkers.items():
            self._schedule.add(check_id, checker.due)

    def _on_result(self, check_id: CheckId[str], result: ProbeResult) -> None:
        self.effects += self.pool.on_result(check_id, result, asyncio.get_running_loop().time())
        self._schedule.add(check_id, self.pool.checkers[check_id].due)

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    for check_id in self._schedule.pop_due(loop.time(), 100):
                        self.pool.on_start(check_id, loop.time())
                        self._runner.start(check_id, self.pool.checkers[check_id].spec)
                    await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self._runner.close()


async def test_a_server_that_stops_leaves_and_one_that_starts_returns() -> None:
    page = answer(b"HTTP/1.0 200 OK\r\n\r\n")
    async with contextlib.AsyncExitStack() as second, serving(page) as first_port:
        port = await second.enter_async_context(serving(page))
        checks = [
            replace(spec, delay_loop=0.1, delay_before_retry=0.05)
            for spec in (http(first_port), tcp(port))
        ]
        pool = Pool(
            [Server(name, 1, (check,)) for name, check in zip("ab", checks, strict=True)],
            QuorumSpec(2),
            asyncio.get_running_loop().time(),
        )
        watch = Watch(pool)
        await watch.run(0.6)
        assert watch.effects == [QuorumPresent(2, 2)]
        assert {c.state.value for c in pool.checkers.values()} == {"up"}

        watch.effects.clear()
        await second.aclose()
        await watch.run(0.8)
        failed, down, lost = watch.effects
        assert isinstance(failed, ProbeFailed)
        assert (failed.attempt, failed.attempts) == (1, 2)
        assert isinstance(down, ServerDown)
        assert (down.key, down.result.phase, down.attempts) == ("b", Phase.CONNECT, 2)
        assert lost == QuorumLost(1, 2)

        watch.effects.clear()
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
        async with server:
            await watch.run(0.8)
        up, gained = watch.effects[:2]
        assert isinstance(up, ServerUp)
        assert up.key == "b"
        assert gained == QuorumGained(2, 2)
        await watch.close()
