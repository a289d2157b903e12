"""Runs notify and quorum scripts: in order for each subject, without a shell, with a deadline.

Scripts of one subject (a real server, a virtual server) run one after the other, so that *down*
never overtakes *up*. Each has its own session; at the deadline its whole process group gets
SIGTERM, then SIGKILL. A process that leaves the group by its own ``setsid`` is out of reach.
A script that leaves a process in the background is done when the script itself ends; its output
is then closed, so such a process must not write to it.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from lvskeeper.daemon.children import KILL_DELAY, Child, Output, environment, explain, identity
from lvskeeper.daemon.roles import Script

MAX_WAITING: Final = 8
"""Scripts that wait for one subject. When one more comes, only the latest is kept."""
MAX_RUNNING: Final = 8
"""Scripts that run at a time."""
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
        self._kill_delay = kill_delay
        self._slots = asyncio.Semaphore(limit)
        self._subjects: dict[str, _Subject] = {}
        self._closed = False
        self._killing = False
        self.secure = False
        """``enable_script_security``: refuse to run as root what others could write."""

    def submit(self, subject: str, script: Script, facts: Mapping[str, str]) -> None:
        """Run *script* after all earlier ones of *subject*.

        *facts* become environment variables: ``{"event": "up"}`` is ``LVSKEEPER_EVENT=up``.
        """
        if self._closed:
            raise RuntimeError("the script runner is closed")
        state = self._subjects.setdefault(subject, _Subject())
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
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=deadline)
        self._killing = True
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _work(self, subject: str, state: _Subject) -> None:
        try:
            while state.waiting and not self._killing:
                async with self._slots:
                    # Taken only now: while it waited for a slot, later ones may have replaced it.
                    job = state.waiting.popleft()
                    self._on_done(await self._run(subject, job))
        finally:
            del self._subjects[subject]
            for job in state.waiting:
                argv, skipped = job.script.argv, job.skipped
                self._on_done(ScriptOutcome(subject, argv, error=DROPPED, skipped=skipped))

    async def _run(self, subject: str, job: _Job) -> ScriptOutcome:
        loop = asyncio.get_running_loop()
        argv = job.script.argv
        start = loop.time()
        with Output() as output:
            try:
                child = Child(
                    argv,
                    environment(job.facts),
                    who=identity(job.script.user, job.script.group),
                    output=output.write_end,
                )
            except (OSError, ValueError, LookupError) as error:
                return ScriptOutcome(subject, argv, error=explain(error), skipped=job.skipped)
            output.listen()
            code, timed_out = await self._reap(child)
            text = output.finish()
        return ScriptOutcome(
            subject,
            argv,
            status=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            timed_out=timed_out,
            seconds=loop.time() - start,
            output=text,
            error="it is stuck in the kernel, not even SIGKILL ends it" if code is None else "",
            skipped=job.skipped,
        )

    async def _reap(self, child: Child) -> tuple[int | None, bool]:
        """Wait for the end, forced by the deadline or by a cancel; return code and whether late."""
        timed_out = False
        try:
            done, _ = await asyncio.wait((child.ended,), timeout=self._deadline)
            if not done:
                timed_out = True
                # The leader may end before others of its group do.
                child.condemned = True
                child.signal(signal.SIGTERM)
                await asyncio.wait((child.ended,), timeout=self._kill_delay)
        except asyncio.CancelledError:
            timed_out = child.condemned = True
        if not child.ended.done():
            child.signal(signal.SIGKILL)
            await asyncio.wait((child.ended,), timeout=self._kill_delay)
        return child.ended.result() if child.ended.done() else None, timed_out
