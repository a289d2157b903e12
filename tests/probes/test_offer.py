"""What a probe learns of the TCP of a real server."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from support.http_servers import answer, http, serving, tcp

from lvskeeper.health.spec import CheckSpec, ProbeResult, TcpOffer
from lvskeeper.probes.offer import read_offer
from lvskeeper.probes.runner import ProbeRunner

pytestmark = pytest.mark.asyncio


@contextlib.contextmanager
def connection(*, mss: int, buffer: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's and a server's socket; the server's options as given."""
    with socket.socket() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                yield client, server


def announced_wscale(server: socket.socket) -> int:
    return server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 20)[6] >> 4


@pytest.mark.parametrize("buffer", [65_536, 4 << 20])
@pytest.mark.parametrize("mss", [600, 1_300])
async def test_it_is_what_the_server_announced(mss: int, buffer: int) -> None:
    with connection(mss=mss, buffer=buffer) as (client, server):
        assert read_offer(client) == TcpOffer(mss, announced_wscale(server))


async def test_a_closed_socket_tells_nothing() -> None:
    with connection(mss=600, buffer=65_536) as (client, _):
        client.close()
        assert read_offer(client) is None


@pytest.mark.parametrize("make", [tcp, http])
async def test_every_kind_of_check_brings_it(make: Callable[[int], CheckSpec]) -> None:
    offers: list[TcpOffer | None] = []
    done = asyncio.Event()

    def on_result(_: str, result: ProbeResult) -> None:
        offers.append(result.offer)
        done.set()

    runner = ProbeRunner[str](on_result)
    async with serving(answer(b"HTTP/1.0 200 OK\r\n\r\n")) as port:
        runner.start("one", make(port))
        async with asyncio.timeout(10):
            await done.wait()
        with socket.create_connection(("127.0.0.1", port)) as other:
            assert offers == [read_offer(other)]
    await runner.close()
    assert offers[0] is not None
