"""MISC_CHECK: whether a script ends well. The script host runs it; the director never forks.

A run is over when the script has ended; so there is never more than one of a check at a time, and
one that ignores SIGTERM is told of when it has been killed.
"""

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Final, assert_never, final

from lvskeeper.daemon.children import KILL_DELAY, explain, signal_group
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
from lvskeeper.daemon.script_security import root_risk
from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult, ScriptRun
from lvskeeper.probes.attempt import one_line, timeout_detail

MAX_RUNNING: Final = 64
"""Scripts that run at a time."""
TURN_WAIT: Final = 10.0
"""Seconds that a script waits for its turn."""
START_WAIT: Final = 10.0
"""Seconds for the host to start a script, and itself before the first one."""
HOST_PAUSE: Final = 1.0
"""Seconds from one start of a host to the next."""
OUTPUT_SHOWN: Final = 80
"""Characters of the output's last line that are told with a failure."""


@final
@dataclass(frozen=True, slots=True)
class _Lost:
    """The script host has ended, and says nothing of the script any more."""

    reason: str


@final
@dataclass(slots=True, eq=False)
class _Run:
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It has started, or never will."""
    ended: "asyncio.Future[Ended | Unstarted | _Lost]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    pid: int = 0


@final
class MiscProber:
    """Runs scripts in a host of its own, which is started with the first of them."""

    def __init__(self) -> None:
        self._link: Final = ScriptLink(self._on_message, self._on_lost)
        self._runs: Final[dict[int, _Run]] = {}
        self._turns: Final = asyncio.Semaphore(MAX_RUNNING)
        self._number = 0
        self._host_again = 0.0

    async def close(self) -> None:
        """End the host and what still runs."""
        await self._link.close()

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Run the script of *spec* once, for ``connect_timeout`` at most."""
        assert spec.script is not None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TURN_WAIT):
                await self._turns.acquire()
        except TimeoutError:
            return ProbeResult(Phase.INTERNAL, f"{MAX_RUNNING} scripts run already", TURN_WAIT)
        begin = loop.time()
        self._number += 1
        number = self._number
        run = self._runs[number] = _Run()
        try:
            phase, detail, weight = await self._run(number, run, spec.script, spec.connect_timeout)
        except (OSError, ValueError) as error:
            phase, detail, weight = Phase.INTERNAL, explain(error), None
        except asyncio.CancelledError:
            self._link.send(Abandon(number))
            raise
        finally:
            del self._runs[number]
            self._turns.release()
        return ProbeResult(phase, detail, loop.time() - begin, weight=weight)

    async def _run(
        self, number: int, run: _Run, script: ScriptRun, limit: float
    ) -> tuple[Phase, str, int | None]:
        if script.secure:
            # It looks up files and users, which may take its time.
            risk = await asyncio.to_thread(
                root_risk, Script(script.argv, script.user, script.group)
            )
            if risk:
                return Phase.INTERNAL, f"not run as root: {risk}", None
        self._start_host()
        self._link.send(Run(number, script.argv, script.user, script.group))
        try:
            async with asyncio.timeout(START_WAIT):
                await run.begun.wait()
        except TimeoutError:
            # Then it stands still; the next run gets another.
            self._link.lose("it does not answer")
        if not run.ended.done():
            await asyncio.wait({run.ended}, timeout=limit)
        if run.ended.done():
            return _judge(run.ended.result(), script)
        for what in (signal.SIGTERM, signal.SIGKILL):
            self._link.send(Signal(number, what))
            await asyncio.wait({run.ended}, timeout=KILL_DELAY)
            if run.ended.done():
                break
        return Phase.TIMEOUT, timeout_detail("running the script", limit), None

    def _start_host(self) -> None:
        if self._link.up:
            return
        now = asyncio.get_running_loop().time()
        if now < self._host_again:
            raise ValueError("the process that runs scripts has ended")
        self._host_again = now + HOST_PAUSE
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
            case Ended() | Unstarted():
                if not run.ended.done():
                    run.ended.set_result(message)
            case _:
                assert_never(message)
        run.begun.set()

    def _on_lost(self, reason: str) -> None:
        for run in self._runs.values():
            if run.pid and not run.ended.done():
                signal_group(run.pid, signal.SIGKILL)
            if not run.ended.done():
                # Not as an exception: nobody may be there any more to take it.
                run.ended.set_result(_Lost(f"the process that runs scripts: {reason}"))
            run.begun.set()


def _judge(end: Ended | Unstarted | _Lost, script: ScriptRun) -> tuple[Phase, str, int | None]:
    """Return what the end of a script means."""
    if isinstance(end, _Lost):
        return Phase.INTERNAL, end.reason, None
    if isinstance(end, Unstarted):
        return Phase.INTERNAL, f"{script.argv[0]}: {end.reason}", None
    if end.code == 0:
        return Phase.DONE, "", None
    if script.dynamic and end.code > 1:
        return Phase.DONE, "", end.code - 2
    ending = f"exit status {end.code}" if end.code > 0 else f"killed by signal {-end.code}"
    last = one_line(end.output.strip().rpartition("\n")[2], OUTPUT_SHOWN)
    return Phase.STATUS, f"{ending}: {last}" if last else ending, None
