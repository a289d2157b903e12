"""Gives each role its part of a configuration: all of them take it, or none keeps it."""

from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Applied, Apply, Failed, Loaded, Stopped, SyncRole
from lvskeeper.daemon.desk import Desk
from lvskeeper.daemon.loader import NOTHING
from lvskeeper.daemon.role import RoleName
from lvskeeper.daemon.staff import Post, Staff
from lvskeeper.errors import ExitStatus
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit

APPLY_LIMIT: Final = 120.0
"""Seconds that a role may need for one configuration."""


@final
class Applier:
    """Numbers what is applied; *desk* is to know of it."""

    def __init__(self, staff: Staff, desk: Desk, emit: Emit) -> None:
        self._staff = staff
        self._desk = desk
        self._emit = emit
        self._generation = 0
        self._sync: SyncRole | None = None

    def follow(self, news: SyncRole) -> None:
        """Let the director, and each that comes after it, know the state of the sync instance."""
        self._sync = news
        self._staff.tell(self._staff.director, news)

    async def apply(self, loaded: Loaded) -> Applied | Failed:
        """Give each role its part; where one cannot take it, those before it get theirs back."""
        wanted = {RoleName.DIRECTOR: loaded.spec, RoleName.ROUTER: loaded.router}
        total = Applied(self._generation)
        done: list[tuple[Post, msgspec.Raw]] = []
        for post in self._staff.posts.values():
            before, spec = post.spec, wanted[post.name]
            if spec == NOTHING:
                await self._dismiss(post)
                continue
            answer = await self._give(post, spec)
            if isinstance(answer, Failed):
                for earlier, old in reversed(done):
                    earlier.spec = old  # also of its next life, where this one cannot take it
                    if old != NOTHING:
                        await self._give(earlier, old)
                return answer
            done.append((post, before))
            total = _sum(total, answer)
        return total

    async def _give(self, post: Post, spec: msgspec.Raw) -> Applied | Failed:
        """Let the role of *post* do *spec*; one that did half of it is killed, and starts anew."""
        self._generation += 1
        try:
            role = await self._staff.man(post)
        except OSError as error:
            return Failed(
                self._generation,
                f"the {post.name} role could not be started: {error.strerror or error}",
                "Is there room for another process: memory, TasksMax of the service?",
                ExitStatus.KERNEL,
                intact=True,
            )
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
            self._desk.on_applied(self._generation)
            if post is self._staff.director and self._sync is not None:
                self._staff.tell(post, self._sync)
        elif not answer.intact:
            # A new one brings back what was applied last.
            role.kill()
        return answer

    async def revive(self, post: Post) -> None:
        """Start a role again; it adopts what the dead one left in the kernel."""
        if post.spec == NOTHING:
            return  # its first configuration was its end, or a reload has no work for it any more
        await self._staff.rest(post)
        answer = await self._give(post, post.spec)
        match answer:
            case Applied():
                self._emit(events.RoleRevived(post.name, answer.operations))
            case Failed():
                self._emit(events.ApplyFailed(answer.message, answer.hint))
                if post.role is None:
                    post.died = True  # and so it is tried again
                else:
                    post.role.kill()

    async def _dismiss(self, post: Post) -> None:
        """Let a role take what is ours out of the kernel and end; tell what is left there."""
        role = await self._staff.relieve(post)
        post.spec = NOTHING
        if role is not None:
            _kept, left = await self._staff.end(role, remove=True)
            for reason in left:
                self._emit(events.StopIncomplete(reason))


def _sum(total: Applied, answer: Applied) -> Applied:
    return Applied(
        answer.generation,
        total.operations + answer.operations,
        total.refused + answer.refused,
        total.virtual_servers + answer.virtual_servers,
        total.real_servers + answer.real_servers,
        total.instances + answer.instances,
        total.changes | answer.changes,
    )
