"""The roles as the supervisor has them: each with its post, started, watched and let go."""

import asyncio
import contextlib
import importlib
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Channel, Stop, Stopped
from lvskeeper.daemon.loader import NOTHING
from lvskeeper.daemon.process import describe_status, reaped, spawn
from lvskeeper.daemon.role import News, Role, RoleName
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.units import format_duration

SHARED: Final = (
    "lvskeeper.daemon.roles", "lvskeeper.daemon.router_spec", "lvskeeper.kernel.rtnetlink",
)  # fmt: skip
"""What the roles and the loader import, or two of them: once for all, before any is forked."""

STOP_LIMIT: Final = 20.0
"""Seconds that a role may need to take what is ours out of the kernel."""

BACKOFF_FIRST: Final = 0.1
BACKOFF_MAX: Final = 5.0
STABLE_AFTER: Final = 30.0
"""A role that lived this long starts its back-off afresh."""


@final
@dataclass(slots=True)
class Post:
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
class Staff:
    """Sees to it that a post has its role as long as it is to have one."""

    def __init__(
        self,
        mains: Mapping[RoleName, Callable[[socket.socket], int]],
        emit: Emit,
        on_news: Callable[[Post, News], None],
        on_death: Callable[[], None],
    ) -> None:
        """Make it; *mains* has what each role runs on its end of a channel."""
        self.posts: Final = {name: Post(name, mains[name]) for name in RoleName}
        self.director: Final = self.posts[RoleName.DIRECTOR]
        self.router: Final = self.posts[RoleName.ROUTER]
        self.leaving = False
        """The daemon is about to stop."""
        self._emit = emit
        self._on_news = on_news
        self._on_death = on_death

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Do from now on in *tasks* what goes on beside."""
        self._tasks = tasks
        for name in SHARED:
            importlib.import_module(name)

    def begin_work(self, work: Coroutine[object, object, None]) -> None:
        """Let *work* go on beside."""
        self._tasks.create_task(work)

    def tell(self, post: Post, message: msgspec.Struct) -> None:
        """Send *message* to the role of *post*, if one is there."""
        if post.role is not None:
            self._tasks.create_task(post.role.tell(message))

    async def man(self, post: Post) -> Role:
        """Return the role of *post*, a new one where none is there."""
        async with post.manning:
            return post.role or await self._spawn(post)

    async def rest(self, post: Post) -> None:
        """Wait before a role is started again, the longer the more of them died."""
        if post.role is None:
            await asyncio.sleep(post.backoff)
        post.backoff = min(post.backoff * 2, BACKOFF_MAX)

    async def relieve(self, post: Post) -> Role | None:
        """Return the role of *post*, which is nobody's then; it will not be started again.

        In place of a router that died there is a new one, to take away what that has left: its
        peer has the addresses by now.
        """
        if post is self.router and post.spec != NOTHING:
            with contextlib.suppress(OSError):
                await self.man(post)
        role, post.role = post.role, None
        return role

    async def end(self, role: Role, *, remove: bool) -> tuple[bool, tuple[str, ...]]:
        """Let *role* end; return if it kept what is ours in the kernel, and what it had to leave.

        With *remove* it is to take it all out.
        """
        try:
            answer = await role.ask(Stop(remove), STOP_LIMIT)
            assert isinstance(answer, Stopped)
        except (ConnectionError, TimeoutError) as error:
            role.kill()
            return False, (f"the {role.name} role did not stop: {str(error) or 'no answer'}",)
        return answer.kept, answer.left

    async def _spawn(self, post: Post) -> Role:
        if post is self.router:
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

    async def _watch(self, post: Post, role: Role) -> None:
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
            self._on_death()
            if post is self.router and post.spec != NOTHING:
                # Others may be at work for minutes; the addresses that it has left go now.
                await asyncio.sleep(post.backoff)
                if not self.leaving and post.died:
                    with contextlib.suppress(OSError):  # who revives it tries again, and tells
                        await self.man(post)
