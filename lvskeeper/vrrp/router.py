"""All instances and sync groups of one router, behind one set of inputs and one deadline.

The shell drives it so::

    router = Router(specs, groups)
    apply(router.start(now))
    apply(router.on_advert(key, advert, source, now))     # a socket is readable
    apply(router.on_timer(now))                           # the clock is at router.deadline()
    apply(router.on_status(track, status, now))           # a tracker says something new

``apply`` works through the effects in their order, gives ``Announce`` to the announcement planner,
and then arms one timer at ``router.deadline()``. For ``LookAgain`` it reads its sockets empty
(``on_advert`` for each packet) and calls ``on_timer`` again. It keeps a tick of half the shortest
advert interval; one that comes late by more than that is told before anything else, by
``on_all(LoopStalled(by), now)``: only so can a backup know that it was deaf for a while.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import TypeAlias, final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.group import SyncGroup
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.states import Fault, State
from lvskeeper.vrrp.tape import TIMER, Kind, Raw, Start, Tape
from lvskeeper.vrrp.timers import Deadlines
from lvskeeper.vrrp.tracking import UNKNOWN, Status, Track, TrackId, Verdict, in_group, judge
from lvskeeper.vrrp.types import Advert, InstanceKey

Effects: TypeAlias = list[fx.Effect]
Faults: TypeAlias = Mapping[InstanceKey, Iterable[Fault]]


@final
class Router:
    """The pure core of the router role."""

    __slots__ = (
        "_deadlines", "_group_of", "_groups", "_instances", "_statuses", "_tracks", "tape",
    )  # fmt: skip

    def __init__(
        self,
        specs: Iterable[InstanceSpec],
        groups: Iterable[GroupSpec] = (),
        statuses: Mapping[TrackId, Status] | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the instances of *specs*.

        *statuses* are what is known of tracked things already, *faults* what instances begin with.

        An instance is in one group at most, and members that have no spec are left out: the
        configuration names both.
        """
        self.tape: Tape | None = None
        """Keeps what is told, where it is set."""
        self._statuses = dict(statuses or {})
        self._deadlines: Deadlines[InstanceKey] = Deadlines()
        self._instances: dict[InstanceKey, Instance] = {}
        self._tracks: dict[InstanceKey, tuple[Track, ...]] = {}
        self._groups: dict[str, SyncGroup] = {}
        self._group_of: dict[InstanceKey, SyncGroup] = {}
        group_of = _groups_by_member(groups)
        for spec in specs:
            self._make(spec, group_of.get(spec.key), faults or {})
        self._couple(group_of)

    def _make(self, spec: InstanceSpec, group: GroupSpec | None, faults: Faults) -> Instance:
        joined = self._groups.get(group.name) if group else None
        made = Instance(
            spec,
            grouped=group is not None,
            verdict=self._judge(spec, group),
            faults=faults.get(spec.key, ()),
            joining=joined is not None and joined.state is State.MASTER,
        )
        self._instances[spec.key] = made
        return made

    def _judge(self, spec: InstanceSpec, group: GroupSpec | None) -> Verdict:
        self._tracks[spec.key] = _tracks(spec, group)
        return judge(spec.priority, self._tracks[spec.key], self._statuses)

    def _couple(self, group_of: Mapping[InstanceKey, GroupSpec]) -> None:
        """Make the groups anew from the instances that are there."""
        before, self._groups, self._group_of = self._groups, {}, {}
        for spec in dict.fromkeys(group_of.values()):
            members = [self._instances[key] for key in spec.members if key in self._instances]
            if members:
                state = before[spec.name].state if spec.name in before else State.INIT
                made = self._groups[spec.name] = SyncGroup(spec, members, state)
                self._group_of.update((member.key, made) for member in members)

    def reload(
        self,
        specs: Iterable[InstanceSpec],
        groups: Iterable[GroupSpec],
        now: float,
        faults: Faults | None = None,
    ) -> Effects:
        """Go on with another configuration; instances are matched by key and version.

        What is gone leaves in order, what is new starts, with its *faults*, and the rest keeps
        state and timers.
        """
        effects: Effects = []
        group_of = _groups_by_member(groups)
        wanted = {spec.key: spec for spec in specs}
        for key, instance in [*self._instances.items()]:
            spec = wanted.get(key)
            if spec is None or spec.version != instance.spec.version:
                effects += instance.on(ev.Stopped(), now)
                self._deadlines.discard(key)
                del self._instances[key], self._tracks[key]
                continue
            old, group = self._group_of.get(key), group_of.get(key)
            if old and (group is None or group.name != old.spec.name):
                effects += instance.on(ev.Healed(old.fault), now)
            verdict = self._judge(spec, group)
            changed = ev.Reconfigured(spec, verdict, grouped=group is not None)
            effects += instance.on(changed, now)
        for key, spec in wanted.items():
            if key not in self._instances:
                effects += self._make(spec, group_of.get(key), faults or {}).on(ev.Started(), now)
        self._couple(group_of)
        for coupled in self._groups.values():
            effects += coupled.settle(now)
        self._arm(self._instances.values())
        if self.tape is not None:
            self.tape.cut()
        return effects

    def checkpoint(self, now: float) -> Start:
        """Return how all is between two inputs, as values."""
        return Start(
            now,
            tuple(instance.checkpoint() for instance in self._instances.values()),
            tuple((group.spec, group.state) for group in self._groups.values()),
            tuple(self._statuses.items()),
        )

    @classmethod
    def resume(cls, start: Start) -> "Router":
        """Return a router that goes on from *start*."""
        groups = [group for group, _ in start.groups]
        made = cls([one.spec for one in start.instances], groups, dict(start.statuses))
        for one in start.instances:
            verdict = made._instances[one.spec.key].verdict
            made._instances[one.spec.key] = Instance.resume(one, verdict)
        made._couple(_groups_by_member(groups))
        for group, state in start.groups:
            if group.name in made._groups:
                made._groups[group.name].resume(state)
        made._arm(made._instances.values())
        return made

    def _note(self, now: float, raw: Raw) -> None:
        """Keep an input other than an advert on the tape."""
        if self.tape is not None:
            if self.tape.full:
                self.tape.begin(self.checkpoint(now))
            self.tape.note(now, raw)

    @property
    def instances(self) -> Mapping[InstanceKey, Instance]:
        """The instances by key; to look at, not to drive."""
        return self._instances

    @property
    def groups(self) -> Mapping[str, SyncGroup]:
        """The sync groups by name; to look at, not to drive."""
        return self._groups

    def tracks(self, key: InstanceKey) -> tuple[tuple[Track, Status], ...]:
        """Return what an instance tracks, that of its sync group included, and how it is."""
        return tuple((track, self._statuses.get(track.id, UNKNOWN)) for track in self._tracks[key])

    def deadline(self) -> float:
        """Return when ``on_timer`` is due; infinite for never."""
        first = self._deadlines.first()
        return first[0] if first else inf

    def wake_at(self) -> float:
        """Return when to ask ``on_timer`` at the latest; it may be before :meth:`deadline`.

        A backup's deadline moves with each advert: to look at it only now and then is cheaper.
        """
        return self._deadlines.bound()

    def start(self, now: float) -> Effects:
        """Let all instances take part; leftover addresses are gone."""
        return self.on_all(ev.Started(), now)

    def stop(self, now: float) -> Effects:
        """Leave in order: priority 0, addresses away."""
        return self.on_all(ev.Stopped(), now)

    def on_advert(self, key: InstanceKey, advert: Advert, source: Address, now: float) -> Effects:
        """Take an advert for instance *key* that passed validation; one that left hears nothing."""
        instance = self._instances.get(key)
        if instance is None:
            return []
        tape = self.tape
        if tape is not None:
            if tape.full:
                tape.begin(self.checkpoint(now))
            tape.advert(now, key, advert, source)
        if instance.renews(advert, source, now):
            self._deadlines.set(key, instance.deadline())
            return []
        return self._on(key, ev.AdvertHeard(advert, source), now)

    def on_timer(self, now: float) -> Effects:
        """Let the instances act whose deadlines are over, each once, the most overdue first."""
        fired = ev.TimerFired()
        self._note(now, TIMER)
        # A timer leads to backup or master only, and either bears another call before its time
        return [effect for key in self._deadlines.take(now) for effect in self._on(key, fired, now)]

    def on_status(self, track: TrackId, status: Status, now: float) -> Effects:
        """Take news of a tracked thing."""
        if self._statuses.get(track) == status:
            return []
        self._note(now, (Kind.STATUS, None, None, NO_ADDRESS, None, (track, status)))
        self._statuses[track] = status
        effects: Effects = []
        for key, instance in self._instances.items():
            if any(own.id == track for own in self._tracks[key]):
                verdict = judge(instance.spec.priority, self._tracks[key], self._statuses)
                effects += self._on(key, ev.Judged(verdict), now)
        return effects

    def on(self, key: InstanceKey, event: ev.Event, now: float) -> Effects:
        """Let *event* happen to instance *key*, and to its sync group what follows."""
        self._note(now, (Kind.EVENT, key, None, NO_ADDRESS, event, None))
        return self._on(key, event, now)

    def _on(self, key: InstanceKey, event: ev.Event, now: float) -> Effects:
        group = self._group_of.get(key)
        if group is None:
            instance = self._instances[key]
            effects = instance.on(event, now)
            self._deadlines.set(key, instance.deadline())
            return effects
        effects = group.on(key, event, now)
        self._arm(group.members)
        return effects

    def on_all(self, event: ev.Event, now: float) -> Effects:
        """Let *event* happen to every instance; members of a group act as one."""
        self._note(now, (Kind.ALL, None, None, NO_ADDRESS, event, None))
        effects: Effects = []
        for key, instance in self._instances.items():
            if key not in self._group_of:
                effects += instance.on(event, now)
        for group in self._groups.values():
            effects += group.on_all(event, now)
        self._arm(self._instances.values())
        return effects

    def _arm(self, instances: Iterable[Instance]) -> None:
        for instance in instances:
            self._deadlines.set(instance.key, instance.deadline())


def _groups_by_member(groups: Iterable[GroupSpec]) -> dict[InstanceKey, GroupSpec]:
    return {key: group for group in groups for key in group.members}


def _tracks(spec: InstanceSpec, group: GroupSpec | None) -> tuple[Track, ...]:
    if group is None:
        return spec.tracks
    return in_group(spec.tracks, group.tracks, weights=group.tracking_weight)
