"""The loop of checks: what asks the same is one probe, and nothing comes all at once."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.http_servers import answer, blackhole, http, serving, tcp

from lvskeeper.daemon import health
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.health.checker import State
from lvskeeper.health.pool import (
    CheckUnknown,
    Pool,
    PoolEffect,
    Server,
    ServerDown,
    WeightChanged,
)
from lvskeeper.health.schedule import TICKS
from lvskeeper.health.spec import (
    CheckKind,
    CheckSpec,
    FileNumber,
    Phase,
    ProbeResult,
    QuorumSpec,
)
from lvskeeper.ipvs.types import DestKey
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio

ADDRESS = parse_address("192.0.2.1")
KEY = DestKey(ADDRESS, 80)

Told = list[tuple[str, PoolEffect[DestKey]]]


def pool_of(*checks: CheckSpec, weight: int = 1) -> Pool[DestKey]:
    """Return a pool that has begun, with a server for each check."""
    servers = [
        Server(DestKey(ADDRESS, number), weight, (check,)) for number, check in enumerate(checks)
    ]
    pool = Pool(servers, QuorumSpec(), asyncio.get_running_loop().time())
    pool.start()
    return pool


def carried(old: Pool[DestKey], *checks: CheckSpec) -> Pool[DestKey]:
    """Return what a reload makes of a pool."""
    now = asyncio.get_running_loop().time()
    servers = [Server(DestKey(ADDRESS, number), 1, (check,)) for number, check in enumerate(checks)]
    pool = Pool(servers, QuorumSpec(), now)
    pool.carry(old)
    return pool


@asynccontextmanager
async def running() -> AsyncIterator[tuple[HealthLoop, Told]]:
    """Run a loop; yield it, and what it tells."""
    told: Told = []
    loop = HealthLoop(
        lambda name, effects: told.extend((name, effect) for effect in effects),
        lambda *_: None,
        lambda _: None,
    )
    yield loop, told
    await loop.close()


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


def counting() -> tuple[list[float], Callable[..., Awaitable[None]]]:
    """Return the times at which somebody came, and the handler that notes them."""
    times: list[float] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        await answer(b"HTTP/1.0 200 OK\r\n\r\n")(reader, writer)

    return times, handle


async def test_who_asks_the_same_shares_one_probe() -> None:
    times, handle = counting()
    async with serving(handle) as port, running() as (loop, told):
        check = replace(http(port), delay_loop=0.2)
        pools = {str(number): pool_of(check) for number in range(20)}
        pools["alpha"] = pool_of(replace(check, alpha=True))
        pools["slower"] = pool_of(replace(check, delay_loop=0.4))
        await loop.replace(pools)
        checkers = [one for pool in pools.values() for one in pool.checkers.values()]
        await until(lambda: all(one.state is State.UP for one in checkers))
        before = len(times)
        await asyncio.sleep(1)
        # Five of those who ask every 0.2 s, and two or three of the one who asks every 0.4 s.
        assert 5 <= len(times) - before <= 10
        results = {id(one.last) for name, pool in pools.items() if name != "slower"
                   for one in pool.checkers.values()}  # fmt: skip
        assert len(results) == 1
    assert {name for name, _ in told} == {"alpha"}


async def test_a_shared_failure_takes_down_the_server_of_each() -> None:
    async with serving(answer(b"HTTP/1.0 503 Busy\r\n\r\n")) as port, running() as (loop, told):
        await loop.replace({name: pool_of(replace(http(port), delay_loop=30)) for name in "ab"})
        await until(lambda: len(told) == 4)
        downs = [(name, effect) for name, effect in told if isinstance(effect, ServerDown)]
    assert [name for name, _ in downs] == ["a", "b"]
    assert downs[0][1].result is downs[1][1].result
    assert downs[0][1].result.detail == "status 503, wanted 200-299"


async def test_a_reload_takes_a_probe_on_its_way_along() -> None:
    with blackhole() as hole:
        slow = replace(tcp(hole, limit=0.5), delay_loop=60, retry=0)
        async with running() as (loop, told):
            first, second = pool_of(slow), pool_of(slow)
            await loop.replace({"a": first, "b": second})
            await until(lambda: all(one.in_flight for one in first.checkers.values()))
            # Another rhythm for one of them; the other one leaves.
            faster = carried(first, replace(slow, delay_loop=0.7))
            await loop.replace({"a": faster})
            assert loop._runner.running == 1
            await until(lambda: told)
            (checker,) = faster.checkers.values()
            assert checker.state is State.DOWN
            await until(lambda: checker.in_flight)  # it goes on in its new rhythm
            await loop.replace({})
            assert loop._runner.running == 0
    assert {name for name, _ in told} == {"a"}


async def test_who_comes_while_a_probe_runs_shares_it() -> None:
    with blackhole() as hole:
        slow = replace(tcp(hole, limit=1.5), delay_loop=60, retry=0)
        async with running() as (loop, told):
            first, second = pool_of(slow), pool_of(slow)
            await loop.replace({"a": first})
            await until(lambda: loop._runner.running)
            await loop.replace({"a": first, "b": second})
            (one,), (two,) = first.checkers.values(), second.checkers.values()
            await until(lambda: two.in_flight)
            assert loop._runner.running == 1
            await until(lambda: one.state is two.state is State.DOWN)
            assert one.last is two.last
    assert [name for name, effect in told if isinstance(effect, ServerDown)] == ["a", "b"]


@pytest.mark.parametrize(("delay_loop", "span"), [(2.0, 1.5), (1.0, 1.0), (60.0, 1.5)])
async def test_many_that_begin_at_once_are_no_herd(delay_loop: float, span: float) -> None:
    async with running() as (loop, _):
        now = asyncio.get_running_loop().time()
        spec = replace(tcp(1), delay_loop=delay_loop)
        # Each asks with a limit of its own, so that none shares its probe.
        pool = pool_of(*(replace(spec, connect_timeout=5 + n / 1000) for n in range(1500)))
        await loop.replace({"a": pool})
        dues = [checker.due - now for checker in pool.checkers.values()]
        tenths = Counter(int(due * 10) for due in dues)
        assert max(dues) - min(dues) < span + 0.01
        assert max(tenths.values()) < 2 * 1500 / (10 * span)


async def test_a_reload_that_asks_more_often_makes_no_herd() -> None:
    now = asyncio.get_running_loop().time()
    spec = replace(tcp(1), delay_loop=60.0)
    pool = pool_of(*(replace(spec, connect_timeout=5 + n / 1000) for n in range(1500)))
    for number, check_id in enumerate(pool.checkers):
        for started in (now - 60 - number / 25, now - number / 25):
            pool.on_start(check_id, started)
            pool.on_result(check_id, ProbeResult(Phase.DONE), started)
    often = carried(pool, *(replace(one.spec, delay_loop=2.0) for one in pool.checkers.values()))
    dues = [max(checker.due, now) - now for checker in often.checkers.values()]
    tenths = Counter(int(due * 10) for due in dues)
    assert max(dues) < 3
    assert max(tenths.values()) < 2 * 1500 / 20


async def test_many_that_rested_make_no_herd_when_they_go_on() -> None:
    async with running() as (loop, _):
        spec = replace(tcp(1), delay_loop=60.0)
        pool = pool_of(*(replace(spec, connect_timeout=5 + n / 1000) for n in range(3000)))
        loop.rest(frozenset("a"))
        await loop.replace({"a": pool})
        now = asyncio.get_running_loop().time()
        for check_id in pool.checkers:
            pool.on_start(check_id, now - 100)
            pool.on_result(check_id, ProbeResult(Phase.DONE), now - 100)
        loop.rest(frozenset())
        tenths = Counter(int((tick / TICKS - now) * 10) for tick in loop._wheel._ticks.values())
        assert tenths.total() == 3000
        assert max(tenths.values()) < 2 * 100
        pool = carried(pool, *(one.spec for one in pool.checkers.values()))
        dues = [checker.due for checker in pool.checkers.values()]
    assert sum(due < now + 1 for due in dues) < 2 * 1000


async def test_who_goes_on_does_not_put_off_the_probe_of_others() -> None:
    async with running() as (loop, _):
        spec = replace(tcp(1), delay_loop=60.0)
        pools = {name: pool_of(*(replace(spec, port=1 + n) for n in range(20))) for name in "ab"}
        loop.rest(frozenset("a"))
        await loop.replace(pools)
        before = dict(loop._wheel._ticks)
        time.sleep(0.05)  # noqa: ASYNC251 - so that none of them is started meanwhile
        loop.rest(frozenset())
        after = loop._wheel._ticks
        assert all(after[target] <= tick for target, tick in before.items())


async def test_after_a_stall_no_turn_starts_more_than_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MAX_STARTS", 3)
    turns: Counter[float] = Counter()
    async with serving(answer(b"")) as port, running() as (loop, _):
        pool = pool_of(*(tcp(port, limit=5 + n / 10) for n in range(20)))
        start = loop._runner.start

        def noted(probe: health.Probe, spec: CheckSpec) -> None:
            turns[loop._last_tick] += 1
            start(probe, spec)

        monkeypatch.setattr(loop._runner, "start", noted)
        await loop.replace({"a": pool})
        time.sleep(1.1)  # noqa: ASYNC251 - this is the stall
        await until(lambda: all(one.last for one in pool.checkers.values()))
    assert turns.total() == 20
    assert max(turns.values()) <= 3


async def test_a_check_that_finds_out_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_INTERVAL", 0.05)
    async with running() as (loop, told):
        # Nobody makes the probe: the file is not watched any more.
        file = FileNumber("/proc/self/none")
        spec = CheckSpec(
            CheckKind.FILE, ADDRESS, 80, delay_loop=0.1, connect_timeout=0.1, file=file
        )
        pool = pool_of(spec)
        await loop.replace({"a": pool})
        assert loop._files is not None
        loop._files.follow([])
        await until(lambda: any(isinstance(effect, CheckUnknown) for _, effect in told))
    (checker,) = pool.checkers.values()
    assert (checker.state, checker.up) == (State.UNKNOWN, True)


async def test_a_look_at_checks_that_share_a_probe_is_short_and_passes_over_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(health, "MAX_LOOKS", 4)
    looks: Counter[float] = Counter()
    names: set[str] = set()

    def note(name: str, effects: list[PoolEffect[DestKey]]) -> None:
        if any(isinstance(effect, CheckUnknown) for effect in effects):
            looks[loop._looking.when()] += 1
            names.add(name)

    loop = HealthLoop(note, lambda *_: None, lambda _: None)
    file = FileNumber("/proc/self/none")
    spec = CheckSpec(CheckKind.FILE, ADDRESS, 80, delay_loop=0.1, connect_timeout=0.1, file=file)
    pools = {str(number): pool_of(spec) for number in range(30)}
    await loop.replace(pools)
    assert loop._files is not None
    loop._files.follow([])  # nobody makes the probe
    await until(lambda: names == pools.keys())
    await loop.close()
    assert max(looks.values()) == 4


async def test_no_change_of_a_file_is_missed(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    check = CheckSpec(CheckKind.FILE, ADDRESS, 80, delay_loop=0.01, file=FileNumber(str(number)))
    async with running() as (loop, told):
        pool = pool_of(check, weight=5)
        await loop.replace({"web": pool})
        (check_id,) = pool.checkers

        async def until_weight(weight: int) -> None:
            await until(lambda: pool.serving().servers[0].weight == weight)

        await until_weight(5)
        await until(lambda: pool.checkers[check_id].last)
        # From now on only news of the file can bring it forward.
        slow = Pool(
            [Server(check_id.key, 5, (replace(check, delay_loop=60),))],
            QuorumSpec(),
            asyncio.get_running_loop().time(),
        )
        slow.carry(pool)
        pool = slow
        await loop.replace({"web": pool})
        for value in (3, 7, 0, 2):
            number.write_text(str(value))
            await until_weight(5 + value)
        await until(lambda: not pool.checkers[check_id].in_flight)
        # The probe has looked, its result is on its way, and the number changes again.
        (target,) = loop._targets.values()
        loop._start(target, asyncio.get_running_loop().time())
        loop._wheel.remove(target)
        loop._on_file(str(number))
        assert target in loop._again
        await until(lambda: not loop._again)
        await until(lambda: target in loop._wheel)
    assert all(isinstance(effect, WeightChanged) for _, effect in told)


async def test_a_file_that_changes_amid_the_close_is_nobodys_business(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    spec = CheckSpec(CheckKind.FILE, ADDRESS, 80, delay_loop=0.3, file=FileNumber(str(number)))
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    async with running() as (loop, _):
        pool = pool_of(spec)
        await loop.replace({"web": pool})
        (checker,) = pool.checkers.values()
        await until(lambda: checker.last)

        async def slow() -> None:
            number.write_text("5")
            await asyncio.sleep(0.1)  # scripts take their time to end

        monkeypatch.setattr(loop._scripts, "close", slow)
    assert bugs == []


async def test_checks_rest_where_nobody_else_asks_and_go_on_afterwards() -> None:
    times, handle = counting()
    async with serving(handle) as port, running() as (loop, told):
        check = replace(http(port), delay_loop=0.1)
        pools = {"a": pool_of(check), "b": pool_of(check)}
        await loop.replace(pools)
        ((first,),) = (pools["a"].checkers.values(),)
        await until(lambda: first.last)
        loop.rest(frozenset("a"))
        await until(lambda: not first.in_flight)
        last, count = first.last, len(times)
        await until(lambda: len(times) > count + 3)  # the other one is asked still
        assert first.last is last
        loop.rest(frozenset("ab"))
        await until(lambda: not loop._runner.running)
        count = len(times)
        await asyncio.sleep(0.3)
        assert len(times) == count
        loop.rest(frozenset())
        await until(lambda: first.last is not last)
    assert told == []


async def test_reloads_in_a_row_do_not_put_the_first_probe_off() -> None:
    times, handle = counting()
    async with serving(handle) as port, running() as (loop, _):
        check = replace(http(port), delay_loop=1.0)
        pool = pool_of(check)
        began = time.monotonic()
        while not times:
            await loop.replace({"a": pool})
            pool = carried(pool, check)
            await asyncio.sleep(0.05)
            assert time.monotonic() < began + 5, "its first probe never comes"


async def test_a_probe_that_is_due_while_a_reload_is_under_way_just_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Long:
        """Others have their turn at each step."""

        async def taken(self) -> None:
            await asyncio.sleep(0.002)

    times, handle = counting()
    async with serving(handle) as port, running() as (loop, _):
        checks = [replace(http(port), port=port, delay_loop=0.05 + n / 1000) for n in range(20)]
        with monkeypatch.context() as patched:
            patched.setattr(health, "Breath", Long)
            pools = {str(number): pool_of(check) for number, check in enumerate(checks)}
            await loop.replace({"0": pools["0"]})
            await loop.replace(pools)
        await until(lambda: len(times) > 20)


async def test_a_probe_that_starts_amid_a_reload_is_not_the_last_of_a_check_with_a_new_rhythm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await answer(b"HTTP/1.0 200 OK\r\n\r\n")(reader, writer)

    async with serving(handle) as port, running() as (loop, _):
        check = replace(http(port), delay_loop=0.25)
        pools = {"a": pool_of(check), "b": pool_of(check)}
        await loop.replace(pools)
        (first,) = pools["b"].checkers.values()
        await until(lambda: first.last)

        class UntilItRuns:
            """The reload takes as long as it takes the next probe to begin."""

            async def taken(self) -> None:
                await until(lambda: loop._runner.running)

        pools = {"b": carried(pools["b"], replace(check, delay_loop=0.2)), "a": pools["a"]}
        with monkeypatch.context() as patched:
            patched.setattr(health, "Breath", UntilItRuns)
            await loop.replace(pools)
        (second,) = pools["b"].checkers.values()
        assert second.in_flight
        await until(lambda: not second.in_flight)
        last = second.last
        await until(lambda: second.last is not last)
        assert {target.spec.delay_loop for target in loop._targets.values()} == {0.2, 0.25}
        assert all(target in loop._wheel or target.probe for target in loop._targets.values())
        assert len(loop._wheel) + loop._runner.running <= len(loop._targets)


async def test_probes_are_counted_once_and_kept_for_a_recording() -> None:
    busy = b"HTTP/1.0 503 Busy\r\n\r\n"
    async with serving(answer(busy)) as port, running() as (loop, _):
        # The same check of two virtual servers is one probe
        await loop.replace({name: pool_of(replace(http(port), delay_loop=30)) for name in "ab"})
        await until(lambda: loop.tally.kinds)
        tally = loop.tally.kinds[CheckKind.HTTP]
        flight = await loop.flight()
    assert (tally.good, tally.bad, tally.broken) == (0, 1, 0)
    (probe,) = flight.latest
    assert flight.bad == (probe,)
    assert (probe.ok, probe.phase) == (False, "status")
    assert probe.check.startswith("HTTP_GET ")
    assert "503" in probe.detail
