import asyncio
import gc
from dataclasses import replace

import pytest
from support.http_servers import answer, blackhole, free_port, http, serving, tcp

from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult, ScriptRun, Tls, Url
from lvskeeper.probes import runner as runner_module
from lvskeeper.probes.runner import ProbeRunner

pytestmark = pytest.mark.asyncio


class Results:
    """Collects what a runner reports."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ProbeResult]] = []
        self._changed = asyncio.Event()

    def __call__(self, probe_id: str, result: ProbeResult) -> None:
        self.all.append((probe_id, result))
        self._changed.set()

    @property
    def phases(self) -> dict[str, Phase]:
        return {probe_id: result.phase for probe_id, result in self.all}

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.all) < count:
                self._changed.clear()
                await self._changed.wait()


async def test_each_probe_reports_once() -> None:
    results = Results()
    runner = ProbeRunner[str](results)
    async with serving(answer(b"HTTP/1.0 200 OK\r\n\r\n")) as port:
        runner.start("tcp", tcp(port))
        runner.start("http", http(port, Url()))
        runner.start("nobody", tcp(free_port()))
        assert runner.running == 3
        await results.wait_for(3)
        await runner.close()
    assert results.phases == {"tcp": Phase.DONE, "http": Phase.DONE, "nobody": Phase.CONNECT}
    assert len(results.all) == 3
    assert runner.running == 0


async def test_an_id_has_one_probe_at_a_time() -> None:
    results = Results()
    runner = ProbeRunner[str](results, limit=1)
    with blackhole() as hole:
        runner.start("a", tcp(hole))
        runner.start("b", tcp(hole))
        for each in "ab":
            with pytest.raises(ValueError, match=f"{each} has a probe already"):
                runner.start(each, tcp(hole))
        await runner.close()


async def test_the_limit_holds_and_those_that_wait_get_their_turn() -> None:
    results = Results()
    runner = ProbeRunner[str](results, limit=2)
    most = 0
    current = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, current
        current += 1
        most = max(most, current)
        await asyncio.sleep(0.02)
        current -= 1
        await answer(b"HTTP/1.0 200 OK\r\n\r\n")(reader, writer)

    async with serving(handle) as port:
        for number in range(8):
            runner.start(str(number), http(port))
        assert (runner.running, runner.waiting) == (2, 6)
        await results.wait_for(8)
        await runner.close()
    assert most == 2
    assert [probe_id for probe_id, _ in results.all] == sorted(results.phases)
    assert set(results.phases.values()) == {Phase.DONE}


async def test_a_cancelled_probe_says_nothing_and_frees_its_place() -> None:
    results = Results()
    runner = ProbeRunner[str](results, limit=1)
    with blackhole() as hole:
        async with serving(answer(b"")) as port:
            runner.start("running", tcp(hole))
            runner.start("waiting", tcp(hole))
            runner.start("last", tcp(port))
            await asyncio.sleep(0.01)
            runner.cancel("waiting")
            runner.cancel("running")
            runner.cancel("never there")
            await results.wait_for(1)
            runner.start("running", tcp(port))
            await results.wait_for(2)
            await runner.close()
    assert results.phases == {"last": Phase.DONE, "running": Phase.DONE}


async def test_a_restart_under_the_same_id_is_not_taken_for_the_cancelled_probe() -> None:
    results = Results()
    runner = ProbeRunner[str](results)
    with blackhole() as hole:
        async with serving(answer(b"")) as port:
            runner.start("a", tcp(hole))
            await asyncio.sleep(0)
            runner.cancel("a")
            runner.start("a", tcp(port))
            await results.wait_for(1)
            await asyncio.sleep(0.02)
            await runner.close()
    assert [result.ok for _, result in results.all] == [True]


async def test_a_bug_in_a_probe_becomes_a_result_of_its_own_kind() -> None:
    results = Results()
    runner = ProbeRunner[str](results)
    runner.start("a", replace(tcp(1), address=b"\x01\x02"))  # type: ignore[arg-type] # the bug
    await results.wait_for(1)
    await runner.close()
    [(_, result)] = results.all
    assert result.phase is Phase.INTERNAL
    assert result.detail.startswith("ValueError: ")


@pytest.mark.parametrize("fate", ["stuck", "cancelled"])
async def test_a_probe_that_is_stuck_or_cancelled_by_others_is_told(
    monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    async def odd(_spec: CheckSpec) -> ProbeResult:
        if fate == "cancelled":
            raise asyncio.CancelledError
        await asyncio.sleep(60)
        return ProbeResult(Phase.DONE)

    monkeypatch.setattr(runner_module, "GRACE", 0.05)
    results = Results()
    runner = ProbeRunner[str](results, others={CheckKind.FILE: odd})
    runner.start("a", replace(tcp(1, limit=0.05), kind=CheckKind.FILE))
    await results.wait_for(1)
    await runner.close()
    [(_, result)] = results.all
    assert result.phase is Phase.INTERNAL


async def test_close_drops_all_and_refuses_more() -> None:
    results = Results()
    runner = ProbeRunner[str](results, limit=3)
    with blackhole() as hole:
        for number in range(6):
            runner.start(str(number), http(hole) if number % 2 else tcp(hole))
        await asyncio.sleep(0.05)
        await runner.close()
        with pytest.raises(RuntimeError, match="closed"):
            runner.start("late", tcp(hole))
    await runner.close()
    assert results.all == []
    gc.collect()  # what is left open would warn here, and a warning is an error


async def test_an_error_in_the_callback_reaches_the_loop() -> None:
    seen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context))

    def broken(_probe_id: str, _result: ProbeResult) -> None:
        raise LookupError("a bug of the caller")

    runner = ProbeRunner[str](broken)
    runner.start("a", tcp(free_port()))
    await asyncio.sleep(0.05)
    await runner.close()
    assert [str(context["exception"]) for context in seen] == ["a bug of the caller"]


@pytest.mark.parametrize("kind", CheckKind)
async def test_every_kind_of_check_has_its_probe(kind: CheckKind) -> None:
    async def well(_: CheckSpec) -> ProbeResult:
        return ProbeResult(Phase.DONE)

    results = Results()
    runner = ProbeRunner[str](results, others={CheckKind.MISC: well, CheckKind.FILE: well})
    tls = Tls() if kind is CheckKind.SSL else None
    runner.start("a", replace(tcp(free_port(), limit=0.2), kind=kind, tls=tls))
    await results.wait_for(1)
    ((_, result),) = results.all
    assert "Error" not in result.detail  # the name of an exception, as of a bug
    await runner.close()


async def test_without_somebody_to_run_scripts_none_is_run() -> None:
    results = Results()
    runner = ProbeRunner[str](results)
    runner.start("script", replace(tcp(1), kind=CheckKind.MISC, script=ScriptRun(("/bin/true",))))
    await results.wait_for(1)
    ((_, result),) = results.all
    assert (result.phase, result.detail) == (Phase.INTERNAL, "nobody makes a MISC_CHECK here")
    await runner.close()


async def test_what_a_cancelled_probe_breaks_is_nobodys_business() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def breaking(_: CheckSpec) -> ProbeResult:
        try:
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("on the way out")

    runner = ProbeRunner[str](Results(), others={CheckKind.FILE: breaking})
    runner.start("a", replace(tcp(1), kind=CheckKind.FILE))
    await asyncio.sleep(0.01)
    runner.cancel("a")
    await runner.close()
    gc.collect()
    assert told == []
