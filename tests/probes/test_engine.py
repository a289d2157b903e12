"""The engine: whom it wakes, whose time is over, and in what order ends are told."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import final

import pytest
from support.http_servers import answer, blackhole, http, serving, tcp

from lvskeeper.health.spec import Phase, ProbeResult, Url
from lvskeeper.probes import engine as engine_module
from lvskeeper.probes.engine import READ, Engine, Flow
from lvskeeper.probes.runner import ProbeRunner

pytestmark = pytest.mark.asyncio


@final
class Listening(Flow):
    """Waits for a byte on a socket, or until its time is over."""

    __slots__ = ("_seconds", "_socket", "on_ready")

    def __init__(self, engine: Engine, key: str, sock: socket.SocketType, seconds: float) -> None:
        super().__init__(engine, key)
        self._socket = sock
        self._seconds = seconds
        self.on_ready: Callable[[], None] = lambda: self.end(Phase.DONE)

    def _begin(self) -> None:
        self._engine.limit(self, self._seconds)
        self._watch(self._socket, READ)

    def _ready(self, _: int) -> None:
        self._socket.recv(1)
        self.on_ready()


def pair() -> tuple[socket.socket, socket.socket]:
    one, two = socket.socketpair()
    one.setblocking(False)
    return one, two


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.002)


async def test_times_of_all_lengths_are_over_in_time_and_in_order() -> None:
    ended: list[tuple[object, float]] = []
    engine = Engine(lambda flow: ended.append((flow.key, time.monotonic())))
    begun = time.monotonic()
    others = []
    for number, seconds in enumerate((0.3, 0.1, 0.2, 0.1, 0.3)):
        one, two = pair()
        others.append(two)
        Listening(engine, f"{number}", one, seconds).begin()
    await until(lambda: len(ended) == 5)
    assert [key for key, _ in ended] == ["1", "3", "2", "0", "4"]
    for (_, at), seconds in zip(ended, (0.1, 0.1, 0.2, 0.3, 0.3), strict=True):
        assert seconds <= at - begun < seconds + 0.5
    engine.close()
    for sock in others:
        assert sock.recv(1) == b""  # the flow has closed its own
        sock.close()


async def test_who_has_ended_is_not_late_afterwards() -> None:
    ended: list[Flow] = []
    engine = Engine(ended.append)
    one, two = pair()
    Listening(engine, "a", one, 0.1).begin()
    two.send(b"x")
    await until(lambda: ended)
    await asyncio.sleep(0.2)
    assert [flow.result and flow.result.phase for flow in ended] == [Phase.DONE]
    engine.close()
    two.close()


async def test_an_end_is_told_after_all_that_are_ready_are_woken() -> None:
    """The one who is told may open a socket with a number that has an event still."""
    order: list[str] = []
    engine = Engine(lambda flow: order.append(f"end {flow.key}"))
    others = []
    for key in "abc":
        one, two = pair()
        flow = Listening(engine, key, one, 5)

        def woken(flow: Listening = flow) -> None:
            order.append(f"woken {flow.key}")
            flow.end(Phase.DONE)

        flow.on_ready = woken
        flow.begin()
        two.send(b"x")
        others.append(two)
    await until(lambda: len(order) == 6)
    assert sorted(order[:3]) == ["woken a", "woken b", "woken c"]
    assert sorted(order[3:]) == ["end a", "end b", "end c"]
    engine.close()
    for sock in others:
        sock.close()


async def test_those_that_come_one_after_the_other_are_left_to_gather(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "RUSH", 1.0)
    monkeypatch.setattr(engine_module, "PAUSE", 0.1)
    ended: list[float] = []
    engine = Engine(lambda _: ended.append(time.monotonic()))
    pairs = [pair() for _ in range(3)]
    for number, (one, _) in enumerate(pairs):
        Listening(engine, str(number), one, 5).begin()
    pairs[0][1].send(b"x")
    await until(lambda: len(ended) == 1)
    for _, two in pairs[1:]:
        two.send(b"x")
        await asyncio.sleep(0.01)
    await until(lambda: len(ended) == 3)
    # The two were woken together, and no later than a pause after the first.
    assert ended[2] - ended[1] < 0.05
    assert ended[1] - ended[0] > 0.05
    # Then it is as at the beginning.
    await until(lambda: engine._pause is None)
    engine.close()
    for _, two in pairs:
        two.close()


async def test_a_thousand_that_never_answer_hold_up_nobody() -> None:
    results: dict[str, ProbeResult] = {}
    runner = ProbeRunner[str](results.__setitem__)

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        with blackhole() as hole:
            for number in range(1000):
                runner.start(f"dead {number}", tcp(hole, limit=1.0))
            begun = time.monotonic()
            runner.start("well", tcp(server.sockets[0].getsockname()[1]))
            await until(lambda: "well" in results)
            assert time.monotonic() - begun < 0.9
            await until(lambda: len(results) == 1001)
    assert results.pop("well").ok
    assert {result.phase for result in results.values()} == {Phase.TIMEOUT}
    await runner.close()


async def test_a_server_that_reads_slowly_gets_the_whole_request() -> None:
    got: list[int] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        head = await reader.readuntil(b"\r\n\r\n")
        got.append(len(head))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        await writer.drain()

    def small(handler: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reader._limit = 1 << 24  # type: ignore[attr-defined] # of readuntil
            await handler(reader, writer)

        return handle

    path = "/" + "x" * 4_000_000
    results: dict[str, ProbeResult] = {}
    runner = ProbeRunner[str](results.__setitem__)
    async with serving(small(slow)) as port:
        runner.start("a", replace(http(port, Url(path)), connect_timeout=20))
        await until(lambda: results)
    assert results["a"].ok, results
    assert got[0] > len(path)
    await runner.close()


async def test_what_came_while_we_stood_still_counts_and_nobody_is_late_by_our_fault() -> None:
    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    results: dict[str, ProbeResult] = {}
    runner = ProbeRunner[str](results.__setitem__)
    with blackhole() as hole:
        async with server, serving(answer(b"HTTP/1.0 200 OK\r\n\r\n")) as port:
            runner.start("tcp", tcp(server.sockets[0].getsockname()[1], limit=0.3))
            runner.start("http", http(port, limit=0.3))
            runner.start("hole", tcp(hole, limit=0.3))
            time.sleep(1.0)  # noqa: ASYNC251 - this is the stall
            await until(lambda: len(results) == 3)
    assert results["tcp"].ok, results
    assert results["http"].ok, results
    # Who never answers has had the time that we were late once more, and no longer.
    assert results["hole"].phase is Phase.TIMEOUT
    assert 1.5 < results["hole"].elapsed < 3
    await runner.close()


async def test_the_next_step_has_all_its_time_also_after_we_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "MAX_EVENTS", 1)  # the second is looked after as it is late
    ended: list[Flow] = []
    engine = Engine(ended.append)
    others = []
    for key in "ab":
        one, two = pair()
        flow = Listening(engine, key, one, 0.2)
        flow.on_ready = partial(engine.limit, flow, 1.0)
        flow.begin()
        two.send(b"x")
        others.append(two)
    time.sleep(0.5)  # noqa: ASYNC251 - this is the stall: late by 0.3 s
    await until(lambda: len(ended) == 2)
    for late in ended:
        assert late.result is not None
        assert late.result.phase is Phase.TIMEOUT
        assert late.result.elapsed >= 1.5
    engine.close()
    for sock in others:
        sock.close()


async def test_an_answer_that_waits_behind_many_others_has_come_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "MAX_EVENTS", 1)
    ended: list[Flow] = []
    engine = Engine(ended.append)
    others = []

    def work(flow: Flow) -> None:
        time.sleep(0.02)  # so no turn of the loop is long
        flow.end(Phase.DONE)

    for number in range(20):
        one, two = pair()
        flow = Listening(engine, f"{number}", one, 0.2)
        flow.on_ready = partial(work, flow)
        flow.begin()
        two.send(b"x")
        others.append(two)
    await until(lambda: len(ended) == 20)
    assert [flow.result.phase for flow in ended if flow.result] == [Phase.DONE] * 20
    engine.close()
    for sock in others:
        sock.close()


async def test_who_never_comes_to_an_end_has_no_time_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "STALL", 0.02)
    ended: list[Flow] = []
    engine = Engine(ended.append)
    one, two = pair()
    two.send(b"x" * 100_000)
    flow = Listening(engine, "a", one, 0.1)
    flow.on_ready = lambda: None
    flow.begin()
    await until(lambda: ended)
    assert flow.result is not None
    assert flow.result.phase is Phase.TIMEOUT
    assert flow.result.elapsed < 0.1 + engine_module.MAX_GRANTS * engine_module.STALL + 0.5
    engine.close()
    two.close()
