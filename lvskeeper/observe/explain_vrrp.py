"""Why a VRRP instance is in its state, and what would change that, in plain words."""

from collections.abc import Iterable
from typing import Final

from lvskeeper.observe.explain import Explanation, Reason
from lvskeeper.observe.tables import format_age, in_words
from lvskeeper.observe.views import InstanceView, RouterView, TrackView
from lvskeeper.vrrp.states import FaultKind
from lvskeeper.vrrp.timers import OWNER

_CURES: Final = {
    FaultKind.INTERFACE_DOWN: "the interface comes up, with its carrier",
    FaultKind.INTERFACE_MISSING: "the interface exists",
    FaultKind.BASE_INTERFACE_DOWN: "the interface below the virtual device comes up",
    FaultKind.NO_SOURCE: "the interface gets an address of the family, or the one of the "
    "configuration",
    FaultKind.DUPLICATE_VRID: "no other instance has this VRID on the same interface",
    FaultKind.NO_PEER: "the configuration names a unicast peer",
    FaultKind.NO_SOCKET: "the socket for adverts can be opened; it is tried every second",
    FaultKind.CONFIGURATION: "the configuration is mended and reloaded",
    FaultKind.TRACKED_INTERFACE: "the tracked interface comes up",
    FaultKind.SCRIPT: "the script succeeds again, as often in a row as `rise` asks for",
    FaultKind.FILE: "the number in the tracked file is one that is well",
    FaultKind.PROCESS: "as many processes run as the tracker asks for",
    FaultKind.GROUP: "the faults of the other members of the sync group heal",
    FaultKind.DIRECTOR: "the director role answers again; the supervisor starts a stuck one anew",
    FaultKind.MAINTENANCE: "the maintenance is ended",
}


def explain_instance(instance: InstanceView, router: RouterView, delay: float = 0.0) -> Explanation:
    """Explain *instance*; *delay* seconds have passed since the views were taken."""
    since = instance.for_seconds
    how = f"{instance.name} ({instance.key})"
    if since is None:
        how += f" is {instance.state}"
    else:
        how += f" has been {instance.state} for {format_age(since + delay)}"
    match instance.state:
        case "MASTER":
            because, changes = _master(instance, delay), _master_changes(instance)
        case "BACKUP":
            because, changes = _backup(instance, router, delay), _backup_changes(instance, delay)
        case "FAULT":
            because, changes = _fault(instance), _fault_changes(instance)
        case _:
            because, changes = _init(instance), _init_changes(instance)
    return Explanation(Reason(f"{how}.", tuple(because)), tuple(changes))


def _entered(instance: InstanceView) -> Iterable[Reason]:
    if instance.cause:
        yield Reason(f"it came from {instance.before}: {instance.cause}")


def priority_text(instance: InstanceView) -> str:
    """Return the effective priority, and how it comes about where tracking has a part."""
    if not instance.terms:
        return str(instance.priority)
    terms = "".join(f" {'+-'[t.value < 0]} {abs(t.value)} ({t.name})" for t in instance.terms)
    return f"{instance.priority} = {instance.base}{terms}"


def _master(instance: InstanceView, delay: float) -> Iterable[Reason]:
    yield from _entered(instance)
    yield Reason(f"our priority is {priority_text(instance)}")
    if instance.contention:
        lasted = format_age((instance.contention_for or 0.0) + delay)
        yield Reason(f"two masters are heard for {lasted}: {instance.contention}")
    else:
        yield Reason("no other master is heard")
    if instance.addresses:
        held = in_words(instance.addresses)
        told = "not announced yet"
        if instance.announced is not None:
            told = f"neighbours were last told {format_age(instance.announced + delay)} ago"
        yield Reason(f"it holds {held}; {told}")
    if instance.counters.lost:
        yield Reason(f"others removed what it holds {instance.counters.lost} times; it is back")


def _master_changes(instance: InstanceView) -> Iterable[str]:
    if instance.priority == OWNER:
        yield "nothing but a fault or a stop: it owns its addresses"
    else:
        yield (
            f"an advert with a priority above {instance.priority}, or with the same one from an "
            f"address above {instance.source}"
        )
    yield from _what_if_fails(instance)


def _backup(instance: InstanceView, router: RouterView, delay: float) -> Iterable[Reason]:
    yield from _entered(instance)
    ours = f"our priority is {priority_text(instance)}"
    if not instance.master:
        yield Reason("no master is heard")
        yield Reason(ours)
        if instance.waits:
            yield from _held_back(instance, router)
        return
    heard = format_age((instance.master_age or 0.0) + delay)
    yield Reason(
        f"{instance.master} is master with priority {instance.master_priority}, heard {heard} ago"
    )
    yield Reason(f"{ours}: {_compare(instance, delay)}")
    for track in instance.tracks:
        if (gain := _gain(track)) > 0:
            yield Reason(f"{_troubled(track)}, which costs {gain}")
    if instance.contention:
        yield Reason(f"two masters are heard: {instance.contention}")


def _compare(instance: InstanceView, delay: float) -> str:
    if instance.priority < instance.master_priority:
        return "lower than the master's"
    if instance.priority == instance.master_priority:
        return "the same as the master's, and a backup lets an equal master be"
    if not instance.preempt:
        return "higher than the master's, but nopreempt lets it be"
    if instance.preempt_left is not None:
        left = format_age(max(0.0, instance.preempt_left - delay))
        return f"higher than the master's, but preempt_delay lets it be for {left}"
    return "higher than the master's; its adverts do not count, so it is replaced soon"


def _held_back(instance: InstanceView, router: RouterView) -> Iterable[Reason]:
    others = [
        Reason(f"{other.name} is {other.state}{_briefly(other)}")
        for other in router.instances
        if other.group == instance.group and other.name != instance.name and not other.waits
    ]
    yield Reason(f"it waits for the other members of sync group {instance.group}", tuple(others))


def _briefly(other: InstanceView) -> str:
    if other.faults:
        return f": {', '.join(other.faults)}"
    return f": {other.master} is master" if other.master else ""


def _backup_changes(instance: InstanceView, delay: float) -> Iterable[str]:
    if instance.due is not None:
        left = format_age(max(0.0, instance.due - delay))
        if instance.master:
            yield (
                f"{instance.master} resigns, or is silent for "
                f"{format_age(instance.master_down)} ({left} are left)"
            )
        else:
            yield f"it takes over in {left} unless a master is heard"
    if instance.waits:
        yield f"all members of sync group {instance.group} hear no master"
    if instance.master and instance.priority <= instance.master_priority:
        if instance.preempt:
            yield f"a priority of ours above {instance.master_priority}"
        for track in instance.tracks:
            if (gain := _gain(track)) > 0:
                yield f"{_cured(track)}: our priority is {instance.priority + gain} then"
    elif instance.master and not instance.preempt:
        yield "without nopreempt it takes over at once"
    yield from _what_if_fails(instance)


def _fault(instance: InstanceView) -> Iterable[Reason]:
    yield from (Reason(fault) for fault in instance.faults)
    yield from _waiting(instance)


def _fault_changes(instance: InstanceView) -> Iterable[str]:
    for fault in instance.faults:
        kind = next((k for k in FaultKind if fault.split(" (")[0] == k.value), None)
        if kind is not None:
            yield f"{fault}: it heals when {_CURES[kind]}"
    yield "then it is BACKUP, and takes over where no better master is heard"


def _init(instance: InstanceView) -> Iterable[Reason]:
    waiting = list(_waiting(instance))
    return waiting or [Reason("it has not begun to take part: the daemon starts, or it has left")]


def _init_changes(instance: InstanceView) -> Iterable[str]:
    if instance.pending:
        yield "the first results of these: then it is BACKUP, or FAULT"


def _waiting(instance: InstanceView) -> Iterable[Reason]:
    return (Reason(f"it waits for the first result of {name}") for name in instance.pending)


def _gain(track: TrackView) -> int:
    """Return what the priority would gain if *track* turned well; files have many values."""
    if not track.weight or track.well is None or track.name.startswith("file "):
        return 0
    well = track.well != track.reverse
    return 0 if well else abs(track.weight)


def _troubled(track: TrackView) -> str:
    return f"{track.name} {'is well, and reverse' if track.reverse else 'has failed'}"


def _cured(track: TrackView) -> str:
    return f"{track.name} {'fails' if track.reverse else 'is well again'}"


def _what_if_fails(instance: InstanceView) -> Iterable[str]:
    """Tell which tracked things would turn it, of those that are well."""
    if instance.base == OWNER:
        return
    for track in instance.tracks:
        if track.well is None or track.well == track.reverse or track.name.startswith("file "):
            continue
        turns = f"{track.name} {'succeeds' if track.reverse else 'fails'}"
        if not track.weight:
            yield f"{turns}: that is a fault"
        else:
            yield f"{turns}: our priority is {max(1, instance.priority - abs(track.weight))} then"
