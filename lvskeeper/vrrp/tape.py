"""The flight recorder of VRRP: all that the machines were told lately, and how they were before.

The machines are functions of what they are told and when. So a start and the inputs after it are
enough to let them do it all again, in a simulator and at leisure: :mod:`lvskeeper.vrrp.replay`.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.contention import Claim
from lvskeeper.vrrp.effects import StateChanged
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.states import Cause, Fault, Occasion, State
from lvskeeper.vrrp.tracking import Status, TrackId
from lvskeeper.vrrp.types import Advert, InstanceKey

MAX_INPUTS: Final = 20_000
"""Inputs of one segment; two segments are kept, so that there are always as many to look at."""


@final
class Checkpoint(NamedTuple):
    """An instance between two inputs. Times that are ``None`` never were, or never come.

    A tuple, since hundreds of them are made between two packets.
    """

    spec: InstanceSpec
    grouped: bool
    source: Address
    state: State
    since: float | None
    seen: float | None
    started: bool
    deadline: float | None
    sent: float | None
    known: float
    faults: tuple[Fault, ...]
    master: Claim | None
    cause: Cause
    joining: bool
    wants: bool
    looked: bool
    extended: bool
    preempt_at: float | None
    demoted: bool
    owner_since: tuple[float, int] | None


@final
@dataclass(frozen=True, slots=True)
class Start:
    """A router between two inputs."""

    at: float
    instances: tuple[Checkpoint, ...]
    groups: tuple[tuple[GroupSpec, State], ...]
    statuses: tuple[tuple[TrackId, Status], ...]


@final
class Kind(Enum):
    """What was told."""

    ADVERT = "advert"
    TIMER = "timer"
    EVENT = "event"
    """To one instance."""
    ALL = "all"
    """An event to all instances."""
    STATUS = "status"
    """News of a tracked thing."""


@final
@dataclass(frozen=True, slots=True)
class Input:
    """One thing that the machines are told; only what belongs to its kind is filled in."""

    kind: Kind
    key: InstanceKey | None = None
    advert: Advert | None = None
    source: Address = NO_ADDRESS
    event: str = ""
    """Name of the event's class."""
    fault: Fault | None = None
    occasion: Occasion | None = None
    by: float = 0.0
    track: TrackId | None = None
    status: Status | None = None


@final
@dataclass(frozen=True, slots=True)
class Change:
    """A transition that followed."""

    at: float
    key: InstanceKey
    old: State
    new: State
    cause: Cause


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """A start with what came after it; it stands for itself."""

    start: Start
    told: tuple[Input, ...]
    """Each thing once: adverts repeat one another."""
    times: tuple[float, ...]
    which: tuple[int, ...]
    """For each of *times* the place in *told*."""
    changes: tuple[Change, ...]

    @property
    def inputs(self) -> Iterator[tuple[float, Input]]:
        """All that was told, with its times."""
        return ((at, self.told[place]) for at, place in zip(self.times, self.which, strict=True))


Raw: TypeAlias = tuple[
    Kind, InstanceKey | None, Advert | None, Address, ev.Event | None,
    tuple[TrackId, Status] | None,
]  # fmt: skip
"""An input as it is kept."""

TIMER: Final[Raw] = (Kind.TIMER, None, None, NO_ADDRESS, None, None)


@final
class _Open:
    def __init__(self, start: Start, limit: int) -> None:
        self.start = start
        self.times: list[float] = []
        self.told: list[Raw] = []
        self.changes: deque[Change] = deque(maxlen=limit)

    def close(self) -> Segment:
        places: dict[int, int] = {}
        distinct: list[Raw] = []
        which = []
        for raw in self.told:
            place = places.get(id(raw))
            if place is None:
                place = places[id(raw)] = len(distinct)
                distinct.append(raw)
            which.append(place)
        return Segment(
            self.start,
            tuple(map(_input, distinct)),
            tuple(self.times),
            tuple(which),
            tuple(self.changes),
        )


@final
class Tape:
    """Keeps the last inputs: between *limit* and twice as many."""

    def __init__(self, limit: int = MAX_INPUTS) -> None:
        self._limit = limit
        self._segments: deque[_Open] = deque(maxlen=2)
        self._last: dict[InstanceKey, Raw] = {}
        """The last advert to each instance: most are repetitions, and share it."""
        self.full = True
        """The next input needs a new segment: :meth:`begin`."""

    def begin(self, start: Start) -> None:
        """Begin a segment; the one before the last is forgotten."""
        self._segments.append(_Open(start, self._limit))
        self.full = False

    def cut(self) -> None:
        """Let the next input begin a new segment: what follows does not follow from inputs."""
        self.full = True

    def note(self, now: float, raw: Raw) -> None:
        """Keep an input."""
        part = self._segments[-1]
        part.times.append(now)
        part.told.append(raw)
        if len(part.told) >= self._limit:
            self.full = True

    def advert(self, now: float, key: InstanceKey, advert: Advert, source: Address) -> None:
        """Keep an advert."""
        raw = self._last.get(key)
        if raw is None or raw[2] is not advert or raw[3] != source:
            raw = self._last[key] = (Kind.ADVERT, key, advert, source, None, None)
        self.note(now, raw)

    def changed(self, change: StateChanged, now: float) -> None:
        """Keep a transition."""
        if self._segments:
            it = Change(now, change.key, change.old, change.new, change.cause)
            self._segments[-1].changes.append(it)

    def segments(self) -> tuple[Segment, ...]:
        """Return what is kept, as values, the older segment first."""
        return tuple(part.close() for part in self._segments)


def _input(raw: Raw) -> Input:
    kind, key, advert, source, event, news = raw
    return Input(
        kind,
        key,
        advert,
        event.source if isinstance(event, ev.SourceChanged) else source,
        type(event).__name__ if event else "",
        event.fault if isinstance(event, ev.Faulted | ev.Healed) else None,
        event.occasion if isinstance(event, ev.AnnouncementDue) else None,
        event.by if isinstance(event, ev.LoopStalled) else 0.0,
        *(news or (None, None)),
    )


_PLAIN: Final = {
    kind.__name__: kind
    for kind in (ev.Started, ev.Stopped, ev.AddressesLost, ev.Resumed, ev.TimerFired)
}


def event_of(it: Input) -> ev.Event:
    """Return the event of an input; raise ``ValueError`` where no such event is told."""
    match it.event:
        case "Faulted" if it.fault is not None:
            return ev.Faulted(it.fault)
        case "Healed" if it.fault is not None:
            return ev.Healed(it.fault)
        case "SourceChanged":
            return ev.SourceChanged(it.source)
        case "AnnouncementDue" if it.occasion is not None:
            return ev.AnnouncementDue(it.occasion)
        case "LoopStalled":
            return ev.LoopStalled(it.by)
        case name if name in _PLAIN:
            return _PLAIN[name]()
        case name:
            raise ValueError(f"an input with the event '{name}'")
