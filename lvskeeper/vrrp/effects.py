"""What the VRRP machines ask for and tell, one class an effect; applied in the order of the list.

The first four are work for the kernel, :class:`LookAgain` is work for the loop, and the others
say what happened: for logs, notify scripts and counters.
"""

from dataclasses import dataclass
from typing import TypeAlias, final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.contention import Contention
from lvskeeper.vrrp.states import Cause, Fault, Occasion, State
from lvskeeper.vrrp.tracking import PrioritySum
from lvskeeper.vrrp.types import InstanceKey


@final
@dataclass(frozen=True, slots=True)
class SendAdvert:
    """Send an advert now, with this priority and the configured interval and addresses."""

    key: InstanceKey
    priority: int


@final
@dataclass(frozen=True, slots=True)
class HoldAddresses:
    """Put the addresses, routes and rules in place; what is there already may stay."""

    key: InstanceKey


@final
@dataclass(frozen=True, slots=True)
class ReleaseAddresses:
    """Stop announcing, and take the rules, routes and addresses away."""

    key: InstanceKey


@final
@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours where the addresses are: input of the announcement planner."""

    key: InstanceKey
    occasion: Occasion


@final
@dataclass(frozen=True, slots=True)
class LookAgain:
    """Read the sockets empty, then call ``on_timer`` at once: an advert may be waiting there."""

    key: InstanceKey


@final
@dataclass(frozen=True, slots=True)
class StateChanged:
    """The instance went from state *old* to *new*."""

    key: InstanceKey
    old: State
    new: State
    cause: Cause
    priority: int
    """Our effective priority."""
    peer: Address = NO_ADDRESS
    """Whose advert did it, if one did."""
    peer_priority: int = 0


@final
@dataclass(frozen=True, slots=True)
class Late:
    """Our own loop came *by* seconds too late to the timer; so it is not the peer that is slow."""

    key: InstanceKey
    state: State
    by: float


@final
@dataclass(frozen=True, slots=True)
class Extended:
    """A backup that was late waits once more, until *until*, before it takes silence for death."""

    key: InstanceKey
    until: float


@final
@dataclass(frozen=True, slots=True)
class ContentionBegan:
    """Two masters are heard."""

    key: InstanceKey
    contention: Contention


@final
@dataclass(frozen=True, slots=True)
class ContentionEnded:
    """One of two masters fell silent or yielded."""

    key: InstanceKey
    contention: Contention
    lasted: float


@final
@dataclass(frozen=True, slots=True)
class MasterLearned:
    """A backup has a (new) master."""

    key: InstanceKey
    address: Address
    priority: int
    before: Address
    """The master until now, or ``NO_ADDRESS``."""


@final
@dataclass(frozen=True, slots=True)
class PeerResigned:
    """An advert of priority 0 came."""

    key: InstanceKey
    source: Address
    obeyed: bool
    """False where *source* is not the master that we hear, which lives on."""


@final
@dataclass(frozen=True, slots=True)
class IntervalLearned:
    """A version 3 backup follows another advert interval of its master (seconds)."""

    key: InstanceKey
    old: float
    new: float


@final
@dataclass(frozen=True, slots=True)
class LowerDiscarded:
    """A backup heard a lower priority than its own and will take over; told once a peer."""

    key: InstanceKey
    source: Address
    priority: int


@final
@dataclass(frozen=True, slots=True)
class LowerHeard:
    """A master heard another one that is to yield."""

    key: InstanceKey
    source: Address
    priority: int


@final
@dataclass(frozen=True, slots=True)
class OwnAddressHeard:
    """A master heard an equal priority from its own address: a duplicate. Told once a state."""

    key: InstanceKey


@final
@dataclass(frozen=True, slots=True)
class OwnerConflict:
    """A second address owner does not yield; we go down to 254 until it is silent."""

    key: InstanceKey
    rival: Address


@final
@dataclass(frozen=True, slots=True)
class PreemptDelayStarted:
    """A master of lower priority is let be until *until*."""

    key: InstanceKey
    until: float


@final
@dataclass(frozen=True, slots=True)
class PreemptDelayEnded:
    """The delay is over, or a master of at least our priority made it pointless."""

    key: InstanceKey


@final
@dataclass(frozen=True, slots=True)
class PriorityChanged:
    """The effective priority went from *old* to the total of *new*."""

    key: InstanceKey
    state: State
    old: int
    new: PrioritySum


@final
@dataclass(frozen=True, slots=True)
class FaultsChanged:
    """The set of reasons for FAULT is another one; empty means healed."""

    key: InstanceKey
    faults: frozenset[Fault]


@final
@dataclass(frozen=True, slots=True)
class GroupChanged:
    """A sync group, all its members together, went from *old* to *new*."""

    name: str
    old: State
    new: State


Effect: TypeAlias = (
    SendAdvert
    | HoldAddresses
    | ReleaseAddresses
    | Announce
    | LookAgain
    | StateChanged
    | Late
    | Extended
    | ContentionBegan
    | ContentionEnded
    | MasterLearned
    | PeerResigned
    | IntervalLearned
    | LowerDiscarded
    | LowerHeard
    | OwnAddressHeard
    | OwnerConflict
    | PreemptDelayStarted
    | PreemptDelayEnded
    | PriorityChanged
    | FaultsChanged
    | GroupChanged
)
