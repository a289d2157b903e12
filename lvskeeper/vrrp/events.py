"""What can happen to a VRRP instance, one class an event."""

from dataclasses import dataclass
from typing import TypeAlias, final

from lvskeeper.units import Address
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import Fault, Occasion
from lvskeeper.vrrp.tracking import Verdict
from lvskeeper.vrrp.types import Advert


@final
@dataclass(frozen=True, slots=True)
class Started:
    """The instance is to take part from now on; leftover addresses are gone."""


@final
@dataclass(frozen=True, slots=True)
class Stopped:
    """The instance is to leave in order."""


@final
@dataclass(frozen=True, slots=True)
class AdvertHeard:
    """An advert that passed validation came from *source*."""

    advert: Advert
    source: Address


@final
@dataclass(frozen=True, slots=True)
class TimerFired:
    """The clock is at, or past, the instance's deadline."""


@final
@dataclass(frozen=True, slots=True)
class Faulted:
    """A reason for FAULT is there."""

    fault: Fault


@final
@dataclass(frozen=True, slots=True)
class Healed:
    """A reason for FAULT is gone."""

    fault: Fault


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """Tracked things changed what they make of the instance."""

    verdict: Verdict


@final
@dataclass(frozen=True, slots=True)
class SourceChanged:
    """Our own address in adverts is another one, or gone (``NO_ADDRESS``)."""

    source: Address


@final
@dataclass(frozen=True, slots=True)
class AddressesLost:
    """Somebody else removed addresses that the instance holds."""


@final
@dataclass(frozen=True, slots=True)
class AnnouncementDue:
    """Something happened after which neighbours may have forgotten whose the addresses are."""

    occasion: Occasion


@final
@dataclass(frozen=True, slots=True)
class Resumed:
    """The machine was suspended: its monotonic clock stood still while the world went on."""


@final
@dataclass(frozen=True, slots=True)
class LoopStalled:
    """Our loop stood still for *by* seconds: a tick came late by so much. Told before all else."""

    by: float


@final
@dataclass(frozen=True, slots=True)
class TakeOver:
    """All members of the sync group want to be master."""


@final
@dataclass(frozen=True, slots=True)
class StandBack:
    """Another member of the sync group is master no longer."""


@final
@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A reload gave the instance another *spec* with the same key and version."""

    spec: InstanceSpec
    verdict: Verdict
    """What its tracks make of it."""
    grouped: bool = False
    """Whether it is a member of a sync group now."""


Event: TypeAlias = (
    Started
    | Stopped
    | AdvertHeard
    | TimerFired
    | Faulted
    | Healed
    | Judged
    | SourceChanged
    | AddressesLost
    | AnnouncementDue
    | Resumed
    | LoopStalled
    | TakeOver
    | StandBack
    | Reconfigured
)
