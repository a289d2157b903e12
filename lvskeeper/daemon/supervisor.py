"""The supervisor: owns signals, the configuration and the roles; touches no kernel table.

It loads a file in a child, hands the result to the roles, and starts a role again when it dies. A
reload is a transaction: a file with errors never reaches a role. The router role is there only as
long as the configuration has something for it.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, TypeVar, assert_never, final

import msgspec

from lvskeeper import __version__
from lvskeeper.daemon.applier import Applier
from lvskeeper.daemon.channel import (
    Applied,
    Beat,
    DirectorBeat,
    Failed,
    Loaded,
    Mail,
    Report,
    SyncRole,
    Told,
)
from lvskeeper.daemon.desk import Desk
from lvskeeper.daemon.loader import NOTHING
from lvskeeper.daemon.loading import load_in_child
from lvskeeper.daemon.reception import Reception
from lvskeeper.daemon.recorder import Recorder
from lvskeeper.daemon.reloads import (
    STOPPING,
    ReloadOrder,
    Reloads,
    refusal,
    success,
    told_of,
)
from lvskeeper.daemon.role import News, RoleName
from lvskeeper.daemon.run_dir import (
    DUMP_SIGNALS,
    remove_pid_file,
    take_keep_mark,
    take_run_dir,
    write_pid_file,
)
from lvskeeper.daemon.staff import Post, Staff
from lvskeeper.daemon.standing import Standing
from lvskeeper.errors import ExitStatus
from lvskeeper.observe import events, vrrp_events
from lvskeeper.observe.log import Emit
from lvskeeper.observe.snapshot import ReloadView
from lvskeeper.units import format_duration

if TYPE_CHECKING:
    from lvskeeper.daemon.mail import MailQueue

MAIL_PATIENCE: Final = 5.0
"""Seconds that mails which wait get at a stop."""


Result = TypeVar("Result")


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """How the daemon runs, from the command line."""

    file: Path
    run_dir: Path
    allow_empty: bool = False
    """Take a configuration that serves nothing."""
    config_id: str | None = None
    """Which ``@id`` lines are read."""
    off: tuple[str, ...] = ()
    """Codes of the warnings that are not told."""
    compat: bool = False
    """Be as lenient with the file as keepalived."""
    dry_run: bool = False
    """The director only tells what it would do; for those who ask how things are."""
    only: RoleName | None = None
    """Serve this part of the configuration alone, as keepalived's ``-P`` and ``-C``."""
    keep_services: bool = False
    """Leave the director's part in the kernel at a stop, as keepalived's ``-I``."""
    keep_vips: bool = False
    """Leave the router's part there, as keepalived's ``-V``."""
    pid_file: Path | None = None
    """One more pid file."""
    web: str = ""
    """Where the status page is; empty for none."""
    dump_dir: Path | None = None
    """Where the dumps of keepalived's form go; the runtime directory if nothing is said."""


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
        self._recorder = Recorder()
        emit = self._recorder.tee("supervisor", emit)
        self._emit = emit
        self._report = report
        self._mails: MailQueue | None = None
        self._stop_reason = ""
        self._wake = asyncio.Event()
        self._reloads = Reloads(self._wake.set)
        self._standing = Standing()
        self._staff = Staff(mains, emit, self._on_news, self._wake.set)
        self._desk = Desk(
            self._staff,
            settings.file,
            self._recorder,
            self._reloads,
            emit,
            run_dir=settings.run_dir,
            dry_run=settings.dry_run,
        )
        self._applier = Applier(self._staff, self._desk, emit)
        self._reception = Reception(settings.run_dir, emit, self._desk.answer, settings.web)

    async def run(self) -> ExitStatus:
        """Start, serve until a stop is asked for, stop; return the exit status."""
        started = time.monotonic()
        self._catch_signals()
        lock = await take_run_dir(self._settings.run_dir)
        write_pid_file(self._settings.pid_file)
        try:
            self._emit(
                events.DaemonStarted(
                    __version__, str(self._settings.file), str(self._settings.run_dir)
                )
            )
            async with asyncio.TaskGroup() as tasks:
                self._staff.begin(tasks)
                self._tasks = tasks
                self._catch_dump_signals()
                status = await self._unless_stopped(self._start(started))
                if status is None or status is ExitStatus.OK:
                    if status is not None:
                        await self._admit()
                    await self._serve()
                    self._desk.flights.close()
                    await self._reception.close()
                    return await self._stop(remove=True)
                await self._stop(remove=False)
            return status
        finally:
            remove_pid_file(self._settings.pid_file)
            self._standing.close()
            lock.close()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._ask_to_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._ask_for_reports)

    def _ask_to_stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self._staff.leaving = True
        self._wake.set()

    def _ask_to_reload(self) -> None:
        self._reloads.want()

    def _catch_dump_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number, name in DUMP_SIGNALS.items():
            loop.add_signal_handler(number, self._ask_for_dump, name)

    def _ask_for_dump(self, name: str) -> None:
        # Imported late, as what it says of VRRP
        from lvskeeper.daemon.keepalived_dump import Dumper  # noqa: PLC0415 - see above

        folder = self._settings.dump_dir or self._settings.run_dir
        dumper = Dumper(self._desk, self._staff.router, folder, self._emit)
        self._staff.begin_work(dumper.write(name, time.time()))

    def _ask_for_reports(self) -> None:
        for post in self._staff.posts.values():
            self._staff.tell(post, Report())

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
        await self._staff.man(self._staff.director)
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
        answer = await self._applier.apply(loaded)
        match answer:
            case Applied():
                self._reloads.on_applied(loaded)
                self._standing.on_ready(answer)
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
            dead = next((post for post in reversed(self._staff.posts.values()) if post.died), None)
            if dead is not None:
                dead.died = False
                await self._unless_stopped(self._applier.revive(dead))
            elif (order := self._reloads.take()) is not None:
                await self._unless_stopped(self._reload(order))
            else:
                await self._wake.wait()
                self._wake.clear()
        self._reloads.close()
        self._standing.on_stop(self._stop_reason)
        self._emit(events.DaemonStopping(self._stop_reason))

    async def _load(self) -> Loaded:
        given = self._settings
        return await load_in_child(
            given.file, allow_empty=given.allow_empty, config_id=given.config_id, off=given.off,
            compat=given.compat, only=given.only,
        )  # fmt: skip

    async def _reload(self, order: ReloadOrder) -> None:
        self._standing.on_reload()
        applied = None
        try:
            applied = await self._bring_in(order)
        finally:
            order.settle(ReloadView(applied=False, message=STOPPING))
            self._desk.last_reload = order.done.result().message
            if not self._stop_reason:
                self._standing.on_ready(applied)

    async def _bring_in(self, order: ReloadOrder) -> Applied | None:
        """Load the file again and apply it; return what came of it, if it did."""
        started = time.monotonic()
        loaded = self._reloads.confirmed if order.rollback else await self._load()
        assert loaded is not None
        if loaded.errors:
            self._show(loaded)
            self._emit(
                events.ReloadRefused(str(self._settings.file), len(loaded.errors), loaded.errors[0])
            )
            order.settle(refusal(loaded))
            return None
        self._warn(loaded)
        answer = await self._applier.apply(loaded)
        if isinstance(answer, Failed):
            self._emit(events.ApplyFailed(answer.message, answer.hint))
            self._reloads.on_failed(order)
            order.settle(ReloadView(applied=False, message=answer.message))
            return None
        self._reloads.on_applied(loaded, order)
        await self._admit()
        took = time.monotonic() - started
        for event in told_of(order, answer, took):
            self._emit(event)
        order.settle(success(order, loaded, answer, took))
        return answer

    async def _admit(self) -> None:
        """Let those use the control socket whom the configuration that runs names."""
        running = self._reloads.running
        if running is not None:
            await self._reception.admit(running.control, self._tasks)

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

    def _on_news(self, post: Post, news: News) -> None:
        match news:
            case Beat():
                wanted = [one.name for one in self._staff.posts.values() if one.spec != NOTHING]
                self._standing.on_beat(post.name, news, wanted)
                if post is self._staff.director:
                    self._staff.tell(self._staff.router, DirectorBeat())
            case SyncRole():
                self._applier.follow(news)
            case Mail():
                self._post_mail(news)
            case Told():
                self._recorder.note(post.name, news)
            case _:
                assert_never(news)

    def _post_mail(self, mail: Mail) -> None:
        from lvskeeper.daemon.mail import MailQueue  # noqa: PLC0415 - few configurations mail
        from lvskeeper.daemon.roles import MailSpec  # noqa: PLC0415 - see above

        if self._mails is None:
            self._mails = MailQueue(self._on_mail)
        settings = msgspec.json.decode(mail.settings, type=MailSpec)
        self._mails.put(settings, mail.subject, mail.body)

    def _on_mail(self, sent: bool, detail: str) -> None:
        if sent:
            self._emit(vrrp_events.MailSent(detail))
        else:
            self._emit(vrrp_events.MailFailed(detail))

    async def _stop(self, *, remove: bool) -> ExitStatus:
        """End the roles, which take what is ours out of the kernel if they are to *remove* it.

        The router goes first: its peer has the addresses before the services here are gone.
        """
        started = time.monotonic()
        left: list[str] = []
        kept = False
        keep_services = self._settings.keep_services
        if remove and take_keep_mark(self._settings.run_dir):
            keep_services = True
        for post in reversed(self._staff.posts.values()):
            role = await self._staff.relieve(post)
            if role is None:
                if post.spec != NOTHING:
                    left.append(f"no {post.name} role is there to remove anything")
                continue
            if post is self._staff.router and remove and self._settings.keep_vips:
                role.kill()  # what it holds stays, and its peers hear nothing, as with keepalived
                continue
            stays = post is self._staff.director and keep_services
            ended = await self._staff.end(role, remove=remove and not stays)
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
