"""All that an instance remembers, and the few things that every handler does with it."""

from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.contention import Claim, Contention, ContentionWatch
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import Cause, Fault, State
from lvskeeper.vrrp.timers import OWNER, skew_time
from lvskeeper.vrrp.tracking import Verdict
from lvskeeper.vrrp.types import Advert, InstanceKey

MAX_COMPLAINTS: Final = 32
"""Peers that are complained of until a transition: who forges sources has many more."""
LATE_FLOOR: Final = 0.010
"""Lateness (s) that any loop may have; a skew below it says nothing."""


@final
class Renewal(NamedTuple):
    """What the next advert of a backup's master repeats if nothing else happens before it."""

    advert: Advert
    source: Address
    wait: float
    """The master-down time."""


@final
@dataclass(slots=True, eq=False)
class Record:
    """State of one instance: written by the handlers only, read through ``Instance``."""

    spec: InstanceSpec
    grouped: bool
    verdict: Verdict
    source: Address
    known: float
    """The advert interval in force: ours, or the master's in version 3."""
    faults: set[Fault] = field(default_factory=set)
    """Reasons for FAULT besides those of tracking."""
    state: State = State.INIT
    since: float = -inf
    seen: float = -inf
    """The latest time told."""
    started: bool = False
    deadline: float = inf
    sent: float = -inf
    """When the last advert as master went out."""
    master: Claim | None = None
    """Whom a backup hears; :meth:`heard_master` for the time of repetitions."""
    renewal: Renewal | None = None
    """While it is there, only repetitions were heard since: the master's last at ``seen``."""
    cause: Cause = Cause.SILENCE
    """Why the timer of a backup ends if nothing is heard."""
    joining: bool = False
    """New in a sync group whose others are masters: it does not keep them back before it has heard
    a master."""
    wants: bool = False
    """A member of a sync group heard no master, and waits for the others."""
    looked: bool = False
    """The sockets were read again after the timer was found late."""
    extended: bool = False
    preempt_at: float = -inf
    """End of the preempt delay; minus infinity while none is counted."""
    demoted: bool = False
    """An owner that gave way to another one."""
    owner_since: tuple[float, int] | None = None
    """Since when another owner is heard, and how many adverts we sent meanwhile."""
    told: set[Address] = field(default_factory=set)
    """Peers that were complained of since the last transition, :data:`MAX_COMPLAINTS` at most."""
    watch: ContentionWatch = field(default_factory=ContentionWatch)
    out: list[fx.Effect] = field(default_factory=list)
    own_advert: fx.SendAdvert | None = None
    """The last one: the next is the same."""

    @property
    def key(self) -> InstanceKey:
        """Interface, family and VRID."""
        return self.spec.key

    @property
    def all_faults(self) -> frozenset[Fault]:
        """Every reason for FAULT."""
        return self.verdict.faults | self.faults

    @property
    def priority(self) -> int:
        """The effective priority."""
        return OWNER - 1 if self.demoted else self.verdict.priority.total

    @property
    def skew(self) -> float:
        """The skew time in force."""
        return skew_time(self.spec.version, self.verdict.priority.total, self.known)

    @property
    def master_down(self) -> float:
        """The master-down time in force."""
        return self.spec.down_timer_adverts * self.known + self.skew

    def settle(self) -> None:
        """End the time of mere repetitions: something else happens."""
        if self.renewal is not None:
            self.master = self.heard_master()
            self.renewal = None

    def heard_master(self) -> Claim | None:
        """Whom a backup hears, with the last repetition counted."""
        if self.renewal is None or self.master is None:
            return self.master
        return self.master._replace(heard=self.seen)

    def change(
        self,
        new: State,
        cause: Cause,
        now: float,
        *,
        peer: Address = NO_ADDRESS,
        peer_priority: int = 0,
    ) -> None:
        """Enter state *new* with nothing left of the old one; the deadline is the caller's."""
        self.report_end(self.watch.clear(), now)
        old, self.state = self.state, new
        self.since = now
        self.deadline = inf
        self.known = self.spec.interval
        self.master = self.owner_since = self.renewal = None
        self.cause = Cause.SILENCE
        self.wants = self.looked = self.extended = False
        self.joining = self.joining and new is State.BACKUP
        self.preempt_at = -inf
        self.told.clear()
        self.out.append(
            fx.StateChanged(self.key, old, new, cause, self.priority, peer, peer_priority)
        )

    def give_up(self, *, resign: bool) -> None:
        """Let the addresses go; *resign* tells the peers, which then need not wait."""
        if resign:
            self.out.append(fx.SendAdvert(self.key, 0))
        self.out.append(fx.ReleaseAddresses(self.key))

    def advertise(self) -> None:
        """Send an advert."""
        priority = self.priority
        if self.own_advert is None or self.own_advert.priority != priority:
            self.own_advert = fx.SendAdvert(self.key, priority)
        self.out.append(self.own_advert)

    def is_new(self, source: Address) -> bool:
        """Whether *source* is still to be complained of."""
        return source not in self.told and len(self.told) < MAX_COMPLAINTS

    def complains(self, source: Address) -> bool:
        """Whether *source* is to be complained of; from now on it was."""
        new = self.is_new(source)
        if new:
            self.told.add(source)
        return new

    def learn(self, interval: float) -> float:
        """Follow the master's *interval* (version 3) and return the master-down time.

        None at all, as of a broken router, would leave no time for its next advert.
        """
        if self.spec.version == 3 and interval and interval != self.known:
            self.out.append(fx.IntervalLearned(self.key, self.known, interval))
            self.known = interval
        return self.master_down

    def looks_again(self, now: float) -> bool:
        """Whether the sockets are to be read before the timer is obeyed.

        A backup always looks: what it takes for silence may be lying in the socket. A master looks
        if it was late: another one may be master by now.
        """
        if self.looked:
            self.looked = False
            return False
        late = now - self.deadline
        if late > LATE_FLOOR and late > self.skew:
            self.out.append(fx.Late(self.key, self.state, late))
        elif self.state is State.MASTER:
            return False
        self.looked = True
        self.out.append(fx.LookAgain(self.key))
        return True

    def own_claim(self) -> Claim:
        """Ourselves as a master."""
        return Claim(self.source, self.priority, self.spec.interval, inf)

    def note_claim(self, advert: Advert, source: Address, holder: Claim | None, now: float) -> None:
        """Note that *source* advertises beside *holder*."""
        claim = Claim(source, advert.priority, advert.interval, now)
        self.report_end(self.watch.end(now), now)
        if began := self.watch.hear(claim, holder):
            self.out.append(fx.ContentionBegan(self.key, began))

    def report_end(self, ended: Contention | None, now: float) -> None:
        """Tell that a contention ended, if one did."""
        if ended:
            self.out.append(fx.ContentionEnded(self.key, ended, now - ended.since))
