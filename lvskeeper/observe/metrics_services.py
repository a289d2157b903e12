"""The metrics of virtual servers, real servers, checks and of what surrounds them."""

from collections.abc import Callable, Iterable
from typing import Final

from lvskeeper.observe.metric import Facts, Histogram, Kind, Metric, Sample, one
from lvskeeper.observe.views import CheckView, PoolView, ServerView, StateSyncView, VirtualView

VIRTUAL_STATES: Final = ("up", "weak", "sorry", "down")


def _virtuals(facts: Facts) -> tuple[VirtualView, ...]:
    return facts.snapshot.director.virtual_servers if facts.snapshot.director else ()


def _virtual(name: str, text: str, value: Callable[[VirtualView], float]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        return (((it.name,), float(value(it))) for it in _virtuals(facts))

    return Metric(f"lvskeeper_virtual_server_{name}", text, ("virtual_server",), read)


def _server(name: str, text: str, value: Callable[[ServerView], float]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        for virtual in _virtuals(facts):
            for it in virtual.servers:
                yield (virtual.name, it.name), float(value(it))

    labels = ("virtual_server", "real_server")
    return Metric(f"lvskeeper_real_server_{name}", text, labels, read)


def _check(name: str, text: str, value: Callable[[CheckView], float | None]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        for virtual in _virtuals(facts):
            for server in virtual.servers:
                for it in server.checks:
                    if (found := value(it)) is not None:
                        yield (virtual.name, server.name, it.name), float(found)

    labels = ("virtual_server", "real_server", "check")
    return Metric(f"lvskeeper_check_{name}", text, labels, read)


def _pool(name: str, text: str, value: Callable[[PoolView], float]) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        director = facts.snapshot.director
        return (((it.name,), float(value(it))) for it in (director.pools if director else ()))

    return Metric(f"lvskeeper_local_addresses_{name}", text, ("group",), read)


def _sync(
    name: str,
    text: str,
    value: Callable[[StateSyncView], float | None],
    kind: Kind = Kind.GAUGE,
) -> Metric:
    def read(facts: Facts) -> Iterable[Sample]:
        director = facts.snapshot.director
        sync = director.state_sync if director else None
        return one(value(sync)) if sync else ()

    return Metric(f"lvskeeper_state_sync_{name}", text, (), read, kind)


def _states(facts: Facts) -> Iterable[Sample]:
    for virtual in _virtuals(facts):
        for state in VIRTUAL_STATES:
            yield (virtual.name, state), float(virtual.state == state)


def _refused(facts: Facts) -> Iterable[Sample]:
    return (((it.name,), float(len(it.refused))) for it in _virtuals(facts))


def _connections(facts: Facts) -> Iterable[Sample]:
    for it in facts.traffic.backends if facts.traffic else ():
        service = f"fwmark {int(it.mark, 16)}" if it.mark else _endpoint(it.address, it.port)
        labels = (it.protocol.lower(), service, _endpoint(it.server, it.server_port))
        yield (*labels, "active"), float(it.active)
        yield (*labels, "inactive"), float(it.inactive)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _probes(facts: Facts) -> Iterable[Sample]:
    for it in facts.snapshot.director.probes if facts.snapshot.director else ():
        yield (it.kind, "good"), float(it.good)
        yield (it.kind, "bad"), float(it.bad)
        yield (it.kind, "broken"), float(it.broken)


def _lengths(facts: Facts) -> Iterable[Sample]:
    for it in facts.snapshot.director.probes if facts.snapshot.director else ():
        yield (it.kind,), Histogram(it.lengths, it.seconds)


def _cookies(facts: Facts) -> Iterable[Sample]:
    director = facts.snapshot.director
    for name, value in (director.syn_cookies or {}).items() if director else ():
        yield (name,), float(value)


def _repairs(facts: Facts) -> Iterable[Sample]:
    director = facts.snapshot.director
    return one(director.repairs if director else None)


def _entries(facts: Facts) -> Iterable[Sample]:
    director = facts.snapshot.director
    return one(director.conntrack_entries if director else None)


def _limit(facts: Facts) -> Iterable[Sample]:
    director = facts.snapshot.director
    return one(director.conntrack_limit if director else None)


SERVICE_METRICS: Final = (
    Metric(
        "lvskeeper_virtual_server_state",
        "1 for the state of the virtual server, 0 for the others: up, weak (no quorum, and no "
        "sorry server), sorry (the sorry server serves alone), down.",
        ("virtual_server", "state"),
        _states,
    ),
    _virtual("quorum", "1 while the quorum is gained.", lambda it: it.quorum),
    _virtual("live_weight", "Weight of the real servers that are up.", lambda it: it.live),
    _virtual("quorum_gained_at", "Live weight that gains the quorum.", lambda it: it.gain_at),
    _virtual("quorum_lost_below", "Live weight below which it is lost.", lambda it: it.lose_below),
    _virtual("real_servers", "Configured real servers.", lambda it: len(it.servers)),
    _virtual(
        "real_servers_up", "Real servers that are up.", lambda it: sum(s.up for s in it.servers)
    ),
    Metric(
        "lvskeeper_virtual_server_refused",
        "Operations that the kernel refuses at present.",
        ("virtual_server",),
        _refused,
    ),
    _server("up", "1 while all checks of the real server are up.", lambda it: it.up),
    _server("serving", "1 while it gets new connections.", lambda it: it.serving),
    _server("weight", "Weight in the kernel's table.", lambda it: it.weight),
    _server("state_age_seconds", "Time that it has been up, or down.", lambda it: it.for_seconds),
    Metric(
        "lvskeeper_real_server_connections",
        "Connections of a destination in the kernel, in all services of this network namespace; "
        "the kernel leaves some out where other namespaces have services, too.",
        ("protocol", "service", "real_server", "state"),
        _connections,
    ),
    _check("up", "1 while the check lets its server serve.", lambda it: it.up),
    _check("age_seconds", "Time since the last probe ended.", lambda it: it.age),
    _check(
        "duration_seconds",
        "Time that the last probe took.",
        lambda it: it.took if it.age is not None else None,
    ),
    Metric(
        "lvskeeper_probes_total",
        "Probes by kind of check and result; broken: the director could not make them.",
        ("kind", "result"),
        _probes,
        Kind.COUNTER,
    ),
    Metric(
        "lvskeeper_probe_duration_seconds",
        "Time that probes took, by kind of check.",
        ("kind",),
        _lengths,
        Kind.HISTOGRAM,
    ),
    Metric(
        "lvskeeper_repairs_total",
        "Operations that brought back what others changed in the kernel's table.",
        (),
        _repairs,
        Kind.COUNTER,
    ),
    _pool("connections", "Connections through the local-address group.", lambda it: it.connections),
    _pool(
        "used_ratio",
        "Share of the ports of the fullest local address toward the fullest real server in use.",
        lambda it: it.share,
    ),
    Metric("lvskeeper_conntrack_entries", "Entries of connection tracking.", (), _entries),
    Metric("lvskeeper_conntrack_limit", "Most entries of connection tracking.", (), _limit),
    Metric(
        "lvskeeper_syn_cookies_total",
        "What the kernel counts of SYN cookies, by its own names.",
        ("counter",),
        _cookies,
        Kind.COUNTER,
    ),
    _sync("keeps", "1 where a fail-over now would keep connections.", lambda it: it.keeps),
    _sync("peer_up", "1 while the peer's conntrackd is heard.", lambda it: it.peer),
    _sync("running", "1 while conntrackd answers.", lambda it: it.running),
    _sync("behind", "Messages that the peer has not confirmed.", lambda it: it.behind),
    _sync("own_connections", "Connections that the peer is to know.", lambda it: it.own),
    _sync("peer_connections", "Connections that came from the peer.", lambda it: it.from_peer),
    _sync("refused_total", "Entries that the kernel refused.", lambda it: it.refused, Kind.COUNTER),
    _sync("errors_total", "Failures to send or receive.", lambda it: it.errors, Kind.COUNTER),
    _sync(
        "overruns_total",
        "Times that connections came faster than conntrackd could read.",
        lambda it: it.overruns,
        Kind.COUNTER,
    ),
)
