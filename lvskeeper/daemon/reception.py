"""The supervisor's side of the control socket: sees to its process, and has its questions answered.

The process starts when the first configuration is applied, and again whenever it ends. Nothing
else depends on it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Channel
from lvskeeper.daemon.control import control_main
from lvskeeper.daemon.process import Child, describe_status, reaped, spawn
from lvskeeper.daemon.questions import Ask, FromControl, Reply, Serve, Trouble
from lvskeeper.daemon.web import open_web
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

BACKOFF_FIRST: Final = 0.5
BACKOFF_MAX: Final = 30.0
STABLE_AFTER: Final = 60.0
"""A process that lived this long starts its back-off afresh."""
END_LIMIT: Final = 2.0
"""Seconds in which it has to end after its channel."""


@final
class Reception:
    """Keeps the control socket open."""

    def __init__(
        self, run_dir: Path, emit: Emit, answer: Callable[[Ask], Awaitable[Reply]], web: str = ""
    ) -> None:
        """Make it; *answer* has an answer to everything, within a time.

        *web* says where the status page is to be, if it is to be. Raises :class:`OperatorError`
        where that cannot be had.
        """
        self._web = open_web(web) if web else None
        self._run_dir = run_dir
        self._emit = emit
        self._answer = answer
        self._serve: Serve | None = None
        self._channel: Channel | None = None
        self._running: asyncio.Task[None] | None = None

    async def admit(self, serve: Serve, tasks: asyncio.TaskGroup) -> None:
        """Let in those whom *serve* names, and open the socket if it is not open yet."""
        changed, self._serve = serve != self._serve, serve
        if self._running is None:
            self._running = tasks.create_task(self._run(tasks))
        elif changed and self._channel is not None:
            with contextlib.suppress(ConnectionError):
                await self._channel.send(serve)

    async def close(self) -> None:
        """Close the socket."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    def _main(self, sock: socket.socket) -> int:
        return control_main(sock, self._run_dir, self._web)

    async def _run(self, tasks: asyncio.TaskGroup) -> None:
        pause = BACKOFF_FIRST
        while True:
            born = time.monotonic()
            try:
                child = spawn("control", self._main, die_with_parent=True)
            except OSError as error:
                why = error.strerror or str(error)
            else:
                why = describe_status(await self._live(child, tasks))
            if time.monotonic() - born > STABLE_AFTER:
                pause = BACKOFF_FIRST
            self._emit(events.RoleDied("control", why, format_duration(pause)))
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_MAX)

    async def _live(self, child: Child, tasks: asyncio.TaskGroup) -> int:
        """Answer one process until it ends; return its status."""
        try:
            channel = self._channel = await Channel.connect(child.sock)
            decoder: msgspec.json.Decoder[FromControl] = msgspec.json.Decoder(FromControl)
            # One that says what nobody understands is let go, too: nothing else is to depend on it.
            with contextlib.suppress(ConnectionError, ValueError):
                assert self._serve is not None
                await channel.send(self._serve)
                while (message := await channel.receive(decoder)) is not None:
                    match message:
                        case Ask():
                            tasks.create_task(self._reply(channel, message))
                        case Trouble(message=reason, hint=hint):
                            self._emit(events.UpkeepFailed(reason, hint))
        finally:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            child.release()
            status = await _ended(child)
        return status

    async def _reply(self, channel: Channel, asked: Ask) -> None:
        reply = await self._answer(asked)
        with contextlib.suppress(ConnectionError):
            await channel.send(reply)


async def _ended(child: Child) -> int:
    """Wait for the end of *child*, whose channel is closed; a stuck one is killed."""
    waiting = asyncio.ensure_future(reaped(child.pid))
    await asyncio.wait({waiting}, timeout=END_LIMIT)
    if not waiting.done():
        os.kill(child.pid, signal.SIGKILL)
    return await waiting
