"""Many who connect to one process: who is one too many is closed, and so is who asks nothing."""

import asyncio
import socket

import pytest
from aiohttp import web

from lvskeeper.daemon.crowd import Crowd

pytestmark = pytest.mark.asyncio


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="here")


async def test_one_too_many_is_closed_and_who_asks_nothing_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.crowd.IDLE_LIMIT", 0.5)
    app = web.Application()
    app.router.add_get("/", answer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        serving = asyncio.create_task(Crowd(2).serve(listener, app))
        where = listener.getsockname()

        writers: list[asyncio.StreamWriter] = []

        async def asked(head: bytes) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(*where)
            writers.append(writer)
            writer.write(head)
            return reader

        async with asyncio.timeout(20):
            first = await asked(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await first.readline()
            silent = await asked(b"GET / HTTP/1.1\r\n")
            assert await (await asked(b"")).read() == b"", "one too many"
            assert await silent.read() == b"", "in the end"
            assert b"200 OK" in await (await asked(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).readline()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        serving.cancel()
        await asyncio.wait({serving})
