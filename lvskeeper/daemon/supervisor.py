"""The supervisor: owns signals, the configuration and the roles; touches no kernel table.

It loads a file in a child, hands the result to the director role, and starts that role again when
it dies. A reload is a transaction: a file with errors never reaches the director.
"""

import asyncio
import fcntl
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, assert_never, final

import msgspec

from lvskeeper import __version__
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    FromDirector,
    Loaded,
    Stop,
    Stopped,
)
from lvskeeper.daemon.loader import NOTHING, loader_main
from lvskeeper.daemon.process import Child, describe_status, spawn
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

BEAT_LIMIT: Final = 15.0
"""Seconds without a beat after which a role counts as stuck and is killed."""

BIRTH_LIMIT: Final = 60.0
"""Seconds until the first beat: a role imports its modules first, from a cold disk perhaps."""

APPLY_LIMIT: Final = 120.0
"""Seconds that the director may need for one configuration."""

STOP_LIMIT: Final = 20.0
"""Seconds that the director may need to take its services out of the kernel."""

LOAD_LIMIT: Final = 120.0
"""Seconds that parsing a file may take."""

BACKOFF_FIRST: Final = 0.1
BACKOFF_MAX: Final = 5.0
STABLE_AFTER: Final = 30.0
"""A role that lived this long starts its back-off afresh."""

LOCK_PATIENCE: Final = 3.0
"""Seconds to wait for the roles of a killed predecessor to end."""


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """How the daemon runs, from the command line."""

    file: Path
    run_dir: Path


@final
class _Director:
    """The supervisor's view of one life of the director role."""

    def __init__(self, child: Child, channel: Channel) -> None:
        self.child = child
        self.channel = channel
        self.born = time.monotonic()
        self.deadline = self.born + BIRTH_LIMIT
        """When it counts as stuck."""
        self.reaped = False
        self.answer: asyncio.Future[Applied | Failed | Stopped] | None = None
        self._decoder: msgspec.json.Decoder[FromDirector] = msgspec.json.Decoder(FromDirector)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if not self.reaped:
            os.kill(self.child.pid, signal.SIGKILL)

    async def ask(self, message: Apply | Stop, limit: float) -> Applied | Failed | Stopped:
        """Send *message* and wait for its answer, *limit* seconds at most."""
        self.answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit):
                await self.channel.send(message)
                return await self.answer
        finally:
            self.answer = None

    async def listen(self) -> None:
        """Take in messages until the role ends; an open question then fails."""
        while (message := await self.channel.receive(self._decoder)) is not None:
            match message:
                case Beat():
                    self.deadline = time.monotonic() + BEAT_LIMIT
                case Applied() | Failed() | Stopped():
                    if self.answer is not None and not self.answer.done():
                        self.answer.set_result(message)
                case _:
                    assert_never(message)
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionResetError("the director role ended"))


@final
class Supervisor:
    """One run of the daemon."""

    def __init__(
        self,
        settings: Settings,
        director_main: Callable[..., int],
        emit: Emit,
        report: TextIO,
    ) -> None:
        self._settings = settings
        self._director_main = director_main
        self._emit = emit
        self._report = report
        self._director: _Director | None = None
        self._spec: msgspec.Raw | None = None
        self._generation = 0
        self._backoff = BACKOFF_FIRST
        self._requests: deque[str] = deque(maxlen=16)
        self._wake = asyncio.Event()

    async def run(self) -> ExitStatus:
        """Start, serve until a stop is asked for, stop; return the exit status."""
        started = time.monotonic()
        lock = await _lock(self._settings.run_dir)
        try:
            self._catch_signals()
            self._emit(
                events.DaemonStarted(
                    __version__, str(self._settings.file), str(self._settings.run_dir)
                )
            )
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                status = await self._start(started)
                if status is ExitStatus.OK:
                    await self._serve()
                await self._stop(remove=status is ExitStatus.OK)
            return status
        finally:
            lock.close()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._request, "reload")

    def _request(self, what: str) -> None:
        if what not in self._requests:
            self._requests.append(what)
        self._wake.set()

    async def _start(self, started: float) -> ExitStatus:
        """Bring the first configuration into the kernel."""
        await self._spawn_director()
        loaded = await self._load()
        if loaded.errors:
            self._report.write(loaded.report)
            self._emit(
                events.ConfigurationRefused(
                    str(self._settings.file), len(loaded.errors), loaded.errors[0]
                )
            )
            return ExitStatus.CONFIG
        self._warn(loaded)
        answer = await self._apply(loaded.spec)
        match answer:
            case Applied():
                self._spec = loaded.spec
                self._emit(
                    events.DaemonReady(
                        answer.virtual_servers,
                        answer.real_servers,
                        answer.operations,
                        answer.refused,
                        format_duration(time.monotonic() - started),
                    )
                )
                return ExitStatus.OK
            case Failed():
                self._emit(events.ApplyFailed(answer.message, answer.hint))
                return answer.status

    async def _serve(self) -> None:
        """Answer requests until one of them is to stop."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._requests:
                request = self._requests.popleft()
                if request == "reload":
                    await self._reload()
                elif request == "director died":
                    await self._revive()
                else:
                    self._emit(events.DaemonStopping(request))
                    return

    async def _reload(self) -> None:
        started = time.monotonic()
        loaded = await self._load()
        if loaded.errors:
            self._report.write(loaded.report)
            self._emit(
                events.ReloadRefused(str(self._settings.file), len(loaded.errors), loaded.errors[0])
            )
            return
        self._warn(loaded)
        answer = await self._apply(loaded.spec)
        self._spec = loaded.spec
        match answer:
            case Applied():
                self._emit(
                    events.ReloadApplied(
                        answer.operations,
                        answer.virtual_servers,
                        answer.refused,
                        format_duration(time.monotonic() - started),
                    )
                )
            case Failed():
                self._emit(events.ApplyFailed(answer.message, answer.hint))

    def _warn(self, loaded: Loaded) -> None:
        if loaded.warnings:
            self._emit(
                events.ConfigurationWarned(
                    str(self._settings.file), len(loaded.warnings), loaded.warnings[0]
                )
            )

    async def _load(self) -> Loaded:
        """Load the file in a child; a loader that dies or hangs is a refused file."""
        child = spawn("loader", loader_main(str(self._settings.file)))
        channel = await Channel.connect(child.sock)
        try:
            async with asyncio.timeout(LOAD_LIMIT):
                loaded = await channel.receive(msgspec.json.Decoder(Loaded))
        except TimeoutError:
            os.kill(child.pid, signal.SIGKILL)
            loaded = None
        finally:
            channel.close()
            child.release()
        _, status = await asyncio.to_thread(os.waitpid, child.pid, 0)
        if loaded is not None:
            return loaded
        problem = f"{self._settings.file}: loading it failed: {describe_status(status)}"
        return Loaded(spec=NOTHING, errors=(problem,), warnings=(), report=f"{problem}\n")

    async def _apply(self, spec: msgspec.Raw) -> Applied | Failed:
        self._generation += 1
        generation = self._generation
        assert self._director is not None
        try:
            answer = await self._director.ask(Apply(generation, spec), APPLY_LIMIT)
        except (ConnectionError, TimeoutError) as error:
            return Failed(
                generation,
                f"the director role did not apply the configuration: {str(error) or 'no answer'}",
                "Look for its traceback above.",
                ExitStatus.KERNEL,
            )
        assert not isinstance(answer, Stopped)
        return answer

    async def _spawn_director(self) -> None:
        child = spawn("director", self._director_main)
        director = _Director(child, await Channel.connect(child.sock))
        self._director = director
        self._tasks.create_task(self._watch(director))

    async def _watch(self, director: _Director) -> None:
        """Listen to one director until it has ended, and reap it."""
        listening = asyncio.create_task(director.listen())
        while not listening.done():
            await asyncio.wait({listening}, timeout=1.0)
            if not listening.done() and time.monotonic() > director.deadline:
                self._emit(events.RoleStuck("director", format_duration(BEAT_LIMIT)))
                director.kill()
        director.channel.close()
        director.child.release()
        _, status = await asyncio.to_thread(os.waitpid, director.child.pid, 0)
        director.reaped = True
        if self._director is director:
            lived = time.monotonic() - director.born
            if lived > STABLE_AFTER:
                self._backoff = BACKOFF_FIRST
            self._emit(
                events.RoleDied("director", describe_status(status), format_duration(self._backoff))
            )
            self._request("director died")

    async def _revive(self) -> None:
        """Start the director again; it adopts what the dead one left in the kernel."""
        await asyncio.sleep(self._backoff)
        self._backoff = min(self._backoff * 2, BACKOFF_MAX)
        await self._spawn_director()
        if self._spec is None:
            return
        answer = await self._apply(self._spec)
        if isinstance(answer, Failed):
            self._emit(events.ApplyFailed(answer.message, answer.hint))

    async def _stop(self, *, remove: bool) -> None:
        started = time.monotonic()
        director, self._director = self._director, None
        if director is None:
            return
        kept = True
        try:
            answer = await director.ask(Stop(remove), STOP_LIMIT)
            kept = isinstance(answer, Stopped) and answer.kept
        except (ConnectionError, TimeoutError):
            director.kill()
        if remove:
            self._emit(events.DaemonStopped(kept, format_duration(time.monotonic() - started)))


def _open_pid_file(run_dir: Path) -> TextIO:
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        return (run_dir / "lvskeeper.pid").open("a+", encoding="ascii")
    except OSError as error:
        raise OperatorError(
            f"runtime directory {run_dir}: {error.strerror}",
            status=ExitStatus.PERMISSION,
            hint="Run as root, or name another directory with --run-dir.",
        ) from error


async def _lock(run_dir: Path) -> TextIO:
    """Take the runtime directory for this daemon and write the pid file.

    Raises :class:`OperatorError` when another daemon has it.
    """
    file = _open_pid_file(run_dir)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                file.close()
                raise OperatorError(
                    f"another lvskeeper (pid {owner}) uses {run_dir}",
                    status=ExitStatus.BUSY,
                    hint="Stop it first, or name another directory with --run-dir.",
                ) from None
            await asyncio.sleep(0.05)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
