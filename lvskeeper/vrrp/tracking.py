"""What an instance makes of the things it tracks: its effective priority, and its faults.

keepalived's rule: a weight of 0 makes a failure a fault; a positive weight counts while the thing
is well, a negative one while it is not; ``reverse`` swaps the two. The sum stays within 1 to 254,
and an address owner (255) takes no weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, final

from lvskeeper.vrrp.states import Fault, FaultKind
from lvskeeper.vrrp.timers import OWNER

MAX_TERM: Final = 253
"""Bound of what one tracked file may add or take."""


@final
class TrackKind(Enum):
    """Kind of a tracked thing; the value is the word that operators see."""

    INTERFACE = "interface"
    SCRIPT = "script"
    FILE = "file"
    PROCESS = "process"


_FAULTS: Final = {
    TrackKind.INTERFACE: FaultKind.TRACKED_INTERFACE,
    TrackKind.SCRIPT: FaultKind.SCRIPT,
    TrackKind.FILE: FaultKind.FILE,
    TrackKind.PROCESS: FaultKind.PROCESS,
}


@final
@dataclass(frozen=True, slots=True)
class TrackId:
    """What is tracked."""

    kind: TrackKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


@final
@dataclass(frozen=True, slots=True)
class Track:
    """One line of a ``track_*`` block."""

    id: TrackId
    weight: int = 0
    reverse: bool = False


@final
@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a tracked thing."""

    well: bool | None
    """``None`` before the first result."""
    value: int = 0
    """Files only: the number in the file."""


UNKNOWN: Final = Status(None)
WELL: Final = Status(well=True)
FAILED: Final = Status(well=False)


@final
@dataclass(frozen=True, slots=True)
class Term:
    """What one tracked thing adds to the priority."""

    id: TrackId
    value: int


@final
@dataclass(frozen=True, slots=True)
class PrioritySum:
    """An effective priority and how it came about."""

    base: int
    terms: tuple[Term, ...] = ()
    total: int = field(init=False)
    """The effective priority."""

    def __post_init__(self) -> None:
        exact = self.base + sum(term.value for term in self.terms)
        total = OWNER if self.base == OWNER else min(max(exact, 1), 254)
        object.__setattr__(self, "total", total)

    def __str__(self) -> str:
        if not self.terms:
            return str(self.total)
        words = "".join(f" {'+-'[t.value < 0]} {abs(t.value)} ({t.id})" for t in self.terms)
        exact = self.base + sum(term.value for term in self.terms)
        bounded = "" if exact == self.total else f" = {exact}, bounded to {self.total}"
        return f"{self.base}{words}{bounded or f' = {exact}'}"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """All that tracking says to an instance."""

    priority: PrioritySum
    faults: frozenset[Fault] = frozenset()
    pending: frozenset[TrackId] = frozenset()
    """What has no result yet and would be a fault if it failed; the instance waits for it."""


def judge(base: int, tracks: Iterable[Track], statuses: Mapping[TrackId, Status]) -> Verdict:
    """Return what *tracks* make of an instance with the configured priority *base*."""
    terms: list[Term] = []
    faults: set[Fault] = set()
    pending: set[TrackId] = set()
    for track in tracks:
        if base == OWNER and track.weight:
            continue
        status = statuses.get(track.id, UNKNOWN)
        term = _term(track, status)
        if status.well is None:
            if not track.weight:
                pending.add(track.id)
        elif term is None:
            faults.add(Fault(_FAULTS[track.id.kind], track.id.name))
        elif term:
            terms.append(Term(track.id, term))
    return Verdict(PrioritySum(base, tuple(terms)), frozenset(faults), frozenset(pending))


def _term(track: Track, status: Status) -> int | None:
    """Return what *track* adds, or nothing where it is a fault."""
    if track.id.kind is TrackKind.FILE:
        return _file_term(track, status.value)
    well = bool(status.well) != track.reverse
    if not track.weight:
        return 0 if well or status.well is None else None
    if status.well is None:
        return 0
    counts = well if track.weight > 0 else not well
    return track.weight if counts else 0


def _file_term(track: Track, value: int) -> int | None:
    if not track.weight:
        return None if bool(value) != track.reverse else 0
    product = value * (-track.weight if track.reverse else track.weight)
    return None if product <= -254 else max(-MAX_TERM, min(MAX_TERM, product))


def in_group(own: Iterable[Track], group: Iterable[Track], *, weights: bool) -> tuple[Track, ...]:
    """Return the tracks of a sync group's member: its *own*, and those of its *group*.

    Without *weights* (``sync_group_tracking_weight``) a weight would split the group's members
    into winners and losers, so all of them become faults.
    """
    seen = {track.id: track for track in (*own, *group)}
    return tuple(t if weights else replace(t, weight=0) for t in seen.values())
