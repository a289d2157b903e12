"""The metrics of VRRP."""

from collections.abc import Callable, Iterable
from typing import Final

from lvskeeper.observe.metric import Facts, Kind, Metric, Sample
from lvskeeper.observe.views import InstanceView
from lvskeeper.vrrp.states import State

# Not "instance": that is Prometheus's own label of what is scraped.
STATES: Final = tuple(state.value for state in State)


def _instances(facts: Facts) -> tuple[InstanceView, ...]:
    return facts.snapshot.router.instances if facts.snapshot.router else ()


def _each(value: Callable[[InstanceView], float | None]) -> Callable[[Facts], Iterable[Sample]]:
    def read(facts: Facts) -> Iterable[Sample]:
        for instance in _instances(facts):
            found = value(instance)
            if found is not None:
                yield (instance.name,), float(found)

    return read


def _states(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for state in STATES:
            yield (instance.name, state), float(instance.state == state)


def _group_states(facts: Facts) -> Iterable[Sample]:
    for group in facts.snapshot.router.groups if facts.snapshot.router else ():
        for state in STATES:
            yield (group.name, state), float(group.state == state)


def _info(facts: Facts) -> Iterable[Sample]:
    for it in _instances(facts):
        yield (it.name, it.interface, str(it.vrid), str(it.family), it.group), 1.0


def _peer_ages(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for peer in instance.peers:
            yield (instance.name, peer.address), peer.age


def _peer_priorities(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for peer in instance.peers:
            yield (instance.name, peer.address), float(peer.priority)


def _peer_adverts(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for peer in instance.peers:
            yield (instance.name, peer.address), float(peer.adverts)


def _rejected(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for reason, count in (instance.counters.rejected or {}).items():
            yield (instance.name, reason), float(count)


def _tracks(facts: Facts) -> Iterable[Sample]:
    for instance in _instances(facts):
        for track in instance.tracks:
            if track.well is not None:
                yield (instance.name, track.name), float(track.well)


_I: Final = ("vrrp_instance",)


def _counter(name: str, text: str, value: Callable[[InstanceView], float | None]) -> Metric:
    return Metric(f"lvskeeper_vrrp_{name}_total", text, _I, _each(value), Kind.COUNTER)


def _gauge(name: str, text: str, value: Callable[[InstanceView], float | None]) -> Metric:
    return Metric(f"lvskeeper_vrrp_{name}", text, _I, _each(value))


VRRP_METRICS: Final = (
    Metric(
        "lvskeeper_vrrp_info",
        "1 for each VRRP instance, with what it is.",
        ("vrrp_instance", "interface", "vrid", "family", "group"),
        _info,
    ),
    Metric(
        "lvskeeper_vrrp_state",
        "1 for the state that the instance is in, 0 for the others.",
        ("vrrp_instance", "state"),
        _states,
    ),
    Metric(
        "lvskeeper_vrrp_group_state",
        "1 for the state that the sync group is in, 0 for the others.",
        ("group", "state"),
        _group_states,
    ),
    _gauge("state_age_seconds", "Time in the present state.", lambda it: it.for_seconds),
    _gauge("priority", "Effective priority.", lambda it: it.priority),
    _gauge("base_priority", "Configured priority.", lambda it: it.base),
    _gauge("faults", "Reasons that keep the instance in FAULT.", lambda it: len(it.faults)),
    _gauge(
        "master_age_seconds",
        "Time since the last advert of the master that a backup hears.",
        lambda it: it.master_age,
    ),
    _gauge(
        "master_priority",
        "Priority of the master that a backup hears.",
        lambda it: it.master_priority if it.master else None,
    ),
    _gauge(
        "contention_seconds",
        "For how long two masters have been heard at once; 0 while that is not so.",
        lambda it: it.contention_for or 0.0,
    ),
    _gauge(
        "announced_age_seconds",
        "Time since a master last told its neighbours of any of its addresses.",
        lambda it: it.announced,
    ),
    Metric(
        "lvskeeper_vrrp_peer_age_seconds",
        "Time since the last advert of each router that was heard.",
        ("vrrp_instance", "peer"),
        _peer_ages,
    ),
    Metric(
        "lvskeeper_vrrp_peer_priority",
        "Priority in the last advert of each router that was heard.",
        ("vrrp_instance", "peer"),
        _peer_priorities,
    ),
    Metric(
        "lvskeeper_vrrp_peer_adverts_total",
        "Adverts of each router that counted.",
        ("vrrp_instance", "peer"),
        _peer_adverts,
        Kind.COUNTER,
    ),
    Metric(
        "lvskeeper_vrrp_track_well",
        "1 while the tracked thing is well, 0 while it is not; absent before its first result.",
        ("vrrp_instance", "track"),
        _tracks,
    ),
    _counter("adverts_sent", "Adverts sent.", lambda it: it.counters.sent),
    _counter("adverts_received", "Adverts that counted.", lambda it: it.counters.received),
    Metric(
        "lvskeeper_vrrp_adverts_rejected_total",
        "Adverts that were not accepted, by reason.",
        ("vrrp_instance", "reason"),
        _rejected,
        Kind.COUNTER,
    ),
    _counter("priority_zero_sent", "Adverts of priority 0 sent.", lambda it: it.counters.zero_sent),
    _counter(
        "priority_zero_received",
        "Adverts of priority 0 received.",
        lambda it: it.counters.zero_received,
    ),
    _counter("became_master", "Times it became MASTER.", lambda it: it.counters.became_master),
    _counter(
        "released_master",
        "Times it was MASTER no longer.",
        lambda it: it.counters.released_master,
    ),
    _counter(
        "late",
        "Timers that our own loop came to too late: the machine or the process was stopped.",
        lambda it: it.counters.late,
    ),
    _counter(
        "holdings_lost",
        "Addresses, routes and rules that somebody else removed and that were put back.",
        lambda it: it.counters.lost,
    ),
)
