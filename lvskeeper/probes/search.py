"""Searches answers for a regex beside the loop: a pattern may take its time over some of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final

from lvskeeper.health.pcre import PcreError, compiled
from lvskeeper.health.spec import Phase, Regex
from lvskeeper.probes.attempt import ProbeError

MAX_SEARCHES: Final = 2
"""Searches at a time. A search ends at most about a second after its probe has."""


@final
class Searcher:
    """Threads that search."""

    def __init__(self) -> None:
        # It starts a thread with the first search.
        self._threads: Final = ThreadPoolExecutor(MAX_SEARCHES, "regex")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def search(
        self,
        regex: Regex,
        text: bytes,
        on_begin: Callable[[], None],
        on_done: Callable[[ProbeError | None], None],
    ) -> Callable[[], None]:
        """Search *text*; tell *on_done* why it is not as *regex* wants it, or nothing.

        Return what ends the search early; then it tells nothing more.
        """
        loop = asyncio.get_running_loop()
        wanted = True

        def begin() -> None:
            if wanted:
                on_begin()

        def work() -> ProbeError | None:
            loop.call_soon_threadsafe(begin)
            return _judge(regex, text, lambda: wanted)

        def done(future: "asyncio.Future[ProbeError | None]") -> None:
            if wanted:
                on_done(future.result())

        def cancel() -> None:
            nonlocal wanted
            wanted = False
            future.cancel()

        future = loop.run_in_executor(self._threads, work)
        future.add_done_callback(done)
        return cancel


def _judge(regex: Regex, text: bytes, wanted: Callable[[], bool]) -> ProbeError | None:
    try:
        found = _search(regex, text, wanted)
    except PcreError as error:
        return ProbeError(Phase.BODY, f"the regex cannot tell: {error}")
    if found is not regex.forbidden:
        return None
    what = "matches" if found else "does not match"
    return ProbeError(Phase.BODY, f"the body {what} the regex '{regex.pattern}'")


def _search(regex: Regex, text: bytes, wanted: Callable[[], bool]) -> bool:
    search = compiled(regex.pattern, regex.options).search(text, regex.first, regex.last)
    while wanted():
        if (found := search.step()) is not None:
            return found
    return False
