"""What the router shows of itself: instances and sync groups, as values."""

from math import isfinite

from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_log import address_text
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.observe.views import (
    CountersView,
    GroupView,
    InstanceView,
    PeerView,
    RouterView,
    TermView,
    TrackView,
)
from lvskeeper.units import NO_ADDRESS, format_address
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.states import State


def view_router(shell: Shell, now: float) -> RouterView:
    """Return how the instances and groups of *shell* are at the time *now*."""
    core = shell.core
    group_of = {member.key: name for name, group in core.groups.items() for member in group.members}
    instances = [
        _view_instance(shell, shell.seats[key], instance, now, group_of.get(key, ""))
        for key, instance in core.instances.items()
    ]
    groups = [
        GroupView(name, group.state.value, tuple(member.spec.name for member in group.members))
        for name, group in core.groups.items()
    ]
    return RouterView(now, tuple(instances), tuple(groups))


def _view_instance(
    shell: Shell, seat: Seat, instance: Instance, now: float, group: str
) -> InstanceView:
    spec, state, change = instance.spec, instance.state, seat.change
    master = instance.master if state is State.BACKUP else None
    contention = instance.contention
    deadline = instance.deadline()
    said = [last for place in seat.places if (last := shell.planner.last(seat.key, place))]
    return InstanceView(
        name=seat.name,
        key=str(seat.key),
        interface=seat.key.interface,
        family=seat.key.family,
        vrid=seat.key.vrid,
        version=spec.version,
        state=state.value,
        for_seconds=max(0.0, now - instance.since) if isfinite(instance.since) else None,
        cause=change.cause.value if change else "",
        before=change.old.value if change else "",
        source=address_text(instance.source),
        priority=instance.priority,
        base=spec.priority,
        terms=tuple(TermView(str(term.id), term.value) for term in instance.verdict.priority.terms),
        interval=instance.master_interval,
        master_down=instance.master_down,
        preempt=spec.preempts,
        preempt_left=instance.preempt_at - now if instance.preempt_at > now else None,
        due=max(0.0, deadline - now) if isfinite(deadline) else None,
        faults=tuple(sorted(map(str, instance.faults))),
        pending=tuple(sorted(map(str, instance.verdict.pending))),
        master=address_text(master.address if master else NO_ADDRESS),
        master_priority=master.priority if master else 0,
        master_age=max(0.0, now - master.heard) if master else None,
        contention=str(contention) if contention else "",
        contention_for=now - contention.since if contention else None,
        group=group,
        waits=bool(group) and state is State.BACKUP and instance.wants,
        addresses=tuple(format_address(place.address) for place in seat.places),
        held=state is State.MASTER,
        announced=max(0.0, now - max(said)) if said else None,
        tracks=tuple(
            TrackView(str(track.id), status.well, track.weight, track.reverse, status.value)
            for track, status in shell.core.tracks(seat.key)
        ),
        peers=tuple(
            PeerView(format_address(address), seen.priority, seen.adverts, now - seen.heard)
            for address, seen in seat.peers.items()
        ),
        counters=_counters(seat),
    )


def _counters(seat: Seat) -> CountersView:
    it = seat.counters
    return CountersView(
        sent=it.sent,
        received=it.received,
        zero_sent=it.zero_sent,
        zero_received=it.zero_received,
        became_master=it.became_master,
        released_master=it.released_master,
        late=it.late,
        lost=it.lost,
        rejected={kind.value: count for kind, count in it.rejected.items()},
    )
