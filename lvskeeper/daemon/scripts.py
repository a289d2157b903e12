"""Runs notify and quorum scripts: in order for each subject, without a shell, with a deadline.

Scripts of one subject (a real server, a virtual server) run one after the other, so that *down*
never overtakes *up*. A host of their own starts them (:mod:`lvskeeper.daemon.script_runs`); where
we die they go on to their deadline, for nobody would tell again what they tell. Each has its own
session; at the deadline its whole process group gets
SIGTERM, then SIGKILL. A process that leaves the group by its own ``setsid`` is out of reach.
A script that leaves a process in the background is done when the script itself ends; its output
is then closed, so such a process must not write to it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from lvskeeper.daemon.children import KILL_DELAY
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.script_runs import HOST_PAUSE, RunEnd, ScriptRuns

MAX_WAITING: Final = 8
"""Scripts that wait for one subject. When one more comes, only the latest is kept."""
MAX_RUNNING: Final = 8
"""Scripts that run at a time, and as many urgent ones beside."""
SCRIPT_DEADLINE: Final = 60.0
"""Seconds that a script may run."""
DROPPED: Final = "dropped at stop"


@final
@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """How one script ended."""

    subject: str
    argv: tuple[str, ...]
    status: int | None = None
    """Exit status; ``None`` where it was killed or never ran."""
    signal: int | None = None
    """Number of the signal that ended it."""
    timed_out: bool = False
    seconds: float = 0.0
    output: str = ""
    """The end of what it wrote to standard output and error."""
    error: str = ""
    """Why it could not be started or ended, in words."""
    skipped: int = 0
    """Earlier scripts of the subject that were dropped unrun in favour of this one."""

    @property
    def ok(self) -> bool:
        """Whether it ran to its end with status 0."""
        return self.status == 0


@final
@dataclass(frozen=True, slots=True)
class _Job:
    script: Script
    facts: Mapping[str, str]
    skipped: int = 0


@final
@dataclass(slots=True)
class _Subject:
    slots: asyncio.Semaphore
    waiting: deque[_Job] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


@final
class ScriptRunner:
    """Queue of scripts a subject. *on_done* gets the outcome of each script that was tried."""

    def __init__(
        self,
        on_done: Callable[[ScriptOutcome], None],
        *,
        deadline: float = SCRIPT_DEADLINE,
        kill_delay: float = KILL_DELAY,
        limit: int = MAX_RUNNING,
    ) -> None:
        """Make a runner; times are in seconds, *limit* is how many scripts run at a time."""
        self._on_done = on_done
        self._deadline = deadline
        self._runs = ScriptRuns(kill_delay=kill_delay)
        self._slots = asyncio.Semaphore(limit)
        self._urgent = asyncio.Semaphore(limit)
        self._subjects: dict[str, _Subject] = {}
        self._closed = False
        self._hurried = False
        self._secure = False

    def configure(self, *, secure: bool, ready: bool) -> None:
        """Go by ``enable_script_security`` where *secure*; have a host where one is to be *ready*.

        Without it the first script has to wait for the start of the host.
        """
        self._secure = secure
        if ready:
            self._runs.prepare()

    def submit(
        self, subject: str, script: Script, facts: Mapping[str, str], *, urgent: bool = False
    ) -> None:
        """Run *script* after all earlier ones of *subject*.

        All scripts of a subject are *urgent*, or none: those wait only for others of their kind.
        *facts* become environment variables: ``{"event": "up"}`` is ``LVSKEEPER_EVENT=up``.
        """
        if self._closed:
            raise RuntimeError("the script runner is closed")
        slots = self._urgent if urgent else self._slots
        state = self._subjects.setdefault(subject, _Subject(slots))
        skipped = 0
        if len(state.waiting) >= MAX_WAITING:
            skipped = sum(1 + job.skipped for job in state.waiting)
            state.waiting.clear()
        state.waiting.append(_Job(script, dict(facts), skipped))
        if state.task is None:
            state.task = asyncio.get_running_loop().create_task(self._work(subject, state))

    async def close(self, deadline: float) -> None:
        """Take no more scripts, give those that are there *deadline* seconds, then kill them.

        Scripts that still wait then are dropped, and told with an outcome each.
        """
        self._closed = True
        tasks = [state.task for state in self._subjects.values() if state.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline)
            self._hurried = True
            self._runs.hurry()
            if late:
                await asyncio.wait(late)
        await self._runs.close()

    async def _work(self, subject: str, state: _Subject) -> None:
        try:
            while state.waiting:
                async with state.slots:
                    if self._hurried:
                        break
                    # Taken only now: while it waited for a slot, later ones may have replaced it.
                    job = state.waiting.popleft()
                    self._on_done(await self._run(subject, job))
        finally:
            del self._subjects[subject]
            for job in state.waiting:
                argv, skipped = job.script.argv, job.skipped
                self._on_done(ScriptOutcome(subject, argv, error=DROPPED, skipped=skipped))

    async def _run(self, subject: str, job: _Job) -> ScriptOutcome:
        end = await self._try(job)
        if end.host and not end.begun:
            # The host died, and nothing is lost yet.
            await asyncio.sleep(HOST_PAUSE)
            end = end if self._hurried else await self._try(job)
        code = end.code
        return ScriptOutcome(
            subject,
            job.script.argv,
            status=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            timed_out=end.timed_out,
            seconds=end.seconds,
            output=end.output,
            error=end.error,
            skipped=job.skipped,
        )

    async def _try(self, job: _Job) -> RunEnd:
        return await self._runs.run(
            job.script, self._deadline, job.facts, secure=self._secure, stays=True
        )
