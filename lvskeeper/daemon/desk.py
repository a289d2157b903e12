"""Answers what the control socket asks: from what the supervisor knows, and from its roles."""

import asyncio
import os
import time
from pathlib import Path
from typing import Final, assert_never, final

import msgspec

from lvskeeper import __version__
from lvskeeper.daemon.flights import Flights
from lvskeeper.daemon.loader import NOTHING
from lvskeeper.daemon.questions import (
    Ask,
    AskError,
    Confirm,
    ListOverrides,
    Override,
    ReadEvents,
    Record,
    Reload,
    Reply,
    RoleQuestion,
    TakeFlight,
    TakeSnapshot,
)
from lvskeeper.daemon.recorder import Recorder
from lvskeeper.daemon.reloads import Reloads
from lvskeeper.daemon.staff import Post, Staff
from lvskeeper.observe import order_events as events
from lvskeeper.observe.diary import EventsView
from lvskeeper.observe.log import Emit
from lvskeeper.observe.snapshot import DaemonView, Problem, RecordingView, ReloadView, RoleView

ROLE_LIMIT: Final = 3.0
"""Seconds that a role has for an answer; a beat comes every second."""
ORDER_LIMIT: Final = 15.0
"""Seconds until an order is in the kernel's table."""
RELOAD_LIMIT: Final = 300.0
"""Seconds for a reload: loading the file, and both roles."""


@final
class _Snapshot(msgspec.Struct, frozen=True):
    """:class:`~lvskeeper.observe.snapshot.Snapshot` with the parts as the roles sent them."""

    daemon: DaemonView
    director: msgspec.Raw
    router: msgspec.Raw
    problems: tuple[Problem, ...]


@final
class Desk:
    """Knows whom to ask for what."""

    def __init__(
        self,
        staff: Staff,
        file: Path,
        recorder: Recorder,
        reloads: Reloads,
        emit: Emit,
        *,
        run_dir: Path,
        dry_run: bool = False,
    ) -> None:
        self._staff = staff
        self._dry_run = dry_run
        self._reloads = reloads
        self._emit = emit
        self.recorder: Final = recorder
        self.flights: Final = Flights(self._flight_parts, recorder.diary, run_dir, emit)
        recorder.on_entry = self.flights.on_entry
        self._file = file
        self._started = time.monotonic()
        self._generation = 0
        self._applied: float | None = None
        self.last_reload = ""
        """How it ended, in words."""

    def on_applied(self, generation: int) -> None:
        """Hear that *generation* is in force."""
        self._generation, self._applied = generation, time.monotonic()

    async def answer(self, asked: Ask) -> Reply:
        """Return the answer to a question of the control socket."""
        try:
            match asked.question:
                case TakeSnapshot(roles=roles):
                    return await self._snapshot(asked.number, roles=roles)
                case ListOverrides() | Override():
                    director, limit = self._staff.director, ORDER_LIMIT
                    reply = await self.ask_role(director, asked.question, asked.by, limit)
                    return Reply(asked.number, reply.body, reply.problem)
                case Reload():
                    return await self._reload(asked.number, asked.question)
                case Confirm():
                    self._reloads.confirm()
                    self._emit(events.ReloadConfirmed(asked.by))
                    return Reply(asked.number)
                case ReadEvents() | Record() | TakeFlight():
                    found = await self._remembered(asked.question, asked.by)
                    return Reply(asked.number, msgspec.Raw(msgspec.json.encode(found)))
                case _:
                    assert_never(asked.question)
        except AskError as error:
            return Reply(asked.number, problem=error.problem)

    async def _remembered(
        self, question: ReadEvents | Record | TakeFlight, by: str
    ) -> EventsView | RecordingView:
        match question:
            case ReadEvents():
                return await self.recorder.read(question)
            case Record():
                path = await self.flights.write(f"asked for by {by or 'somebody'}")
                return RecordingView(str(path))
            case TakeFlight():
                raise AskError("bad_request", "a part of a recording is not told alone")
            case _:
                assert_never(question)

    async def _reload(self, number: int, asked: Reload) -> Reply:
        order = self._reloads.order(asked.confirm_seconds)
        if not asked.wait:
            view = ReloadView(applied=False, message="the reload was asked for")
            return Reply(number, msgspec.Raw(msgspec.json.encode(view)))
        view = await order.result(RELOAD_LIMIT)
        problem = None if view.applied else Problem("refused", view.message)
        return Reply(number, msgspec.Raw(msgspec.json.encode(view)), problem)

    async def ask_role(
        self, post: Post, question: RoleQuestion, by: str = "", limit: float | None = None
    ) -> Reply:
        """Return what the role of *post* answers; raise :class:`AskError` where it does not."""
        if post.spec == NOTHING:
            raise AskError("not_found", f"the configuration has nothing for the {post.name}")
        if post.role is None:
            raise AskError(
                "unavailable", f"no {post.name} role runs", "It is started again; try then."
            )
        return await post.role.query(question, ROLE_LIMIT if limit is None else limit, by)

    async def _snapshot(self, number: int, *, roles: bool) -> Reply:
        if not roles:
            alone = _Snapshot(self._daemon(), NOTHING, NOTHING, ())
            return Reply(number, msgspec.Raw(msgspec.json.encode(alone)))
        (director, worry), (router, other) = await asyncio.gather(
            self._view(self._staff.director), self._view(self._staff.router)
        )
        problems = tuple(problem for problem in (worry, other) if problem is not None)
        whole = _Snapshot(self._daemon(), director, router, problems)
        body = msgspec.Raw(msgspec.json.encode(whole))
        return Reply(number, body, problems[0] if problems else None)

    async def _flight_parts(self) -> tuple[Reply | AskError, Reply | AskError]:
        """Return what director and router kept of the last minutes, or why they do not tell."""
        director, router = await asyncio.gather(
            self.ask_role(self._staff.director, TakeFlight()),
            self.ask_role(self._staff.router, TakeFlight()),
            return_exceptions=True,
        )
        return _or_problem(director), _or_problem(router)

    async def _view(self, post: Post) -> tuple[msgspec.Raw, Problem | None]:
        if post.spec == NOTHING:
            return NOTHING, None
        try:
            reply = await self.ask_role(post, TakeSnapshot())
        except AskError as error:
            return NOTHING, error.problem
        return reply.body, reply.problem

    def _daemon(self) -> DaemonView:
        now, deadline = time.monotonic(), self._reloads.deadline
        return DaemonView(
            taken=now,
            time=time.time(),
            version=__version__,
            pid=os.getpid(),
            age=now - self._started,
            file=str(self._file),
            generation=self._generation,
            applied_age=None if self._applied is None else now - self._applied,
            unconfirmed=None if deadline is None else max(0.0, deadline - now),
            last_reload=self.last_reload,
            roles=tuple(_role_view(post, now) for post in self._staff.posts.values()),
            dry_run=self._dry_run,
        )


def _or_problem(found: Reply | BaseException) -> Reply | AskError:
    if isinstance(found, Reply | AskError):
        return found
    raise found


def _role_view(post: Post, now: float) -> RoleView:
    role = post.role
    if role is None:
        return RoleView(post.name, None, None, None)
    return RoleView(post.name, role.pid, now - role.born, now - role.last_sign)
