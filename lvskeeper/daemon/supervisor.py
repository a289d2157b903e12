"""The supervisor: owns signals, the configuration and the roles; touches no kernel table.

It loads a file in a child, hands the result to the director role, and starts that role again when
it dies. A reload is a transaction: a file with errors never reaches the director.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeVar, assert_never, final

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
from lvskeeper.daemon.process import Child, describe_status, reaped, spawn
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

LOCK_PATIENCE: Final = 10.0
"""Seconds to wait for the roles of a killed predecessor to end, with the scripts that they run."""


Result = TypeVar("Result")


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
        self.patience = BIRTH_LIMIT
        self.last_sign = self.born
        self.reaped = False
        self._asked: Apply | Stop | None = None
        self._answer: asyncio.Future[Applied | Failed | Stopped] | None = None
        self._decoder: msgspec.json.Decoder[FromDirector] = msgspec.json.Decoder(FromDirector)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if not self.reaped:
            os.kill(self.child.pid, signal.SIGKILL)

    async def ask(self, message: Apply | Stop, limit: float) -> Applied | Failed | Stopped:
        """Send *message* and wait for its answer, *limit* seconds at most.

        Raises ``ConnectionError`` where it ended and ``TimeoutError``.
        """
        self._asked = message
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit):
                await self.channel.send(message)
                return await self._answer
        finally:
            self._asked = self._answer = None

    async def listen(self) -> None:
        """Take in messages until the role ends; an open question then fails."""
        try:
            while (message := await self.channel.receive(self._decoder)) is not None:
                match message:
                    case Beat():
                        self.last_sign = time.monotonic()
                        self.patience = BEAT_LIMIT
                    case Applied() | Failed() | Stopped():
                        self._take(message)
                    case _:
                        assert_never(message)
        finally:
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(ConnectionResetError("the director role ended"))

    def _take(self, message: Applied | Failed | Stopped) -> None:
        """Give *message* to who asked for it; a late answer to an earlier question is dropped."""
        match self._asked, message:
            case Apply(generation=asked), Applied(generation=told) | Failed(generation=told):
                fits = asked == told
            case Stop(), Stopped():
                fits = True
            case _:
                fits = False
        if fits and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)


@final
class Supervisor:
    """One run of the daemon."""

    def __init__(
        self,
        settings: Settings,
        director_main: Callable[[socket.socket], int],
        emit: Emit,
        report: TextIO,
    ) -> None:
        self._settings = settings
        self._director_main = director_main
        self._emit = emit
        self._report = report
        self._director: _Director | None = None
        self._spec = NOTHING
        self._generation = 0
        self._backoff = BACKOFF_FIRST
        self._stop_reason = ""
        self._reload_wanted = False
        self._died = False
        self._wake = asyncio.Event()

    async def run(self) -> ExitStatus:
        """Start, serve until a stop is asked for, stop; return the exit status."""
        started = time.monotonic()
        self._catch_signals()
        lock = await _lock(self._settings.run_dir)
        try:
            self._emit(
                events.DaemonStarted(
                    __version__, str(self._settings.file), str(self._settings.run_dir)
                )
            )
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                status = await self._unless_stopped(self._start(started))
                if status is None or status is ExitStatus.OK:
                    await self._serve()
                    return await self._stop(remove=True)
                await self._stop(remove=False)
            return status
        finally:
            lock.close()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._ask_to_reload)

    def _ask_to_stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self._wake.set()

    def _ask_to_reload(self) -> None:
        self._reload_wanted = True
        self._wake.set()

    async def _unless_stopped(self, work: Coroutine[object, object, Result]) -> Result | None:
        """Do *work*, but drop it where a stop is asked for meanwhile; then return ``None``."""
        task = asyncio.ensure_future(work)
        while not task.done():
            waiting = asyncio.ensure_future(self._wake.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._stop_reason and not task.done():
                task.cancel()
                await asyncio.wait({task})
                return None
            self._wake.clear()
        return task.result()

    async def _start(self, started: float) -> ExitStatus:
        """Bring the first configuration into the kernel."""
        await self._spawn_director()
        loaded = await self._load()
        if loaded.errors:
            self._show(loaded)
            self._emit(
                events.ConfigurationRefused(
                    str(self._settings.file), len(loaded.errors), loaded.errors[0]
                )
            )
            return loaded.status
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
        """Answer what is asked until it is to stop."""
        while not self._stop_reason:
            if self._died:
                self._died = False
                await self._unless_stopped(self._revive())
            elif self._reload_wanted:
                self._reload_wanted = False
                await self._unless_stopped(self._reload())
            else:
                await self._wake.wait()
                self._wake.clear()
        self._emit(events.DaemonStopping(self._stop_reason))

    async def _reload(self) -> None:
        started = time.monotonic()
        loaded = await self._load()
        if loaded.errors:
            self._show(loaded)
            self._emit(
                events.ReloadRefused(str(self._settings.file), len(loaded.errors), loaded.errors[0])
            )
            return
        self._warn(loaded)
        answer = await self._apply(loaded.spec)
        match answer:
            case Applied():
                self._spec = loaded.spec
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
                if not answer.intact and self._director is not None:
                    # Half of the new configuration stands: a new director brings the old one back.
                    self._director.kill()

    def _warn(self, loaded: Loaded) -> None:
        if loaded.warnings:
            self._emit(
                events.ConfigurationWarned(
                    str(self._settings.file), len(loaded.warnings), loaded.warnings[0]
                )
            )

    def _show(self, loaded: Loaded) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._report.write(loaded.report)
            self._report.flush()

    async def _load(self) -> Loaded:
        """Load the file in a child; a loader that dies or hangs is a refused file."""
        child = spawn("loader", loader_main(str(self._settings.file)), die_with_parent=True)
        channel = await Channel.connect(child.sock)
        loaded = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOAD_LIMIT):
                    loaded = await channel.receive(msgspec.json.Decoder(Loaded))
        finally:
            channel.close()
            child.release()
            if loaded is None:
                os.kill(child.pid, signal.SIGKILL)
            status = await reaped(child.pid)
        if loaded is not None:
            return loaded
        problem = f"{self._settings.file}: loading it failed: {describe_status(status)}"
        return Loaded(NOTHING, (problem,), (), f"{problem}\n", ExitStatus.INTERNAL)

    async def _apply(self, spec: msgspec.Raw) -> Applied | Failed:
        self._generation += 1
        director = self._director
        assert director is not None
        try:
            answer = await director.ask(Apply(self._generation, spec), APPLY_LIMIT)
        except (ConnectionError, TimeoutError) as error:
            director.kill()
            return Failed(
                self._generation,
                f"the director role did not apply the configuration: {str(error) or 'no answer'}",
                "Look for its traceback above.",
                ExitStatus.INTERNAL,
                intact=False,
            )
        assert not isinstance(answer, Stopped)
        return answer

    async def _spawn_director(self) -> None:
        child = spawn("director", self._director_main)
        try:
            channel = await Channel.connect(child.sock)
        except BaseException:
            child.sock.close()
            child.release()
            await reaped(child.pid)
            raise
        self._director = _Director(child, channel)
        self._tasks.create_task(self._watch(self._director))

    async def _watch(self, director: _Director) -> None:
        """Listen to one director until it has ended, and reap it."""
        listening = asyncio.ensure_future(director.listen())
        stuck = False
        while not listening.done():
            await asyncio.wait({listening}, timeout=1.0)
            silent = time.monotonic() - director.last_sign
            if not listening.done() and not stuck and silent > director.patience:
                stuck = True
                self._emit(events.RoleStuck("director", format_duration(silent)))
                director.kill()
        if listening.exception() is not None:
            director.kill()
        director.channel.close()
        director.child.release()
        status = await reaped(director.child.pid)
        director.reaped = True
        if self._director is director:
            self._director = None
            if time.monotonic() - director.born > STABLE_AFTER:
                self._backoff = BACKOFF_FIRST
            pause = format_duration(self._backoff)
            self._emit(events.RoleDied("director", describe_status(status), pause))
            self._died = True
            self._wake.set()

    async def _revive(self) -> None:
        """Start the director again; it adopts what the dead one left in the kernel."""
        await asyncio.sleep(self._backoff)
        self._backoff = min(self._backoff * 2, BACKOFF_MAX)
        await self._spawn_director()
        answer = await self._apply(self._spec)
        match answer:
            case Applied():
                self._emit(events.RoleRevived("director", answer.operations))
            case Failed():
                self._emit(events.ApplyFailed(answer.message, answer.hint))
                if self._director is not None:
                    self._director.kill()

    async def _stop(self, *, remove: bool) -> ExitStatus:
        """End the director, which takes what is ours out of the kernel if it is to *remove* it."""
        started = time.monotonic()
        director, self._director = self._director, None
        if director is None:
            left: tuple[str, ...] = ("no director role is there to remove anything",)
            kept = False
        else:
            try:
                answer = await director.ask(Stop(remove), STOP_LIMIT)
                assert isinstance(answer, Stopped)
                left, kept = answer.left, answer.kept
            except (ConnectionError, TimeoutError) as error:
                director.kill()
                left, kept = (
                    (f"the director role did not stop: {str(error) or 'no answer'}",),
                    False,
                )
        if not remove:
            return ExitStatus.OK
        for reason in left:
            self._emit(events.StopIncomplete(reason))
        self._emit(events.DaemonStopped(kept, format_duration(time.monotonic() - started)))
        return ExitStatus.KERNEL if left else ExitStatus.OK


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


def _runs(pid: str) -> bool:
    return bool(pid) and Path("/proc", pid).exists()


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
            file.seek(0)
            owner = file.read().strip()
            # Where it is dead, the last of its roles are about to let go.
            if time.monotonic() > deadline or _runs(owner):
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
