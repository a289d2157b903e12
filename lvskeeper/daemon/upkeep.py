"""Work that a role does again and again, and that may fail without an end to the role."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import final

from lvskeeper.errors import OperatorError
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit


@final
class Upkeep:
    """Tells a failure once, and goes on."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._told: set[str] = set()

    async def guarded(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do *work* and return if it worked; tell its failure once until *what* works again."""
        try:
            await work()
        except OperatorError as error:
            if what not in self._told:
                self._emit(events.UpkeepFailed(error.message, error.hint))
            self._told.add(what)
            return False
        self._told.discard(what)
        return True

    async def repeat(self, pause: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* for ever, with *pause* seconds after each time."""
        while True:
            await self.guarded(work.__name__, work)
            await asyncio.sleep(pause)
