"""A snapshot as plain text: what ``lvskeeper status`` shows.

Every table tells how old its values are. What a role does not tell is shown as unknown, with the
reason: a state from before is no state.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from lvskeeper.observe.explain_vrrp import priority_text
from lvskeeper.observe.override_words import state_of
from lvskeeper.observe.snapshot import DaemonView, Snapshot
from lvskeeper.observe.tables import count, format_age, in_words, render_table
from lvskeeper.observe.views import (
    STALE_AFTER,
    CheckView,
    DirectorView,
    InstanceView,
    OverrideView,
    RouterView,
    ServerView,
    VirtualView,
)

Rows: TypeAlias = Sequence[Sequence[str]]


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One table: its title, and what to say where it has no row."""

    title: str
    head: tuple[str, ...]
    rows: Rows
    age: float | None
    """Of its values, in seconds; none where they are unknown."""
    empty: str = "none"

    def __str__(self) -> str:
        if self.age is None:
            return f"{self.title}: unknown\n"
        stale = ", STALE" if self.age > STALE_AFTER else ""
        title = f"{self.title} (as of {format_age(self.age)} ago{stale})"
        if not self.rows:
            return f"{title}: {self.empty}\n"
        return f"{title}\n{render_table(self.head, self.rows)}"


def render_status(snapshot: Snapshot, now: float, *, wide: bool = False) -> str:
    """Return the daemon, its VRRP instances and its virtual servers; *now* is monotonic."""
    parts = [render_daemon(snapshot, now)]
    router, director = snapshot.router, snapshot.director
    if router is not None or _is_silent(snapshot, "router"):
        parts.append(str(vrrp_section(snapshot, now, wide=wide)))
    if director is None or director.virtual_servers or router is None:
        parts.append(str(virtual_section(snapshot, now, wide=wide)))
    if director is not None and any(map(_has_override, director.virtual_servers)):
        parts.append(str(override_section(snapshot, now, wide=wide)))
    if director is not None and director.pools:
        parts.append(str(pool_section(snapshot, now, wide=wide)))
    if director is not None and director.state_sync is not None:
        parts.append(str(state_sync_section(snapshot, now, wide=wide)))
    return "\n".join(parts)


def _has_override(virtual: VirtualView) -> bool:
    return next(_overrides(virtual), None) is not None


def render_daemon(snapshot: Snapshot, now: float) -> str:
    """Return the head: the daemon, its configuration, its roles, and what is wrong with them."""
    daemon = snapshot.daemon
    delay = max(0.0, now - daemon.taken)
    dry = ", a dry run that serves nobody" if daemon.dry_run else ""
    lines = [
        f"lvskeeper {daemon.version}, pid {daemon.pid}, up {format_age(daemon.age + delay)}{dry}",
        f"configuration {daemon.file}{_applied(daemon, delay)}",
    ]
    for role in daemon.roles:
        if role.pid is None:
            lines.append(f"{role.name}: not running")
        else:
            beat = format_age(role.beat_age + delay) if role.beat_age is not None else "never"
            up = format_age((role.age or 0.0) + delay)
            lines.append(f"{role.name}: pid {role.pid}, up {up}, last sign of life {beat} ago")
    lines += [f"PROBLEM: {problem.message}" for problem in snapshot.problems]
    return "\n".join(lines) + "\n"


def _applied(daemon: DaemonView, delay: float) -> str:
    if daemon.applied_age is None:
        return ", not applied yet"
    text = f", generation {daemon.generation}, applied {format_age(daemon.applied_age + delay)} ago"
    if daemon.unconfirmed is not None:
        left = format_age(max(0.0, daemon.unconfirmed - delay))
        text += f"; rolled back in {left} unless it is confirmed"
    return text


def _is_silent(snapshot: Snapshot, role: str) -> bool:
    return any(role in problem.message for problem in snapshot.problems)


def _age(view: DirectorView | RouterView | None, now: float) -> float | None:
    return None if view is None else max(0.0, now - view.taken)


def vrrp_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return the VRRP instances."""
    router = snapshot.router
    age = _age(router, now)
    head: tuple[str, ...] = ("INSTANCE", "STATE", "FOR", "PRIORITY", "MASTER", "HEARD", "ADDRESSES")
    if wide:
        head += ("KEY", "GROUP", "SENT", "RECEIVED", "REJECTED", "LATE", "WHY")
    if router is None and not _is_silent(snapshot, "router"):
        return Section("VRRP", head, [], 0.0, "the configuration has no VRRP instance")
    instances = router.instances if router else ()
    rows = [_instance_row(one, age or 0.0, wide=wide) for one in instances]
    return Section("VRRP", head, rows, age)


def _instance_row(instance: InstanceView, delay: float, *, wide: bool) -> list[str]:
    master = instance.master and f"{instance.master} ({instance.master_priority})"
    row = [
        instance.name,
        instance.state,
        format_age(_plus(instance.for_seconds, delay)),
        str(instance.priority),
        "itself" if instance.held else master,
        f"{format_age(instance.master_age + delay)} ago" if instance.master_age is not None else "",
        in_words(instance.addresses, shown=4 if wide else 1),
    ]
    if wide:
        counters = instance.counters
        rejected = sum((counters.rejected or {}).values())
        row += [instance.key, instance.group]
        row += map(str, (counters.sent, counters.received, rejected, counters.late))
        row.append(why_instance(instance))
    return row


def why_instance(instance: InstanceView) -> str:
    """Return in a few words what is to be known of the state of an instance."""
    if instance.faults or instance.pending:
        waits = [f"waits for {name}" for name in instance.pending]
        return "; ".join([*instance.faults, *waits])
    if instance.contention:
        return f"contention: {instance.contention}"
    if instance.waits:
        return f"waits for the rest of sync group {instance.group}"
    return f"priority {priority_text(instance)}" if instance.terms else instance.cause


def virtual_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return the virtual servers."""
    head: tuple[str, ...] = ("VIRTUAL SERVER", "STATE", "FOR", "UP", "WEIGHT", "SCHEDULER")
    if wide:
        head += ("QUORUM AT", "LOST BELOW", "SORRY SERVER", "POOL", "COOKIES", "SERVICES")
    age = _age(snapshot.director, now)
    rows = [_virtual_row(one, age or 0.0, wide=wide) for one in _virtuals(snapshot)]
    return Section("Virtual servers", head, rows, age)


def _virtual_row(virtual: VirtualView, delay: float, *, wide: bool) -> list[str]:
    up = sum(server.up for server in virtual.servers)
    row = [
        virtual.name,
        _state_of(virtual),
        format_age(virtual.for_seconds + delay),
        f"{up}/{len(virtual.servers)}",
        str(virtual.live),
        virtual.scheduler,
    ]
    if wide:
        row += [str(virtual.gain_at), str(virtual.lose_below), virtual.sorry, virtual.pool]
        row += ["yes" if virtual.syn_proxy else "", in_words(virtual.services)]
    return row


def _state_of(virtual: VirtualView) -> str:
    state = virtual.state.upper() if virtual.state != "up" else "up"
    return state if virtual.override is None else f"{state}, {state_of(virtual.override)}"


def server_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return the real servers of all virtual servers."""
    head: tuple[str, ...] = ("REAL SERVER", "VIRTUAL SERVER", "STATE", "FOR", "WEIGHT", "BY")
    if wide:
        head += ("CONFIGURED", "CHECKS", "WHY")
    age = _age(snapshot.director, now)
    rows: Rows = [
        _server_row(server, virtual, age or 0.0, wide=wide)
        for virtual in _virtuals(snapshot)
        for server in virtual.servers
    ]
    return Section("Real servers", head, rows, age)


def override_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return what operators ordered at runtime: drains, weights, virtual servers out of use."""
    head: tuple[str, ...] = ("REAL SERVER", "VIRTUAL SERVER", "STATE", "LEFT", "BY", "SINCE")
    head += ("ENDS IN", "DEADLINE IN", "REASON", "NOTE") if wide else ("REASON",)
    age = _age(snapshot.director, now)
    rows: Rows = [
        _override_row(server, virtual, override, age or 0.0, wide=wide)
        for virtual in _virtuals(snapshot)
        for server, override in _overrides(virtual)
    ]
    return Section("Overrides", head, rows, age)


def _overrides(virtual: VirtualView) -> Iterator[tuple[str, OverrideView]]:
    if virtual.override is not None:
        yield "all", virtual.override
    for server in virtual.servers:
        if server.override is not None and server.override.kind != "disable":
            yield server.name, server.override


def _override_row(
    server: str, virtual: VirtualView, override: OverrideView, delay: float, *, wide: bool
) -> list[str]:
    row = [
        server,
        virtual.name,
        state_of(override),
        "" if override.connections is None else str(override.connections),
        override.by,
        f"{format_age(override.age + delay)} ago",
    ]
    if wide:
        row += [
            "" if left is None else format_age(max(0.0, left - delay))
            for left in (override.expires_in, override.deadline_in)
        ]
        return [*row, override.reason, override.note]
    return [*row, override.reason]


def _server_row(server: ServerView, virtual: VirtualView, delay: float, *, wide: bool) -> list[str]:
    state = "DOWN" if not server.up else "up" if server.serving else "idle"
    if server.override is not None:
        state = f"{'DOWN, ' if not server.up else ''}{state_of(server.override)}"
    row = [
        server.name,
        virtual.name,
        state,
        format_age(server.for_seconds + delay),
        str(server.weight),
        server.forward,
    ]
    if wide:
        well = sum(check.up for check in server.checks)
        failing = "; ".join(f"{one.name}: {one.detail or 'no result'}" for one in server.failing)
        row += [str(server.configured), f"{well}/{len(server.checks)}", failing]
    return row


def check_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return the checks of all real servers."""
    head: tuple[str, ...] = ("CHECK", "REAL SERVER", "STATE", "FOR", "ASKED", "TOOK", "NEXT")
    head += ("VIRTUAL SERVER", "EVERY", "LAST RESULT") if wide else ("LAST RESULT",)
    age = _age(snapshot.director, now)
    rows: Rows = [
        _check_row(check, server, virtual, age or 0.0, wide=wide)
        for virtual in _virtuals(snapshot)
        for server in virtual.servers
        for check in server.checks
    ]
    return Section("Checks", head, rows, age)


def _check_row(
    check: CheckView, server: ServerView, virtual: VirtualView, delay: float, *, wide: bool
) -> list[str]:
    state = {"up": "up", "down": "DOWN"}.get(check.state, "up?" if check.up else "DOWN?")
    asked = f"{format_age(check.age + delay)} ago" if check.age is not None else "not yet"
    row = [
        check.name,
        server.name,
        state,
        format_age(_plus(check.for_seconds, delay)),
        asked,
        f"{check.took * 1000:.1f} ms" if check.age is not None else "",
        "now" if check.due is None else f"in {format_age(max(0.0, check.due - delay))}",
    ]
    failed = f" ({check.failed} of {check.attempts} failures)" if check.failed else ""
    if wide:
        row += [virtual.name, format_age(check.every)]
    return [*row, check.detail + failed]


def pool_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return how full the local-address groups are."""
    head: tuple[str, ...] = ("GROUP", "STATE", "CONNECTIONS", "FULLEST TOWARD", "USED", "OF")
    if wide:
        head += ("SHARE OF FULLEST LIP",)
    director = snapshot.director
    rows: list[list[str]] = []
    for pool in director.pools if director else ():
        row = [pool.name, pool.state, str(pool.connections), pool.place, str(pool.used)]
        row.append(str(pool.capacity))
        rows.append([*row, f"{pool.share:.1%}"] if wide else row)
    empty = "no virtual server uses local addresses, or none was looked at yet"
    return Section("Local addresses", head, rows, _age(director, now), empty)


def state_sync_section(snapshot: Snapshot, now: float, *, wide: bool = False) -> Section:
    """Return whether a fail-over now would keep connections, and what is known on both sides."""
    head: tuple[str, ...] = ("KEEPS", "PEER", "OWN", "FROM PEER", "BEHIND", "REFUSED", "ERRORS")
    if wide:
        head += ("LINK", "SERVES", "SENT", "RECEIVED", "LOST", "OVERRUNS", "IPVS")
    director = snapshot.director
    sync = director.state_sync if director else None
    rows: list[list[str]] = []
    if sync is not None:
        numbers = (sync.own, sync.from_peer, sync.behind, sync.refused, sync.errors)
        row = [_whether(sync.keeps), _whether(sync.peer, "heard", "silent"), *map(str, numbers)]
        if wide:
            counts = map(str, (sync.sent, sync.received, sync.lost, sync.overruns))
            row += [sync.link, _whether(sync.active), *counts, sync.ipvs]
        rows.append([*row, "; ".join(sync.doubts)])
    return Section("State sync", (*head, "WHY NOT"), rows, _age(director, now), "not configured")


def _whether(known: bool | None, yes: str = "yes", no: str = "no") -> str:
    return "unknown" if known is None else yes if known else no


def _virtuals(snapshot: Snapshot) -> Iterable[VirtualView]:
    return snapshot.director.virtual_servers if snapshot.director else ()


def _plus(seconds: float | None, delay: float) -> float | None:
    return None if seconds is None else seconds + delay


SECTIONS: Final[dict[str, Callable[..., Section]]] = {
    "vs": virtual_section,
    "rs": server_section,
    "vrrp": vrrp_section,
    "checks": check_section,
    "drains": override_section,
    "lips": pool_section,
    "sync": state_sync_section,
}
"""The tables by the word that asks for them."""


def is_master(snapshot: Snapshot, name: str) -> bool | None:
    """Return whether an instance or a sync group is MASTER; ``None`` where none has this name."""
    router = snapshot.router
    if router is None:
        return None
    states = [one.state for one in router.instances if one.name == name]
    states += [group.state for group in router.groups if group.name == name]
    return all(state == "MASTER" for state in states) if states else None


def is_serving(snapshot: Snapshot, name: str) -> bool | None:
    """Return whether a virtual server serves, if by its sorry server; ``None`` for no such one."""
    found = [virtual for virtual in _virtuals(snapshot) if virtual.name == name]
    return all(virtual.state != "down" for virtual in found) if found else None


def summary(snapshot: Snapshot) -> str:
    """Return the whole daemon in one line."""
    parts = []
    if snapshot.router is not None:
        states = [instance.state for instance in snapshot.router.instances]
        parts.append(f"MASTER {states.count('MASTER')}/{len(states)}")
    servers = [server for virtual in _virtuals(snapshot) for server in virtual.servers]
    if servers:
        parts.append(f"real servers {sum(one.up for one in servers)}/{len(servers)}")
    parts += [count(len(snapshot.problems), "problem")] * bool(snapshot.problems)
    return ", ".join(parts) or "nothing to serve"
