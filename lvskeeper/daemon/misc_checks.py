"""MISC_CHECK: whether a script ends well. The script host runs it; the director never forks.

A run is over when the script has ended; so there is never more than one of a check at a time, and
one that ignores SIGTERM is told of when it has been killed.
"""

import asyncio
from typing import Final, final

from lvskeeper.daemon.children import KILL_DELAY
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_runs import RunEnd, ScriptRuns
from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult, ScriptRun
from lvskeeper.probes.attempt import one_line, timeout_detail

MAX_RUNNING: Final = 64
"""Scripts that run at a time."""
TURN_WAIT: Final = 10.0
"""Seconds that a script waits for its turn."""
OUTPUT_SHOWN: Final = 80
"""Characters of the output's last line that are told with a failure."""


@final
class MiscProber:
    """Runs scripts in a host of its own: those of transitions do not wait for checks."""

    def __init__(self, *, kill_delay: float = KILL_DELAY) -> None:
        """Make it; *kill_delay* is the time from SIGTERM to SIGKILL, in seconds."""
        self._runs: Final = ScriptRuns(kill_delay=kill_delay)
        self._turns: Final = asyncio.Semaphore(MAX_RUNNING)

    async def close(self) -> None:
        """End the host and what still runs."""
        await self._runs.close()

    async def probe(self, spec: CheckSpec) -> ProbeResult:
        """Run the script of *spec* once, for ``connect_timeout`` at most."""
        assert spec.script is not None
        try:
            async with asyncio.timeout(TURN_WAIT):
                await self._turns.acquire()
        except TimeoutError:
            return ProbeResult(Phase.INTERNAL, f"{MAX_RUNNING} scripts run already", TURN_WAIT)
        given = spec.script
        script = Script(given.argv, given.user, given.group)
        try:
            begin = asyncio.get_running_loop().time()
            end = await self._runs.run(script, spec.connect_timeout, secure=given.secure)
        finally:
            self._turns.release()
        phase, detail, weight = _judge(end, given, spec.connect_timeout)
        elapsed = asyncio.get_running_loop().time() - begin
        return ProbeResult(phase, detail, elapsed, weight=weight)


def _judge(end: RunEnd, script: ScriptRun, limit: float) -> tuple[Phase, str, int | None]:
    """Return what the end of a script means."""
    if end.timed_out:
        return Phase.TIMEOUT, timeout_detail("running the script", limit), None
    if end.code is None:
        return Phase.INTERNAL, end.error if end.host else f"{script.argv[0]}: {end.error}", None
    if end.code == 0:
        return Phase.DONE, "", None
    if script.dynamic and end.code > 1:
        return Phase.DONE, "", end.code - 2
    ending = f"exit status {end.code}" if end.code > 0 else f"killed by signal {-end.code}"
    last = one_line(end.output.rpartition("\n")[2], OUTPUT_SHOWN)
    return Phase.STATUS, f"{ending}: {last}" if last else ending, None
