"""Serves HTTP to a crowd: so many connections at a time, and none that asks nothing for long.

All listeners share a process. Without this, whoever may only read the status page could take every
file that it may open, and with that the control socket from everybody.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, final

from aiohttp import web

IDLE_LIMIT: Final = 15.0
"""Seconds that a connection without a request is kept."""
STOP_LIMIT: Final = 1.0
BACKLOG: Final = 32

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@final
class _Closed(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()


@final
class Crowd:
    """The connections of one listener, *most* at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        """Connections that have asked nothing so far, and when they are shown out."""

    async def serve(self, listener: socket.socket, app: web.Application) -> None:
        """Let *app* answer on *listener* for ever."""

        @web.middleware
        async def hear(request: web.Request, handler: Handler) -> web.StreamResponse:
            timer = self._silent.pop(request.protocol, None)
            if timer is not None:
                timer.cancel()
            return await handler(request)

        app.middlewares.insert(0, hear)
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=IDLE_LIMIT, shutdown_timeout=STOP_LIMIT
        )
        await runner.setup()
        server = runner.server
        assert server is not None
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            if len(server.connections) >= self._most:
                return _Closed()
            made = server()
            self._silent[made] = loop.call_later(IDLE_LIMIT, self._show_out, made)
            return made

        listening = await loop.create_server(connection, sock=listener, backlog=BACKLOG)
        try:
            await loop.create_future()
        finally:
            listening.close()
            await runner.cleanup()

    def _show_out(self, connection: web.RequestHandler) -> None:
        del self._silent[connection]
        connection.force_close()
