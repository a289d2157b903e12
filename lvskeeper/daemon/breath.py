"""Lets other work of the loop have its turn in the midst of much that cannot leave the loop."""

import asyncio
import time
from typing import Final, final

BREATH: Final = 0.005
"""Seconds of work after which others have their turn."""


@final
class Breath:
    """One piece of work, from its making on."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def taken(self) -> None:
        """Let others have their turn if this one has lasted long enough; call it at each step."""
        if time.monotonic() - self._since > BREATH:
            await asyncio.sleep(0)
            # The first time we come before what timers and sockets have to say meanwhile.
            await asyncio.sleep(0)
            self._since = time.monotonic()
