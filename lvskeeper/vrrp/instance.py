"""The machine of one VRRP instance (RFC 3768 6.4, RFC 5798 6.4), with keepalived's behaviour.

``on(event, now)`` is the one way in: the table ``TRANSITIONS`` says which handler a state has for
an event, and where it may lead. An event that a state does not know raises
:class:`IllegalTransitionError` and changes nothing. What follows is returned as effects. ``now`` is
the caller's monotonic clock and never goes back.

Ours, where keepalived differs:

- a backup has its sockets read empty before it takes silence for death; and where it was late by so
  much that an advert may have been lost meanwhile, it waits once more;
- a master that stood still for more than an advert interval announces its addresses again;
- lost addresses are put back at once, without giving up the state;
- a priority of 0 counts only from the master that is heard, as long as one is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final, TypeAlias, final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import backup, lifecycle, master
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.contention import Claim, Contention
from lvskeeper.vrrp.record import Record
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import Fault, FaultKind, IllegalTransitionError, State
from lvskeeper.vrrp.tape import Checkpoint
from lvskeeper.vrrp.tracking import Verdict, judge
from lvskeeper.vrrp.types import Advert, InstanceKey

Handler: TypeAlias = Callable[[Record, Any, float], None]
"""Any: the table pairs each handler with the classes of events that it takes."""


@final
@dataclass(frozen=True, slots=True)
class Transition:
    """One entry of the table: who handles the event, and where that may lead."""

    handler: Handler
    to: frozenset[State]


def _to(handler: Handler, *states: State) -> Transition:
    return Transition(handler, frozenset(states))


_I, _B, _M, _F = State.INIT, State.BACKUP, State.MASTER, State.FAULT

# An address or a link may change, and an advert come, at any time: the kernel's news are late.
TRANSITIONS: Final[dict[tuple[State, type[ev.Event]], Transition]] = {
    (_I, ev.Started): _to(lifecycle.on_start, _I, _B, _F),
    (_I, ev.Stopped): _to(lifecycle.on_stop, _I),
    (_I, ev.AdvertHeard): _to(lifecycle.ignore, _I),
    (_I, ev.Faulted): _to(lifecycle.on_fault, _I, _F),
    (_I, ev.Healed): _to(lifecycle.on_fault, _I),
    (_I, ev.Judged): _to(lifecycle.on_judged, _I, _B, _F),
    (_I, ev.SourceChanged): _to(lifecycle.on_source, _I, _F),
    (_I, ev.AddressesLost): _to(lifecycle.ignore, _I),
    (_I, ev.AnnouncementDue): _to(lifecycle.ignore, _I),
    (_I, ev.Resumed): _to(lifecycle.ignore, _I),
    (_I, ev.LoopStalled): _to(lifecycle.ignore, _I),
    (_I, ev.Reconfigured): _to(lifecycle.on_reconfigured, _I, _B, _F),
    (_B, ev.Stopped): _to(lifecycle.on_stop, _I),
    (_B, ev.AdvertHeard): _to(backup.on_advert, _B),
    (_B, ev.TimerFired): _to(backup.on_timer, _B, _M),
    (_B, ev.Faulted): _to(lifecycle.on_fault, _F),
    (_B, ev.Healed): _to(lifecycle.on_fault, _B),
    (_B, ev.Judged): _to(lifecycle.on_judged, _B, _F),
    (_B, ev.SourceChanged): _to(lifecycle.on_source, _B, _F),
    (_B, ev.AddressesLost): _to(lifecycle.ignore, _B),
    (_B, ev.AnnouncementDue): _to(lifecycle.ignore, _B),
    (_B, ev.Resumed): _to(lifecycle.on_resumed, _B),
    (_B, ev.LoopStalled): _to(backup.on_stalled, _B),
    (_B, ev.TakeOver): _to(backup.on_take_over, _M),
    (_B, ev.Reconfigured): _to(lifecycle.on_reconfigured, _B, _F),
    (_M, ev.Stopped): _to(lifecycle.on_stop, _I),
    (_M, ev.AdvertHeard): _to(master.on_advert, _M, _B),
    (_M, ev.TimerFired): _to(master.on_timer, _M, _B),
    (_M, ev.Faulted): _to(lifecycle.on_fault, _F),
    (_M, ev.Healed): _to(lifecycle.on_fault, _M),
    (_M, ev.Judged): _to(lifecycle.on_judged, _M, _F),
    (_M, ev.SourceChanged): _to(lifecycle.on_source, _M, _F),
    (_M, ev.AddressesLost): _to(master.on_addresses_lost, _M),
    (_M, ev.AnnouncementDue): _to(master.on_announcement_due, _M),
    (_M, ev.Resumed): _to(lifecycle.on_resumed, _B),
    (_M, ev.LoopStalled): _to(lifecycle.ignore, _M),
    (_M, ev.StandBack): _to(master.on_stand_back, _B),
    (_M, ev.Reconfigured): _to(lifecycle.on_reconfigured, _M, _F),
    (_F, ev.Stopped): _to(lifecycle.on_stop, _I),
    (_F, ev.AdvertHeard): _to(lifecycle.ignore, _F),
    (_F, ev.Faulted): _to(lifecycle.on_fault, _F),
    (_F, ev.Healed): _to(lifecycle.on_fault, _F, _B),
    (_F, ev.Judged): _to(lifecycle.on_judged, _F, _B),
    (_F, ev.SourceChanged): _to(lifecycle.on_source, _F, _B),
    (_F, ev.AddressesLost): _to(lifecycle.ignore, _F),
    (_F, ev.AnnouncementDue): _to(lifecycle.ignore, _F),
    (_F, ev.Resumed): _to(lifecycle.ignore, _F),
    (_F, ev.LoopStalled): _to(lifecycle.ignore, _F),
    (_F, ev.Reconfigured): _to(lifecycle.on_reconfigured, _F, _B),
}

_REFUSABLE: Final = frozenset({ev.Started, ev.TakeOver, ev.Reconfigured})
"""Events whose legality is not in the table alone."""


@final
class Instance:
    """One VRRP instance; a member of a sync group is *grouped*.

    A grouped instance never becomes master by itself: it says :attr:`wants`, and its group decides.
    """

    __slots__ = ("_record",)

    def __init__(
        self,
        spec: InstanceSpec,
        *,
        grouped: bool = False,
        verdict: Verdict | None = None,
        faults: Iterable[Fault] = (),
        joining: bool = False,
    ) -> None:
        """Make the instance in INIT, with the *faults* that are known already.

        *verdict* is what tracking says, if anything is known yet; *joining* one of a sync group
        waits for its first silence while the others are masters.
        """
        verdict = verdict or judge(spec.priority, spec.tracks, {})
        self._record = Record(spec, grouped, verdict, spec.source, spec.interval)
        self._record.faults.update(faults)
        self._record.joining = joining
        if spec.source == NO_ADDRESS:
            self._record.faults.add(Fault(FaultKind.NO_SOURCE))

    def checkpoint(self) -> Checkpoint:
        """Return how it is between two inputs; contentions and complaints are left out."""
        r = self._record
        return Checkpoint(
            r.spec, r.grouped, r.source, r.state, _some(r.since), _some(r.seen), r.started,
            _some(r.deadline), _some(r.sent), r.known, tuple(r.faults), r.heard_master(), r.cause,
            r.joining, r.wants, r.looked, r.extended, _some(r.preempt_at), r.demoted, r.owner_since,
        )  # fmt: skip

    @classmethod
    def resume(cls, one: Checkpoint, verdict: Verdict) -> "Instance":
        """Return an instance that goes on from a checkpoint."""
        made = cls(one.spec, grouped=one.grouped, verdict=verdict, joining=one.joining)
        r = made._record
        r.source, r.state, r.started, r.known = one.source, one.state, one.started, one.known
        r.since, r.seen, r.sent = _past(one.since), _past(one.seen), _past(one.sent)
        r.deadline = inf if one.deadline is None else one.deadline
        r.faults, r.master, r.cause = set(one.faults), one.master, one.cause
        r.wants, r.looked, r.extended, r.demoted = one.wants, one.looked, one.extended, one.demoted
        r.preempt_at, r.owner_since = _past(one.preempt_at), one.owner_since
        return made

    @property
    def spec(self) -> InstanceSpec:
        """The configuration."""
        return self._record.spec

    @property
    def key(self) -> InstanceKey:
        """Interface, family and VRID."""
        return self._record.spec.key

    @property
    def state(self) -> State:
        """INIT, BACKUP, MASTER or FAULT."""
        return self._record.state

    @property
    def since(self) -> float:
        """When the state was entered; minus infinity before the start."""
        return self._record.since

    @property
    def faults(self) -> frozenset[Fault]:
        """All present reasons for FAULT."""
        return self._record.all_faults

    @property
    def verdict(self) -> Verdict:
        """What tracking makes of the instance; its ``priority`` is the sum with its terms."""
        return self._record.verdict

    @property
    def priority(self) -> int:
        """The effective priority."""
        return self._record.priority

    @property
    def source(self) -> Address:
        """Our address in adverts."""
        return self._record.source

    @property
    def wants(self) -> bool:
        """Whether a member of a sync group would be master if it were alone."""
        return self._record.wants or self._record.state is State.MASTER

    @property
    def joining(self) -> bool:
        """Whether it is new in a sync group of masters, and has heard no master yet."""
        return self._record.joining and self._record.state is State.BACKUP

    @property
    def master(self) -> Claim | None:
        """The master that a backup hears."""
        return self._record.heard_master()

    @property
    def contention(self) -> Contention | None:
        """The two masters at once that are heard now, if so."""
        return self._record.watch.current

    @property
    def preempt_at(self) -> float:
        """When the preempt delay ends; minus infinity while none is counted."""
        return self._record.preempt_at

    @property
    def master_interval(self) -> float:
        """The advert interval in force (seconds): ours, or the master's in version 3."""
        return self._record.known

    @property
    def skew(self) -> float:
        """The skew time in force (seconds)."""
        return self._record.skew

    @property
    def master_down(self) -> float:
        """The master-down time in force (seconds)."""
        return self._record.master_down

    def deadline(self) -> float:
        """Return when ``on_timer`` is due; infinite for never."""
        return self._record.deadline

    def on_advert(self, advert: Advert, source: Address, now: float) -> list[fx.Effect]:
        """Take an advert that passed validation."""
        return self.on(ev.AdvertHeard(advert, source), now)

    def renews(self, advert: Advert, source: Address, now: float) -> bool:
        """Take the very advert that the master of a backup sent last; return False for all others.

        It is the short way for nearly all adverts: the deadline is later, and nothing else follows.
        """
        record = self._record
        last = record.renewal
        if last is None or advert is not last.advert or source != last.source or now < record.seen:
            return False
        record.seen = now
        record.deadline = now + last.wait
        return True

    def on_timer(self, now: float) -> list[fx.Effect]:
        """Act on the deadline; nothing happens where it is still to come."""
        return self.on(ev.TimerFired(), now)

    def on(self, event: ev.Event, now: float) -> list[fx.Effect]:
        """Take *event* and return what follows from it, in the order in which to apply it."""
        record = self._record
        transition = TRANSITIONS.get((record.state, type(event)))
        if transition is None:
            kind = type(event).__name__
            raise IllegalTransitionError(f"{self.key}: {kind} in state {self.state.value}")
        if now < record.seen:
            raise IllegalTransitionError(f"{self.key}: time went back by {record.seen - now:g} s")
        if type(event) in _REFUSABLE:
            self._refuse(event)
        record.settle()
        record.seen = now
        transition.handler(record, event, now)
        out, record.out = record.out, []
        return out

    def _refuse(self, event: ev.Event) -> None:
        """Raise for what the table cannot know to be illegal."""
        match event:
            case ev.Started() if self._record.started:
                raise IllegalTransitionError(f"{self.key}: started already")
            case ev.TakeOver() if not self.wants:
                raise IllegalTransitionError(f"{self.key}: has a master, and cannot take over")
            case ev.Reconfigured(spec) if (spec.key, spec.version) != (self.key, self.spec.version):
                raise IllegalTransitionError(
                    f"{self.key} version {self.spec.version} cannot become "
                    f"{spec.key} version {spec.version}"
                )
            case _:
                pass


def _some(moment: float) -> float | None:
    """Return *moment*; nothing where it is infinite, which JSON does not know."""
    return moment if isfinite(moment) else None


def _past(moment: float | None) -> float:
    return -inf if moment is None else moment
