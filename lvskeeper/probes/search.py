"""Searches answers for a regex beside the loop: a pattern may take its time over some of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final

from lvskeeper.health.pcre import PcreError, compiled
from lvskeeper.health.spec import Phase, Regex
from lvskeeper.probes.attempt import ProbeError, Progress

MAX_SEARCHES: Final = 2
"""Searches at a time. A search ends at most about a second after its probe has."""


@final
class Searcher:
    """Threads that search."""

    def __init__(self) -> None:
        self._threads: Final = ThreadPoolExecutor(MAX_SEARCHES, "regex")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def search(self, regex: Regex, text: bytes, progress: Progress) -> None:
        """Search *text*; raise :class:`ProbeError` where it is not as *regex* wants it.

        A cancel, as by a deadline, ends the search; ``TimeoutError`` is of the caller.
        """
        progress.phase, progress.doing = Phase.BODY, "waiting for others' searches"
        loop = asyncio.get_running_loop()
        wanted = True

        def begin() -> None:
            progress.doing = "searching the body"

        def work() -> bool:
            loop.call_soon_threadsafe(begin)
            return _search(regex, text, lambda: wanted)

        try:
            found = await loop.run_in_executor(self._threads, work)
        except PcreError as error:
            raise ProbeError(Phase.BODY, f"the regex cannot tell: {error}") from error
        finally:
            wanted = False
        if found is regex.forbidden:
            what = "matches" if found else "does not match"
            raise ProbeError(Phase.BODY, f"the body {what} the regex '{regex.pattern}'")


def _search(regex: Regex, text: bytes, wanted: Callable[[], bool]) -> bool:
    search = compiled(regex.pattern, regex.options).search(text, regex.first, regex.last)
    while wanted():
        if (found := search.step()) is not None:
            return found
    return False
