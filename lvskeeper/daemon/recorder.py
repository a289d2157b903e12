"""Keeps what all processes of the daemon told lately, and lets readers wait for more."""

import asyncio
import os
from typing import TYPE_CHECKING, Final, final

from lvskeeper.daemon.channel import Told
from lvskeeper.daemon.forward import told_event
from lvskeeper.daemon.questions import ReadEvents
from lvskeeper.observe.diary import Diary, Entry, EventsView
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import Emit

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAIT: Final = 30.0
"""Longest time that a reader may wait for an event, in seconds."""
MAX_WAITING: Final = 8
"""Readers that may wait at once; others are answered without a wait."""


@final
class Recorder:
    """The diary, and who waits for its next entry."""

    def __init__(self) -> None:
        self.diary: Final = Diary()
        self.on_entry: Callable[[Entry], None] = lambda _entry: None
        """Gets each entry."""
        self._news = asyncio.Event()
        self._waiting = 0

    def tee(self, role: str, emit: Emit) -> Emit:
        """Return what tells an event by *emit*, and notes it as one of *role*."""

        def tell(event: Event) -> None:
            emit(event)
            self.note(role, Told((told_event(event),)))

        return tell

    def note(self, role: str, told: Told) -> None:
        """Note what a role has told."""
        self.diary.lost += told.lost
        for event in told.events:
            self.on_entry(self.diary.note(role, event))
        self._news.set()

    async def read(self, asked: ReadEvents) -> EventsView:
        """Return what is asked for, after a wait for it if that is asked for, too."""
        if asked.after is not None and asked.after >= self.diary.last:
            await self._wait(min(asked.wait, MAX_WAIT), asked.after)
        missed = 0
        if asked.after is None:
            entries = self.diary.newest(max(0, asked.last))
        else:
            entries, missed = self.diary.after(max(0, asked.after))
        last = entries[-1].number if entries else self.diary.last
        return EventsView(os.getpid(), last, missed, entries)

    async def _wait(self, seconds: float, number: int) -> None:
        if seconds <= 0 or self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                while self.diary.last <= number:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1
