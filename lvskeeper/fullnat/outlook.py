"""Whether a fail-over now would keep connections, judged from what is counted."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from lvskeeper.fullnat.conntrackd import Figures

BACKLOG: Final = 10_000
"""Messages without the peer's word that are too many: some seconds of a busy director."""
MEMORY: Final = 60.0
"""Seconds for which a failure counts: conntrackd compares its table with the kernel's after 30, and
a refresh tells the peer all of it again."""


@final
class Doubt(StrEnum):
    """Why connections, or some of them, would be cut."""

    ABSENT = "conntrackd does not serve us"
    SILENT = "nothing comes from the peer's conntrackd"
    BEHIND = f"the peer is more than {BACKLOG} messages behind"
    OVERRUN = "connections came faster than conntrackd could read, within the last minute"
    FAILED = "messages to or from the peer failed within the last minute"
    REFUSED = "this kernel refused entries of the peer within the last minute"
    UNSYNCED = "IPVS's sync daemon does not run: persistence and counts of connections begin anew"


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """What one look found."""

    running: bool
    peer: bool | None
    """Whether the peer's conntrackd is there; ``None``: not known yet."""
    figures: Figures
    unsynced: bool = False
    """IPVS's own sync daemon is configured and does not run."""


@final
class Outlook:
    """Judges one look after the other."""

    def __init__(self) -> None:
        self._before: Figures | None = None
        self._seen: dict[Doubt, float] = {}
        """When each failure was counted last."""
        self.doubts: tuple[Doubt, ...] | None = None
        """Nothing to doubt: connections survive. ``None``: not known yet."""

    def on_look(self, facts: Facts, now: float) -> bool:
        """Take *facts* as of *now* (seconds, monotonic); return whether the judgement is new."""
        before, self.doubts = self.doubts, self._judge(facts, now)
        return self.doubts is not None and self.doubts != before

    def _judge(self, facts: Facts, now: float) -> tuple[Doubt, ...] | None:
        if not facts.running:
            self._before = None
            return (Doubt.ABSENT,)
        figures = facts.figures
        before, self._before = self._before or figures, figures
        for doubt, grown in (
            (Doubt.OVERRUN, figures.overruns - before.overruns),
            (Doubt.FAILED, figures.errors - before.errors),
            (Doubt.REFUSED, figures.failed - before.failed),
        ):
            # One that was started again begins at 0.
            if grown > 0:
                self._seen[doubt] = now
        if facts.peer is None:
            return None
        present = {doubt for doubt, seen in self._seen.items() if now - seen < MEMORY}
        present |= {
            doubt
            for doubt, there in (
                (Doubt.SILENT, not facts.peer),
                (Doubt.BEHIND, figures.unconfirmed > BACKLOG),
                (Doubt.UNSYNCED, facts.unsynced),
            )
            if there
        }
        return tuple(doubt for doubt in Doubt if doubt in present)
