"""Counts probes by kind: how many went well, and how long they took."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, final

from lvskeeper.health.spec import CheckKind, Phase, ProbeResult

BOUNDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds, in seconds, of the lengths that are told apart."""


@final
@dataclass(slots=True)
class KindTally:
    """The probes of one kind so far."""

    good: int = 0
    bad: int = 0
    broken: int = 0
    """The director could not make them."""
    seconds: float = 0.0
    """What they took together, broken ones aside."""
    lengths: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """How many were as long as each of :data:`BOUNDS` and longer than the one before; the last
    ones were longer than all."""


@final
class ProbeTally:
    """All probes since the role's start."""

    def __init__(self) -> None:
        self.kinds: dict[CheckKind, KindTally] = {}

    def note(self, kind: CheckKind, result: ProbeResult) -> None:
        """Count a probe."""
        tally = self.kinds.get(kind)
        if tally is None:
            tally = self.kinds[kind] = KindTally()
        if result.phase is Phase.INTERNAL:
            tally.broken += 1
            return
        if result.ok:
            tally.good += 1
        else:
            tally.bad += 1
        tally.seconds += result.elapsed
        tally.lengths[bisect_left(BOUNDS, result.elapsed)] += 1
