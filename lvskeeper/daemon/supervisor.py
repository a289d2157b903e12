"""The supervisor: owns signals, the configuration and the roles; touches no kernel table.

It loads a file in a child, hands the result to the roles, and starts a role again when it dies. A
reload is a transaction: a file with errors never reaches a role. The router role is there only as
long as the configuration has something for it.
"""

import asyncio
import contextlib
import fcntl
import importlib
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, TypeVar, assert_never, final

import msgspec

from lvskeeper import __version__
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    DirectorBeat,
    Failed,
    Loaded,
    Mail,
    Report,
    Stop,
    Stopped,
    SyncRole,
)
from lvskeeper.daemon.loader import NOTHING, loader_main
from lvskeeper.daemon.process import describe_status, reaped, spawn
from lvskeeper.daemon.role import News, Role, RoleName
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe import events, vrrp_events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

if TYPE_CHECKING:
    from lvskeeper.daemon.mail import MailQueue

APPLY_LIMIT: Final = 120.0
"""Seconds that a role may need for one configuration."""

STOP_LIMIT: Final = 20.0
"""Seconds that a role may need to take what is ours out of the kernel."""

LOAD_LIMIT: Final = 120.0
"""Seconds that parsing a file may take."""

MAIL_PATIENCE: Final = 5.0
"""Seconds that mails which wait get at a stop."""

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
    allow_empty: bool = False
    """Take a configuration that serves nothing."""


@final
@dataclass(slots=True)
class _Post:
    """The place of a role: who holds it now, and what it is to do."""

    name: RoleName
    main: Callable[[socket.socket], int]
    role: Role | None = None
    spec: msgspec.Raw = field(default_factory=lambda: NOTHING)
    """What was applied last."""
    backoff: float = BACKOFF_FIRST
    died: bool = False
    manning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while somebody sees to it that a role is there."""


@final
class Supervisor:
    """One run of the daemon."""

    def __init__(
        self,
        settings: Settings,
        mains: Mapping[RoleName, Callable[[socket.socket], int]],
        emit: Emit,
        report: TextIO,
    ) -> None:
        """Make it; *mains* has what each role runs on its end of a channel."""
        self._settings = settings
        self._posts = {name: _Post(name, mains[name]) for name in RoleName}
        self._director = self._posts[RoleName.DIRECTOR]
        self._router = self._posts[RoleName.ROUTER]
        self._emit = emit
        self._report = report
        self._generation = 0
        self._sync: SyncRole | None = None
        self._mails: MailQueue | None = None
        self._stop_reason = ""
        self._reload_wanted = False
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
        loop.add_signal_handler(signal.SIGUSR1, self._ask_for_reports)

    def _ask_to_stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self._wake.set()

    def _ask_to_reload(self) -> None:
        self._reload_wanted = True
        self._wake.set()

    def _ask_for_reports(self) -> None:
        for post in self._posts.values():
            self._tell(post, Report())

    def _tell(self, post: _Post, message: msgspec.Struct) -> None:
        """Send *message* to the role of *post*, if one is there."""
        if post.role is not None:
            self._tasks.create_task(post.role.tell(message))

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
        # It imports its modules while the file is being loaded.
        await self._man(self._director)
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
        answer = await self._apply_all(loaded)
        match answer:
            case Applied():
                self._emit(
                    events.DaemonReady(
                        answer.virtual_servers,
                        answer.real_servers,
                        answer.instances,
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
            # The router first: until then its addresses may be here and at its peer.
            dead = next((post for post in reversed(self._posts.values()) if post.died), None)
            if dead is not None:
                dead.died = False
                await self._unless_stopped(self._revive(dead))
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
        answer = await self._apply_all(loaded)
        match answer:
            case Applied():
                self._emit(
                    events.ReloadApplied(
                        answer.operations,
                        answer.virtual_servers,
                        answer.instances,
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

    def _show(self, loaded: Loaded) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._report.write(loaded.report)
            self._report.flush()

    async def _load(self) -> Loaded:
        """Load the file in a child; a loader that dies or hangs is a refused file."""
        settings = self._settings
        main = loader_main(str(settings.file), allow_empty=settings.allow_empty)
        child = spawn("loader", main, die_with_parent=True)
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
        return Loaded(NOTHING, (problem,), (), f"{problem}\n", status=ExitStatus.INTERNAL)

    async def _apply_all(self, loaded: Loaded) -> Applied | Failed:
        """Give each role its part; where one cannot take it, those before it get theirs back."""
        wanted = {RoleName.DIRECTOR: loaded.spec, RoleName.ROUTER: loaded.router}
        total = Applied(self._generation)
        done: list[tuple[_Post, msgspec.Raw]] = []
        for post in self._posts.values():
            before, spec = post.spec, wanted[post.name]
            if spec == NOTHING:
                await self._dismiss(post)
                continue
            answer = await self._apply(post, spec)
            if isinstance(answer, Failed):
                for earlier, old in reversed(done):
                    if old != NOTHING:
                        await self._apply(earlier, old)
                return answer
            done.append((post, before))
            total = _sum(total, answer)
        return total

    async def _apply(self, post: _Post, spec: msgspec.Raw) -> Applied | Failed:
        """Let the role of *post* do *spec*; one that did half of it is killed, and starts anew."""
        role = await self._man(post)
        self._generation += 1
        try:
            answer = await role.ask(Apply(self._generation, spec), APPLY_LIMIT)
        except (ConnectionError, TimeoutError) as error:
            answer = Failed(
                self._generation,
                f"the {post.name} role did not apply the configuration: "
                f"{str(error) or 'no answer'}",
                "Look for its traceback above.",
                ExitStatus.INTERNAL,
                intact=False,
            )
        assert not isinstance(answer, Stopped)
        if isinstance(answer, Applied):
            post.spec = spec
            if post is self._director and self._sync is not None:
                self._tell(post, self._sync)
        elif not answer.intact:
            # A new one brings back what was applied last.
            role.kill()
        return answer

    async def _man(self, post: _Post) -> Role:
        """Return the role of *post*, a new one where none is there."""
        async with post.manning:
            return post.role or await self._spawn(post)

    async def _spawn(self, post: _Post) -> Role:
        if post is self._router:
            # All its lives share them, and a new one is there at once.
            importlib.import_module("lvskeeper.daemon.router")
        child = spawn(post.name, post.main)
        try:
            channel = await Channel.connect(child.sock)
        except BaseException:
            child.sock.close()
            child.release()
            await reaped(child.pid)
            raise
        role = post.role = Role(post.name, child, channel, lambda news: self._on_news(post, news))
        self._tasks.create_task(self._watch(post, role))
        return role

    def _on_news(self, post: _Post, news: News) -> None:
        match news:
            case Beat():
                if post is self._director:
                    self._tell(self._router, DirectorBeat())
            case SyncRole():
                self._sync = news
                self._tell(self._director, news)
            case Mail():
                self._post_mail(news)
            case _:
                assert_never(news)

    def _post_mail(self, mail: Mail) -> None:
        from lvskeeper.daemon.mail import MailQueue  # noqa: PLC0415 - few configurations mail
        from lvskeeper.daemon.router_spec import MailSpec  # noqa: PLC0415 - see above

        if self._mails is None:
            self._mails = MailQueue(self._on_mail)
        settings = msgspec.json.decode(mail.settings, type=MailSpec)
        self._mails.put(settings, mail.subject, mail.body)

    def _on_mail(self, sent: bool, detail: str) -> None:
        if sent:
            self._emit(vrrp_events.MailSent(detail))
        else:
            self._emit(vrrp_events.MailFailed(detail))

    async def _watch(self, post: _Post, role: Role) -> None:
        """Wait for the end of *role*; where nobody asked for it, see to it that another starts."""

        def stuck(silent: float) -> None:
            self._emit(events.RoleStuck(role.name, format_duration(silent)))

        status = await role.live(stuck)
        if post.role is role:
            post.role = None
            if time.monotonic() - role.born > STABLE_AFTER:
                post.backoff = BACKOFF_FIRST
            pause = format_duration(post.backoff)
            self._emit(events.RoleDied(role.name, describe_status(status), pause))
            post.died = True
            self._wake.set()
            if post is self._router and post.spec != NOTHING:
                # Others may be at work for minutes; the addresses that it has left go now.
                await asyncio.sleep(post.backoff)
                if not self._stop_reason and post.died:
                    await self._man(post)

    async def _revive(self, post: _Post) -> None:
        """Start a role again; it adopts what the dead one left in the kernel."""
        if post.spec == NOTHING:
            return  # its first configuration was its end, or a reload has no work for it any more
        if post.role is None:
            await asyncio.sleep(post.backoff)
        post.backoff = min(post.backoff * 2, BACKOFF_MAX)
        answer = await self._apply(post, post.spec)
        match answer:
            case Applied():
                self._emit(events.RoleRevived(post.name, answer.operations))
            case Failed():
                self._emit(events.ApplyFailed(answer.message, answer.hint))
                if post.role is not None:
                    post.role.kill()

    async def _dismiss(self, post: _Post) -> tuple[bool, tuple[str, ...]]:
        """Let a role take what is ours out of the kernel and end; return if it kept it, or why."""
        role = await self._relieve(post)
        post.spec = NOTHING
        return (False, ()) if role is None else await self._end(role, remove=True)

    async def _relieve(self, post: _Post) -> Role | None:
        """Return the role of *post*, which is nobody's then; it will not be started again.

        In place of a router that died there is a new one, to take away what that has left: its
        peer has the addresses by now.
        """
        if post is self._router and post.spec != NOTHING:
            await self._man(post)
        role, post.role = post.role, None
        return role

    async def _end(self, role: Role, *, remove: bool) -> tuple[bool, tuple[str, ...]]:
        try:
            answer = await role.ask(Stop(remove), STOP_LIMIT)
            assert isinstance(answer, Stopped)
        except (ConnectionError, TimeoutError) as error:
            role.kill()
            return False, (f"the {role.name} role did not stop: {str(error) or 'no answer'}",)
        return answer.kept, answer.left

    async def _stop(self, *, remove: bool) -> ExitStatus:
        """End the roles, which take what is ours out of the kernel if they are to *remove* it.

        The router goes first: its peer has the addresses before the services here are gone.
        """
        started = time.monotonic()
        left: list[str] = []
        kept = False
        for post in reversed(self._posts.values()):
            role = await self._relieve(post)
            if role is None:
                if post.spec != NOTHING:
                    left.append(f"no {post.name} role is there to remove anything")
                continue
            ended = await self._end(role, remove=remove)
            kept = kept or ended[0]
            left += ended[1]
        if self._mails is not None:
            await self._mails.close(MAIL_PATIENCE)
        if not remove:
            return ExitStatus.OK
        for reason in left:
            self._emit(events.StopIncomplete(reason))
        self._emit(events.DaemonStopped(kept, format_duration(time.monotonic() - started)))
        return ExitStatus.KERNEL if left else ExitStatus.OK


def _sum(total: Applied, answer: Applied) -> Applied:
    return Applied(
        answer.generation,
        total.operations + answer.operations,
        total.refused + answer.refused,
        total.virtual_servers + answer.virtual_servers,
        total.real_servers + answer.real_servers,
        total.instances + answer.instances,
    )


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
