"""Sync groups: instances that are master together or not at all.

The coupling is a list of rules. Each looks at the members and says which of them have to move; the
first that says something is applied, and the list starts over, until no rule has a word: a fixed
point. keepalived's terms: master when all members want it; a fault of one is a fault of all; one
that goes back to backup takes the others along, without priority 0.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, final

from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.spec import GroupSpec
from lvskeeper.vrrp.states import Fault, FaultKind, Occasion, State
from lvskeeper.vrrp.types import InstanceKey

Moves: TypeAlias = list[tuple[Instance, ev.Event]]
Rule: TypeAlias = Callable[["SyncGroup"], Moves]


@final
class SyncGroup:
    """State of one sync group. Its members are instances made with ``grouped=True``."""

    __slots__ = ("_fault", "_members", "_spec", "_state")

    def __init__(
        self, spec: GroupSpec, members: Iterable[Instance], state: State = State.INIT
    ) -> None:
        """Couple *members*; *state* is what was told of a group of this name before a reload."""
        self._spec = spec
        self._members = {member.key: member for member in members}
        self._fault = Fault(FaultKind.GROUP, spec.name)
        self._state = state

    @property
    def spec(self) -> GroupSpec:
        """The configuration."""
        return self._spec

    @property
    def members(self) -> tuple[Instance, ...]:
        """The member instances."""
        return tuple(self._members.values())

    @property
    def state(self) -> State:
        """The state that all members share; INIT also while one of them waits for a result."""
        return self._state

    @property
    def fault(self) -> Fault:
        """The fault that members have because of another one."""
        return self._fault

    def resume(self, state: State) -> None:
        """Take *state* for what was told last, where a recorded router goes on."""
        self._state = state

    def on(self, key: InstanceKey, event: ev.Event, now: float) -> list[fx.Effect]:
        """Let *event* happen to member *key*, and let the others follow."""
        effects = self._members[key].on(event, now)
        return effects + self._echo(key, effects, now) + self.settle(now)

    def on_all(self, event: ev.Event, now: float) -> list[fx.Effect]:
        """Let *event* happen to all members before they look at each other: start, stop, ..."""
        effects = [effect for member in self.members for effect in member.on(event, now)]
        return effects + self.settle(now)

    def settle(self, now: float) -> list[fx.Effect]:
        """Move members until no rule has a word."""
        effects: list[fx.Effect] = []
        while moves := next(filter(None, (rule(self) for rule in RULES)), None):
            for member, event in moves:
                effects += member.on(event, now)
        old, self._state = self._state, self._common_state()
        if old is not self._state:
            effects.append(fx.GroupChanged(self._spec.name, old, self._state))
        return effects

    def _echo(self, key: InstanceKey, effects: list[fx.Effect], now: float) -> list[fx.Effect]:
        """Announce the other members too where one had to defend its addresses."""
        if not any(isinstance(effect, fx.LowerHeard) for effect in effects):
            return []
        due = ev.AnnouncementDue(Occasion.LOWER_PRIORITY)
        others = (member for member in self.members if member.key != key)
        return [effect for other in others for effect in other.on(due, now)]

    def _common_state(self) -> State:
        states = {member.state for member in self.members}
        order = (State.FAULT, State.INIT, State.BACKUP, State.MASTER)
        return next(state for state in order if state in states)

    def has_own_fault(self, member: Instance) -> bool:
        """Whether *member* is in FAULT for more than the group's sake."""
        return member.state is State.FAULT and bool(member.faults - {self._fault})


def _faults_spread(group: SyncGroup) -> Moves:
    ill = {member.key for member in group.members if group.has_own_fault(member)}
    return [
        (member, ev.Faulted(group.fault))
        for member in group.members
        if ill - {member.key} and group.fault not in member.faults
    ]


def _faults_heal(group: SyncGroup) -> Moves:
    ill = {member.key for member in group.members if group.has_own_fault(member)}
    return [
        (member, ev.Healed(group.fault))
        for member in group.members
        if not ill - {member.key} and group.fault in member.faults
    ]


def _masters_stand_back_together(group: SyncGroup) -> Moves:
    masters = [member for member in group.members if member.state is State.MASTER]
    if all(member.state is State.MASTER or member.joining for member in group.members):
        return []
    return [(member, ev.StandBack()) for member in masters]


def _masters_take_over_together(group: SyncGroup) -> Moves:
    """Where one joins masters, it takes over alone; else all have to be backups."""
    takers = [member for member in group.members if member.state is State.BACKUP]
    others = [member for member in group.members if member.state is State.MASTER]
    if len(takers) + len(others) < len(group.members) or not all(one.wants for one in takers):
        return []
    if others and not all(one.joining for one in takers):
        return []
    return [(member, ev.TakeOver()) for member in takers]


RULES: Final[tuple[Rule, ...]] = (
    _faults_spread,
    _faults_heal,
    _masters_stand_back_together,
    _masters_take_over_together,
)
