"""Runs notify and quorum scripts: in order for each subject, without a shell, with a deadline.

Scripts of one subject (a real server, a virtual server) run one after the other, so that *down*
never overtakes *up*. Each has its own session; at the deadline its whole process group gets
SIGTERM, then SIGKILL. A process that leaves the group by its own ``setsid`` is out of reach.
A script that leaves a process in the background is done when the script itself ends; its output
is then closed, so such a process must not write to it.
"""

import asyncio
import contextlib
import grp
import os
import pwd
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from lvskeeper.daemon.roles import Script

MAX_WAITING: Final = 8
"""Scripts that wait for one subject. When one more comes, only the latest is kept."""
MAX_RUNNING: Final = 8
"""Scripts that run at a time."""
MAX_OUTPUT: Final = 4096
"""Bytes of output that are kept, the last ones."""
SCRIPT_DEADLINE: Final = 60.0
"""Seconds that a script may run."""
READ_SIZE: Final = 65536
PIPE_READS: Final = 16
"""Reads after a script's end: the largest unprivileged pipe."""
READ_PAUSE: Final = 0.02
"""Seconds without reading after a full buffer, so that a flood of output cannot fill the loop."""
KILL_DELAY: Final = 2.0
"""Seconds between SIGTERM and SIGKILL, as keepalived has it."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DROPPED: Final = "dropped at stop"
FACT_PREFIX: Final = "LVSKEEPER_"


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
        with _Output() as output:
            try:
                process = await _spawn(job, output.write_end)
            except (OSError, ValueError, LookupError) as error:
                return ScriptOutcome(subject, argv, error=_explain(error), skipped=job.skipped)
            except asyncio.CancelledError:
                return ScriptOutcome(subject, argv, error=DROPPED, skipped=job.skipped)
            output.listen()
            code, timed_out = await self._reap(process)
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

    async def _reap(self, process: asyncio.subprocess.Process) -> tuple[int | None, bool]:
        """Wait for the end, forced by the deadline or by a cancel; return code and whether late."""
        end = asyncio.ensure_future(process.wait())
        timed_out = False
        try:
            done, _ = await asyncio.wait((end,), timeout=self._deadline)
            if not done:
                timed_out = True
                _signal_group(process.pid, signal.SIGTERM)
                await asyncio.wait((end,), timeout=self._kill_delay)
        except asyncio.CancelledError:
            timed_out = True
        if timed_out:
            # The leader may be gone already; others of its group need not be.
            _signal_group(process.pid, signal.SIGKILL)
            await asyncio.wait((end,), timeout=self._kill_delay)
        if end.done():
            return end.result(), timed_out
        end.cancel()
        return None, timed_out


@final
class _Output:
    """A pipe that keeps the last bytes written to it.

    asyncio's own pipes would make the wait for a script's end wait for its background children.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        self._tail = bytearray()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._unpause()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        if self.write_end >= 0:
            os.close(self.write_end)

    def listen(self) -> None:
        """Leave the write end to the script alone, and read what it writes."""
        os.close(self.write_end)
        self.write_end = -1
        self._resume()

    def finish(self) -> str:
        """Take what is left in the pipe, and return the kept text."""
        self._unpause()
        # Not to the end: a background child may go on writing for ever.
        for _ in range(PIPE_READS):
            if not self._read():
                break
        return self._tail.decode(errors="replace").strip()

    def _unpause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _resume(self) -> None:
        self._loop.add_reader(self._read_end, self._on_readable)

    def _on_readable(self) -> None:
        size = self._read()
        if size in {0, READ_SIZE}:
            self._loop.remove_reader(self._read_end)
        if size == READ_SIZE:
            self._pause = self._loop.call_later(READ_PAUSE, self._resume)

    def _read(self) -> int:
        try:
            data = os.read(self._read_end, READ_SIZE)
        except BlockingIOError:
            return 0
        self._tail += data
        del self._tail[:-MAX_OUTPUT]
        return len(data)


async def _spawn(job: _Job, output: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *job.script.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env=_environment(job.facts),
        start_new_session=True,
        **_identity(job.script),
    )


def _environment(facts: Mapping[str, str]) -> dict[str, str]:
    env = {"PATH": PATH, "LANG": "C.UTF-8"}
    env.update({FACT_PREFIX + name.upper(): value for name, value in facts.items()})
    return env


def _identity(script: Script) -> dict[str, Any]:
    """Return the options that make the child *script*'s user, with that user's groups only."""
    if not script.user and not script.group:
        return {}
    if not script.user:
        gid = grp.getgrnam(script.group).gr_gid
        return {"group": gid, "extra_groups": []}
    entry = pwd.getpwnam(script.user)
    gid = grp.getgrnam(script.group).gr_gid if script.group else entry.pw_gid
    return {
        "user": entry.pw_uid,
        "group": gid,
        "extra_groups": os.getgrouplist(script.user, gid),
    }


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _explain(error: OSError | ValueError | LookupError) -> str:
    match error:
        case OSError(strerror=str(text)):
            return text.lower()
        case LookupError(args=(str(text),)):
            return text  # "getpwnam(): name not found: 'x'"
        case _:
            return str(error)
