"""One script after another in a host of their own: what checks and notifies have in common.

The script host (:mod:`lvskeeper.daemon.script_host`) starts them, so that a role never forks and
never looks up a user or a file. Here they are waited for, each with its limit.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, assert_never, final

from lvskeeper.daemon.children import KILL_DELAY, explain, first_of, signal_group
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_host import (
    Abandon,
    Ended,
    Ready,
    Run,
    Signal,
    Started,
    ToRole,
    Unstarted,
)
from lvskeeper.daemon.script_link import ScriptLink

START_WAIT: Final = 10.0
"""Seconds for a host that is ready to start a script."""
HOST_BIRTH: Final = 60.0
"""Seconds for a host to be ready; a tenth of one will do, but on a machine that stands under load.
To kill it earlier would keep a slow machine from ever having one."""
HOST_PAUSE: Final = 1.0
"""Seconds from one start of a host to the next."""


@final
@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a script ended: with a *code*, or with the reason why there is none."""

    code: int | None = None
    """Exit status, or the negative number of the signal that ended it."""
    timed_out: bool = False
    seconds: float = 0.0
    output: str = ""
    """The end of what it wrote to standard output and error."""
    error: str = ""
    """Why it could not be started or ended, in words."""
    host: bool = False
    """The error is one of the host, not of the script."""
    begun: bool = True
    """Whether it has run at all."""


@final
@dataclass(slots=True, eq=False)
class _Run:
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It has started, or never will."""
    ended: "asyncio.Future[RunEnd]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    pid: int = 0


@final
class ScriptRuns:
    """Starts its host with the first script, and again when that has died."""

    def __init__(self, *, kill_delay: float = KILL_DELAY) -> None:
        """Make it; *kill_delay* is the time from SIGTERM to SIGKILL, in seconds."""
        self._link: Final = ScriptLink(self._on_message, self._on_lost)
        self._kill_delay: Final = kill_delay
        self._runs: Final[dict[int, _Run]] = {}
        self._number = 0
        self._host_since = -HOST_PAUSE
        self._over: asyncio.Event | None = None

    async def close(self) -> None:
        """End the host and what still runs."""
        await self._link.close()

    def hurry(self) -> None:
        """Let the limit of all that runs be over, now and for what follows."""
        self._hurry().set()

    def prepare(self) -> None:
        """Have a host, so that the first script need not wait for its start."""
        with contextlib.suppress(OSError, ValueError):  # the first script tells it
            self._start_host()

    async def run(
        self,
        script: Script,
        limit: float,
        facts: Mapping[str, str] | None = None,
        *,
        secure: bool = False,
        stays: bool = False,
    ) -> RunEnd:
        """Run *script* for *limit* seconds at most, then end its whole group; return how it ended.

        *facts* become its environment. With *secure* it does not run as root where others could
        write it. One that *stays* goes on to its limit where we die. A cancel ends it by and by.
        """
        self._number += 1
        number = self._number
        run = self._runs[number] = _Run()
        start = asyncio.get_running_loop().time()
        try:
            self._start_host()
            self._link.send(
                Run(
                    number, script.argv, script.user, script.group, dict(facts or {}),
                    secure=secure, stays=limit if stays else 0.0,
                )
            )  # fmt: skip
            end = await self._attend(number, run, limit)
        except (OSError, ValueError) as error:
            return RunEnd(error=explain(error), host=True, begun=False)
        except asyncio.CancelledError:
            self._link.send(Abandon(number))
            raise
        finally:
            del self._runs[number]
        seconds = asyncio.get_running_loop().time() - start
        return replace(end, seconds=seconds, begun=run.pid != 0)

    async def _attend(self, number: int, run: _Run, limit: float) -> RunEnd:
        """Wait for the end of a run, and force it at the limit."""
        now = asyncio.get_running_loop().time()
        born = now if self._link.ready else self._host_since + HOST_BIRTH - START_WAIT
        begun = asyncio.ensure_future(run.begun.wait())
        try:
            await first_of(begun, limit=max(now, born) + START_WAIT - now)
        finally:
            begun.cancel()
        if not run.begun.is_set():
            # Then it stands still; the next run gets another.
            self._link.lose("it does not answer")
        over = asyncio.ensure_future(self._hurry().wait())
        try:
            await first_of(run.ended, over, limit=limit)
        finally:
            over.cancel()
        if run.ended.done():
            return run.ended.result()
        for what in (signal.SIGTERM, signal.SIGKILL):
            self._link.send(Signal(number, what))
            await asyncio.wait({run.ended}, timeout=self._kill_delay)
            if run.ended.done():
                return replace(run.ended.result(), timed_out=True)
        return RunEnd(timed_out=True, error="it is stuck in the kernel, not even SIGKILL ends it")

    def _hurry(self) -> asyncio.Event:
        if self._over is None:
            self._over = asyncio.Event()
        return self._over

    def _start_host(self) -> None:
        if self._link.up:
            return
        now = asyncio.get_running_loop().time()
        if now < self._host_since + HOST_PAUSE:
            raise ValueError("the process that runs scripts has ended")
        self._host_since = now
        self._link.start()

    def _on_message(self, message: ToRole) -> None:
        if isinstance(message, Ready):
            return
        run = self._runs.get(message.id)
        if run is None:
            return  # abandoned
        match message:
            case Started():
                run.pid = message.pid
            case Ended():
                _end(run, RunEnd(message.code, output=message.output))
            case Unstarted():
                _end(run, RunEnd(error=message.reason))
            case _:
                assert_never(message)
        run.begun.set()

    def _on_lost(self, reason: str) -> None:
        for run in self._runs.values():
            if run.pid and not run.ended.done():
                signal_group(run.pid, signal.SIGKILL)
            # Not as an exception: nobody may be there any more to take it.
            _end(run, RunEnd(error=f"the process that runs scripts: {reason}", host=True))
            run.begun.set()


def _end(run: _Run, end: RunEnd) -> None:
    if not run.ended.done():
        run.ended.set_result(end)
