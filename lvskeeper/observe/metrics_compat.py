"""The names of keepalived-exporter and of node_exporter's ipvs collector, for present boards.

Left out are ``keepalived_script_state``, ``keepalived_check_script_status`` and
``keepalived_gratuitous_arp_delay_total``: they tell of keepalived's insides, or of a script that
the exporter runs. A virtual address that adverts leave out counts as one that they name.
"""

from collections.abc import Callable, Iterable
from typing import Final

from lvskeeper.kernel.ipvs_proc import Backend, Totals
from lvskeeper.observe.metric import Facts, Kind, Metric, Sample, Suite, one
from lvskeeper.observe.views import InstanceView
from lvskeeper.vrrp.verdict import RejectKind

_NUMBERS: Final = {"INIT": 0, "BACKUP": 1, "MASTER": 2, "FAULT": 3}
"""States as keepalived counts them."""

_LABELS: Final = ("iname", "intf", "vrid")

_REJECTS: Final = {
    "packet_length_errors": (RejectKind.LENGTH, RejectKind.IP_LENGTH),
    "advertisements_interval_errors": (RejectKind.INTERVAL,),
    "ip_ttl_errors": (RejectKind.TTL,),
    "invalid_type_received": (RejectKind.TYPE,),
    "authentication_invalid": (RejectKind.AUTH_TYPE,),
    "authentication_mismatch": (RejectKind.AUTH_MISMATCH,),
    "authentication_failure": (RejectKind.AUTH_FAILURE,),
}


def _instances(facts: Facts) -> tuple[InstanceView, ...]:
    return facts.snapshot.router.instances if facts.snapshot.router else ()


def _up(facts: Facts) -> Iterable[Sample]:
    silent = any("router" in problem.message for problem in facts.snapshot.problems)
    return one(0.0 if silent else 1.0)


def _state(facts: Facts) -> Iterable[Sample]:
    for it in _instances(facts):
        for address in it.addresses or ("",):
            yield (it.name, it.interface, str(it.vrid), address), float(_NUMBERS[it.state])


def _scripts(facts: Facts) -> Iterable[Sample]:
    found = {
        track.name.removeprefix("script "): track.well
        for it in _instances(facts)
        for track in it.tracks
        if track.name.startswith("script ")
    }
    return (((name,), float(well)) for name, well in found.items() if well is not None)


def _counter(name: str, text: str, value: Callable[[InstanceView], int]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        for it in _instances(facts):
            yield (it.name, it.interface, str(it.vrid)), float(value(it))

    return Metric(f"keepalived_{name}_total", text, _LABELS, read, Kind.COUNTER, Suite.KEEPALIVED)


def _rejects(name: str) -> Metric:
    kinds = _REJECTS[name]

    def count(it: InstanceView) -> int:
        rejected = it.counters.rejected or {}
        return sum(rejected.get(kind.value, 0) for kind in kinds)

    reasons = ", ".join(kind.value for kind in kinds)
    return _counter(name, f"Adverts that were not accepted: {reasons}.", count)


def _backends(name: str, text: str, value: Callable[[Backend], int]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        for it in facts.traffic.backends if facts.traffic else ():
            port = "" if it.mark else str(it.port)
            local = (it.address, port, it.server, str(it.server_port))
            yield (*local, it.protocol, it.mark), float(value(it))

    labels = (
        "local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark",
    )  # fmt: skip
    text += " The kernel leaves some out where several network namespaces have services."
    return Metric(f"node_ipvs_backend_{name}", text, labels, read, suite=Suite.NODE)


def _totals(name: str, text: str, value: Callable[[Totals], int]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        return one(value(facts.traffic.totals)) if facts.traffic else ()

    return Metric(f"node_ipvs_{name}_total", text, (), read, Kind.COUNTER, Suite.NODE)


COMPAT_METRICS: Final = (
    Metric("keepalived_up", "1 while VRRP runs.", (), _up, suite=Suite.KEEPALIVED),
    Metric(
        "keepalived_vrrp_state",
        "State of the instance, for each of its addresses: 0 INIT, 1 BACKUP, 2 MASTER, 3 FAULT.",
        (*_LABELS, "ip_address"),
        _state,
        suite=Suite.KEEPALIVED,
    ),
    Metric(
        "keepalived_script_status",
        "1 while the tracked script is well.",
        ("name",),
        _scripts,
        suite=Suite.KEEPALIVED,
    ),
    _counter("become_master", "Times it became MASTER.", lambda it: it.counters.became_master),
    _counter(
        "release_master", "Times it was MASTER no longer.", lambda it: it.counters.released_master
    ),
    _counter("advertisements_received", "Adverts that counted.", lambda it: it.counters.received),
    _counter("advertisements_sent", "Adverts sent.", lambda it: it.counters.sent),
    _counter(
        "priority_zero_received", "Adverts of priority 0.", lambda it: it.counters.zero_received
    ),
    _counter("priority_zero_sent", "Adverts of priority 0.", lambda it: it.counters.zero_sent),
    _counter("address_list_errors", "Always 0: such adverts count.", lambda _it: 0),
    *map(_rejects, _REJECTS),
    _totals("connections", "Connections of all services.", lambda it: it.connections),
    _totals("incoming_packets", "Packets from clients.", lambda it: it.incoming_packets),
    _totals("outgoing_packets", "Packets to clients.", lambda it: it.outgoing_packets),
    _totals("incoming_bytes", "Bytes from clients.", lambda it: it.incoming_bytes),
    _totals("outgoing_bytes", "Bytes to clients.", lambda it: it.outgoing_bytes),
    _backends("connections_active", "Active connections.", lambda it: it.active),
    _backends("connections_inactive", "Inactive connections.", lambda it: it.inactive),
    _backends("weight", "Weight.", lambda it: it.weight),
)
