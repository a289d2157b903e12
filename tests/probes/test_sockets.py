"""Where probes come from: address, port, device and mark, for every kind alike."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.http_servers import answer, free_port, http, serving, tcp

from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult, Source
from lvskeeper.probes.runner import ProbeRunner
from lvskeeper.probes.sockets import open_socket
from lvskeeper.units import parse_address

pytestmark = pytest.mark.asyncio

LOOPBACK = parse_address("127.0.0.1")


async def probed(*specs: CheckSpec) -> list[ProbeResult]:
    """Return the results of probes that are made one after the other."""
    found: list[ProbeResult] = []
    done = asyncio.Event()

    def on_result(_: int, result: ProbeResult) -> None:
        found.append(result)
        done.set()

    runner = ProbeRunner[int](on_result)
    for number, spec in enumerate(specs):
        done.clear()
        runner.start(number, spec)
        async with asyncio.timeout(10):
            await done.wait()
    await runner.close()
    return found


@asynccontextmanager
async def telling() -> AsyncIterator[tuple[int, list[tuple[str, int]]]]:
    """Serve HTTP; yield the port, and a list of who has come."""
    peers: list[tuple[str, int]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        await answer(b"HTTP/1.0 200 OK\r\n\r\n")(reader, writer)

    async with serving(handle) as port:
        yield port, peers


async def test_probes_come_from_the_address_and_port_that_are_given() -> None:
    own = free_port()
    source = Source(parse_address("127.0.0.9"), own)
    async with telling() as (port, peers):
        specs = (tcp(port), http(port), http(port), tcp(port))
        results = await probed(*(replace(spec, source=source) for spec in specs))
    assert [result.phase for result in results] == [Phase.DONE] * 4
    assert set(peers) == {("127.0.0.9", own)}


async def test_an_address_without_a_port_leaves_the_port_to_the_kernel() -> None:
    source = Source(parse_address("127.0.0.8"))
    async with telling() as (port, peers):
        results = await probed(*(replace(http(port), source=source) for _ in range(2)))
    assert all(result.ok for result in results)
    assert [host for host, _ in peers] == ["127.0.0.8"] * 2


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (Source(parse_address("192.0.2.77")),
         "from 192.0.2.77: no local address or port to connect from"),
        (Source(interface="nowhere0"), "from nowhere0: no such device"),
    ],
)  # fmt: skip
async def test_what_cannot_be_had_is_not_the_servers_fault(source: Source, detail: str) -> None:
    async with telling() as (port, _):
        results = await probed(*(replace(spec, source=source) for spec in (tcp(port), http(port))))
    assert {(result.phase, result.detail) for result in results} == {(Phase.INTERNAL, detail)}


@pytest.mark.root
async def test_device_and_mark_are_on_the_socket() -> None:
    sock = open_socket(LOOPBACK, Source(interface="lo", mark=7), socket.SOCK_STREAM)
    with contextlib.closing(sock):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 7
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"lo\0"
        assert sock.getblocking() is False


@pytest.mark.root
async def test_probes_go_out_by_the_device() -> None:
    async with telling() as (port, peers):
        spec = replace(http(port), source=Source(interface="lo"))
        assert [result.ok for result in await probed(spec)] == [True]
    assert len(peers) == 1
