"""Hears on the loop of nftables transactions, and remembers who made the last ones."""

import asyncio
import contextlib
from collections import deque
from pathlib import Path
from typing import Final, final

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.monitor import Overrun
from lvskeeper.kernel.nft_monitor import Commit, NftMonitor

REMEMBERED: Final = 32
"""Transactions whose makers are known."""
NAMED: Final = 3
"""Makers that are named at most."""
UNKNOWN: Final = "unknown"


@final
class RulesetWatch:
    """Turns any number of transactions, of ours too, into one wake-up.

    Where the kernel gives no news it never wakes anybody: who waits does so with a deadline.
    """

    def __init__(self) -> None:
        self._monitor: NftMonitor | None = None
        self._commits: Final[deque[Commit]] = deque(maxlen=REMEMBERED)
        self._changed: Final = asyncio.Event()

    def start(self) -> None:
        """Listen in the network namespace of this thread, unless that is done."""
        if self._monitor is not None:
            return
        with contextlib.suppress(OperatorError):
            self._monitor = NftMonitor()
            asyncio.get_running_loop().add_reader(self._monitor, self._read)

    def stop(self) -> None:
        """Listen no more; twice is harmless."""
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor)
            self._monitor.close()
            self._monitor = None

    async def changed(self, patience: float) -> None:
        """Wait until there was a transaction since the last call, at most *patience* seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        self._changed.clear()

    def makers(self, since: int) -> str:
        """Return who else made transactions after the generation *since*, the last ones first."""
        if self._monitor is not None:
            self._read()
        others = [
            str(commit)
            for commit in reversed(self._commits)
            if commit.generation > since and not _is_ours(commit)
        ]
        return ", ".join(list(dict.fromkeys(others))[:NAMED]) or UNKNOWN

    def _read(self) -> None:
        assert self._monitor is not None
        for news in self._monitor.drain():
            self._changed.set()
            match news:
                case Commit():
                    self._commits.append(news)
                case Overrun():
                    self._commits.clear()


def _is_ours(commit: Commit) -> bool:
    return bool(commit.process) and Path(f"/proc/self/task/{commit.process}").exists()
