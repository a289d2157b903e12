"""Waiting for what tells nobody that it happened: other processes, and the kernel."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

LIMIT: Final = 10.0
"""Seconds for what takes a fraction of one on a machine that is not busy."""
PAUSE: Final = 0.01


async def until(condition: Callable[[], object], limit: float = LIMIT) -> None:
    """Let the loop go on until *condition* holds; raise ``TimeoutError`` after *limit* seconds."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - there is no event of it, see above
            await asyncio.sleep(PAUSE)


def wait_until(
    condition: Callable[[], object],
    complaint: str | Callable[[], str] = "it did not come to pass",
    *,
    limit: float = LIMIT,
    pause: float = PAUSE,
) -> None:
    """Wait until *condition* holds; fail with *complaint* after *limit* seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint if isinstance(complaint, str) else complaint())
        time.sleep(pause)
