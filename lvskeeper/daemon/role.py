"""The supervisor's view of a role: one life of a child process, and what is asked of it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias, assert_never, final

import msgspec

from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    FromRole,
    Mail,
    Stop,
    Stopped,
    SyncRole,
    Told,
)
from lvskeeper.daemon.process import Child, reaped
from lvskeeper.daemon.questions import Ask, AskError, Reply, RoleQuestion

BEAT_LIMIT: Final = 15.0
"""Seconds without a beat after which a role counts as stuck and is killed."""

BIRTH_LIMIT: Final = 60.0
"""Seconds until the first beat: a role imports its modules first, from a cold disk perhaps."""

LOOK: Final = 1.0
"""Seconds between two looks at the time of the last beat."""

MAX_OPEN: Final = 32
"""Questions that a role may have before it at once."""


@final
class RoleName(StrEnum):
    """The roles, in the order in which they get a configuration; they stop in the other one."""

    DIRECTOR = "director"
    ROUTER = "router"


News: TypeAlias = Beat | SyncRole | Mail | Told
"""What a role tells without being asked."""
Answer: TypeAlias = Applied | Failed | Stopped


@final
class Role:
    """One life of a role; it ends with the process."""

    def __init__(
        self, name: RoleName, child: Child, channel: Channel, on_news: Callable[[News], None]
    ) -> None:
        self.name: Final = name
        self.born: Final = time.monotonic()
        self._child = child
        self._channel = channel
        self._on_news = on_news
        self._patience = BIRTH_LIMIT
        self._last_sign = self.born
        self._reaped = False
        self._asked: Apply | Stop | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._asked_so_far = 0
        self._decoder: msgspec.json.Decoder[FromRole] = msgspec.json.Decoder(FromRole)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    @property
    def last_sign(self) -> float:
        """When it last gave a sign of life, on the monotonic clock."""
        return self._last_sign

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if not self._reaped:
            os.kill(self._child.pid, signal.SIGKILL)

    async def tell(self, message: msgspec.Struct) -> None:
        """Send *message*; a role that is gone does not hear it."""
        try:
            await self._channel.send(message)
        except ConnectionError:
            return

    async def ask(self, message: Apply | Stop, limit: float) -> Answer:
        """Send *message* and wait for its answer, *limit* seconds at most.

        Raises ``ConnectionError`` where it ended and ``TimeoutError``.
        """
        self._asked = message
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit):
                await self._channel.send(message)
                return await self._answer
        finally:
            self._asked = self._answer = None

    async def query(self, question: RoleQuestion, limit: float, by: str = "") -> Reply:
        """Ask *question* for *by* and wait for the answer, *limit* seconds at most.

        Raises :class:`AskError` where it ends, is stuck, or has too much to answer already. A late
        answer is dropped, so none is ever older than its question.
        """
        if len(self._open) >= MAX_OPEN:
            raise AskError("unavailable", f"the {self.name} role has too many questions to answer")
        self._asked_so_far += 1
        number = self._asked_so_far
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            async with asyncio.timeout(limit):
                await self._channel.send(Ask(number, question, by))
                return await answer
        except TimeoutError:
            silent = time.monotonic() - self._last_sign
            raise AskError(
                "timed_out",
                f"the {self.name} role did not answer within {limit:g} s; "
                f"its last sign of life was {silent:.1f} s ago",
                "It is busy or stuck; one that stays silent is ended and started again.",
            ) from None
        except ConnectionError:
            raise AskError(
                "unavailable", f"the {self.name} role ended", "It is started again; try then."
            ) from None
        finally:
            del self._open[number]

    async def live(self, on_stuck: Callable[[float], None]) -> int:
        """Listen until it has ended, kill it if it is stuck, and return its exit status.

        *on_stuck* gets the seconds without a beat before it is killed for that.
        """
        listening = asyncio.ensure_future(self._listen())
        stuck = False
        while not listening.done():
            began = time.monotonic()
            await asyncio.wait({listening}, timeout=LOOK)
            now = time.monotonic()
            # While we stood still ourselves, nobody could hear it.
            self._last_sign = min(now, self._last_sign + max(0.0, now - began - LOOK))
            silent = now - self._last_sign
            if not listening.done() and not stuck and silent > self._patience:
                stuck = True
                on_stuck(silent)
                self.kill()
        if listening.exception() is not None:
            self.kill()
        self._channel.close()
        self._child.release()
        status = await reaped(self._child.pid)
        self._reaped = True
        return status

    async def _listen(self) -> None:
        """Take in messages until the role ends; an open question then fails."""
        try:
            while (message := await self._channel.receive(self._decoder)) is not None:
                match message:
                    case Beat():
                        self._last_sign = time.monotonic()
                        self._patience = BEAT_LIMIT
                        self._on_news(message)
                    case SyncRole() | Mail() | Told():
                        self._on_news(message)
                    case Applied() | Failed() | Stopped():
                        self._take(message)
                    case Reply(number=number):
                        waiting = self._open.get(number)
                        if waiting is not None and not waiting.done():
                            waiting.set_result(message)
                    case _:
                        assert_never(message)
        finally:
            gone = ConnectionResetError(f"the {self.name} role ended")
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(gone)
            for waiting in self._open.values():
                if not waiting.done():
                    waiting.set_exception(gone)

    def _take(self, message: Answer) -> None:
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
