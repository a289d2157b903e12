"""The control socket: HTTP and JSON for operators and their programs, in a process of its own.

It knows nothing and keeps nothing: each request becomes a question to the supervisor, and the
answer goes out as it came. So a slow or hostile client holds up nobody who matters, and what is
told is never older than the question. aiohttp is imported with the first connection: a daemon that
nobody asks pays nothing for it.
"""

import asyncio
import contextlib
import grp
import os
import resource
import socket
from functools import partial
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Channel
from lvskeeper.daemon.lookup import SILENCE, look_up
from lvskeeper.daemon.questions import (
    Ask,
    AskError,
    Question,
    Reply,
    Serve,
    ToControl,
    Trouble,
)
from lvskeeper.errors import ExitStatus
from lvskeeper.observe.snapshot import SOCKET_NAME

BACKLOG: Final = 32
"""Connections that may wait while aiohttp is imported."""
MAX_OPEN: Final = 32
"""Questions that may be open at the supervisor."""
MAX_FILES: Final = 256
"""Open files of this process: the connections of both listeners, and room for more."""
NICE: Final = 5
"""Importing aiohttp takes up to a second of a core, and the roles come first."""


@final
class Control:
    """One life of the process."""

    def __init__(self, channel: Channel, run_dir: Path, web: socket.socket | None = None) -> None:
        """Make it; *web* listens for readers of the status page, if that is wanted."""
        self._channel = channel
        self._web = web
        self._path = run_dir / SOCKET_NAME
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._asked = 0
        self._listener: socket.socket | None = None
        self._admitting: asyncio.Task[None] | None = None
        self._admitted: tuple[int, str] | None = None
        """Mode and group of those who are let in."""

    async def run(self) -> None:
        """Serve until the supervisor is gone."""
        decoder: msgspec.json.Decoder[ToControl] = msgspec.json.Decoder(ToControl)
        serving: list[asyncio.Task[None]] = []
        if self._web is not None:
            serving.append(asyncio.create_task(self._serve_web(self._web)))
        while (message := await self._channel.receive(decoder)) is not None:
            match message:
                case Serve(mode=mode, group=group):
                    if self._listener is None:
                        self._listener = listen(self._path)
                        serving.append(asyncio.create_task(self._serve(self._listener)))
                    self._begin_to_admit(mode, group)
                case Reply(number=number):
                    waiting = self._open.get(number)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)
            for task in serving:
                if task.done():
                    task.result()
        for task in (*serving, *filter(None, (self._admitting,))):
            task.cancel()

    def _begin_to_admit(self, mode: int, group: str) -> None:
        """Do so beside the answers: who the group is may take long to find out."""
        if self._admitting is not None:
            self._admitting.cancel()
        self._admitting = asyncio.create_task(self._admit(mode, group))

    async def _admit(self, mode: int, group: str) -> None:
        """Let in whom *mode* and *group* name; until that is known or where it fails, ourselves."""
        wanted, before, self._admitted = (mode, group), self._admitted, None
        try:
            if before != wanted:
                self._path.chmod(0o600)
            answer = look_up(partial(_group_id, group))
            await asyncio.wait({answer}, timeout=SILENCE)
            if not answer.done():
                await self._tell(f"no answer yet who the group {group} is")
            admit(self._path, mode, await answer)
            self._admitted = wanted
        except (OSError, LookupError) as error:
            with contextlib.suppress(OSError):
                self._path.chmod(0o600)
            unknown = isinstance(error, KeyError)
            await self._tell(f"there is no group {group}" if unknown else str(error))

    async def _tell(self, reason: str) -> None:
        hint = "`control_socket` in global_defs names mode and group."
        with contextlib.suppress(ConnectionError):
            await self._channel.send(Trouble(f"control socket {self._path}: {reason}", hint))

    async def ask(self, question: Question, limit: float, by: str) -> Reply:
        """Ask the supervisor and return its answer, after *limit* seconds at most.

        Raises :class:`AskError`.
        """
        if len(self._open) >= MAX_OPEN:
            raise AskError("unavailable", "too many requests are open", "Try again in a moment.")
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            async with asyncio.timeout(limit):
                await self._channel.send(Ask(number, question, by))
                return await answer
        except TimeoutError:
            raise AskError(
                "timed_out", f"the daemon did not answer within {limit:g} s", "It may be stuck."
            ) from None
        except ConnectionError:
            raise AskError("unavailable", "the daemon is about to end") from None
        finally:
            del self._open[number]

    async def _serve(self, listener: socket.socket) -> None:
        await _first_connection(listener)
        from lvskeeper.daemon.control_app import serve  # noqa: PLC0415 - aiohttp

        await serve(listener, self.ask)

    async def _serve_web(self, listener: socket.socket) -> None:
        await _first_connection(listener)
        from lvskeeper.daemon.web_app import serve_web  # noqa: PLC0415 - aiohttp

        await serve_web(listener, self.ask)


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at *path*, for our own user; raise ``OSError``.

    Whatever is there already gives way.
    """
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            made.bind(str(draft))
        finally:
            os.umask(before)
        made.setblocking(False)
        made.listen(BACKLOG)
        draft.replace(path)
    except BaseException:
        made.close()
        raise
    return made


def admit(path: Path, mode: int, group: int) -> None:
    """Let those use the socket at *path* whom *mode* and *group* name; raise ``OSError``."""
    path.chmod(0o600)
    os.chown(path, -1, group)
    path.chmod(mode)


def _group_id(group: str) -> int:
    return grp.getgrnam(group).gr_gid if group else os.getgid()


async def _first_connection(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(listener, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listener)


def control_main(sock: socket.socket, run_dir: Path, web: socket.socket | None = None) -> int:
    """Run the control socket in *run_dir* until the supervisor at *sock* is gone.

    *web* is the socket of the status page, if there is one.
    """

    async def main() -> None:
        await Control(await Channel.connect(sock), run_dir, web).run()

    with contextlib.suppress(OSError, ValueError):
        os.nice(NICE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    asyncio.run(main())
    return ExitStatus.OK
