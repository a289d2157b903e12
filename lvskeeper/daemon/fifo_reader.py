"""The script that reads a named pipe: started, started again when it dies, ended."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Final, final

from lvskeeper.daemon.children import KILL_DELAY, environment, explain, identity, signal_group
from lvskeeper.daemon.process import Child, describe_status, spawn
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_security import root_risk
from lvskeeper.kernel.capabilities import drop_ambient
from lvskeeper.kernel.scheduling import be_expendable
from lvskeeper.units import format_duration

PAUSE_FIRST: Final = 1.0
PAUSE_MAX: Final = 60.0
STABLE_AFTER: Final = 60.0
"""A reader that lived this long starts its back-off afresh."""
START_LIMIT: Final = 10.0
"""Seconds until the script itself runs: to look up its user may take a while."""
END_GRACE: Final = 0.5
"""Seconds for a reader to end on its own, at the end of its pipe."""
MAX_ERROR: Final = 1000
_PR_SET_PDEATHSIG: Final = 1
"""``linux/prctl.h``"""


@final
class FifoReader:
    """The reader of one pipe. It dies with us: two readers would each get half of the lines."""

    def __init__(
        self,
        script: Script,
        path: str,
        on_problem: Callable[[str], None],
        *,
        secure: bool,
        pause: float = PAUSE_FIRST,
        owned: Callable[[], Awaitable[None]],
        after: "FifoReader | None" = None,
    ) -> None:
        """Start *script* with *path* as its last argument, once the reader *after* has ended.

        Nor does it start before the pipe is *owned* by who may read it.
        """
        self.script: Final = script
        self._path = path
        self._on_problem = on_problem
        self.secure: Final = secure
        self._first_pause = pause
        self._ending = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(after, owned))

    @property
    def gone(self) -> bool:
        """Whether nothing is left of it: it was ended, or refused."""
        return self._task.done()

    def end(self) -> None:
        """Let it read to the end of its pipe, then terminate it."""
        self._ending.set()

    async def ended(self) -> None:
        """Wait until it is gone: after :meth:`end` a few seconds at most."""
        await asyncio.wait({self._task})

    def _tell(self, text: str) -> None:
        self._on_problem(f"reader {self.script.argv[0]} of FIFO {self._path} {text}")

    async def _run(self, after: "FifoReader | None", owned: Callable[[], Awaitable[None]]) -> None:
        if after is not None:
            await after.ended()
        await owned()
        pause = self._first_pause
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            # In a thread: to look up a user and files may take long.
            if self.secure and (risk := await asyncio.to_thread(root_risk, self.script)):
                self._tell(f"is not run as root: {risk}")
                return
            born = loop.time()
            try:
                child = spawn("fifo reader", _main(self.script, self._path), die_with_parent=True)
            except OSError as error:
                how = f"cannot be started: {error.strerror}"
            else:
                how = await self._attend(child)
            if self._ending.is_set():
                return
            if loop.time() - born > STABLE_AFTER:
                pause = self._first_pause
            self._tell(f"{how}; it is started again in {format_duration(pause)}")
            await self._wait_for_end(pause)
            pause = min(pause * 2, PAUSE_MAX)

    async def _attend(self, child: Child) -> str:
        """Wait until *child* has ended, by itself or by :meth:`end`; return how."""
        ended = asyncio.ensure_future(_group_ended(child.pid))
        error = await _start_error(child)
        ending = asyncio.ensure_future(self._ending.wait())
        await asyncio.wait({ended, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        await asyncio.wait({ended}, timeout=END_GRACE)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not ended.done():
                signal_group(child.pid, number)
                await asyncio.wait({ended}, timeout=KILL_DELAY)
        if not ended.done():
            ended.cancel()
            return "is stuck in the kernel, not even SIGKILL ends it"
        return (
            f"cannot be started: {error}" if error else f"ended: {describe_status(ended.result())}"
        )

    async def _wait_for_end(self, limit: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._ending.wait()


async def _start_error(child: Child) -> str:
    """Wait until the script has taken the place of our code in *child*; return why it has not."""
    loop = asyncio.get_running_loop()
    child.sock.setblocking(False)
    try:
        async with asyncio.timeout(START_LIMIT):
            text = await loop.sock_recv(child.sock, MAX_ERROR)
    except TimeoutError:
        os.kill(child.pid, signal.SIGKILL)
        text = b"its user cannot be looked up in time"
    finally:
        child.release()
        child.sock.close()
    return text.decode(errors="replace")


async def _group_ended(pid: int) -> int:
    """Wait until the child *pid* has ended, and return its ``waitpid`` status.

    What is left of its group is killed: it would take lines from the next reader.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    # Before it is reaped: until then nobody else can have its number.
    signal_group(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]  # noqa: ASYNC222 - it has ended


def _main(script: Script, path: str) -> Callable[[socket.socket], int]:
    """Return the main function of a child that becomes *script*, or tells why it cannot."""
    parent = os.getpid()

    def main(sock: socket.socket) -> int:
        try:
            os.setsid()
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            be_expendable()
            _become(script)
            drop_ambient()
            # Not before: a change of user takes this back.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                return 1
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                # Python ignores them, and what it executes would as well.
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(script.argv[0], [*script.argv, path], environment({}))  # noqa: S606 - without a shell on purpose
        except (OSError, LookupError, ValueError) as error:
            sock.sendall(explain(error).encode()[:MAX_ERROR])
        return 127

    return main


def _become(script: Script) -> None:
    """Take the user and group of *script*, with that user's groups only."""
    who = identity(script.user, script.group)
    if who.extra_groups is not None:
        os.setgroups(who.extra_groups)
    if who.group is not None:
        os.setgid(who.group)
    if who.user is not None:
        os.setuid(who.user)
