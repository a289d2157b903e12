"""What the director shows of itself: virtual servers, real servers, checks, as values."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from math import isfinite

import msgspec

from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.overrides import OverrideKeeper
from lvskeeper.daemon.roles import RealServerSpec
from lvskeeper.daemon.table import TableKeeper
from lvskeeper.daemon.virtuals import Virtual
from lvskeeper.fullnat.capacity import PoolUse
from lvskeeper.fullnat.capacity import Snapshot as Capacity
from lvskeeper.fullnat.counters import Snapshot as Cookies
from lvskeeper.health.checker import Checker
from lvskeeper.health.pool import Share
from lvskeeper.health.tally import ProbeTally
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe.views import (
    CheckView,
    DirectorView,
    PoolView,
    ProbesView,
    ServerView,
    StateSyncView,
    VirtualView,
)
from lvskeeper.units import format_address


async def view_director(
    virtuals: Iterable[Virtual],
    now: float,
    *,
    table: TableKeeper | None = None,
    capacity: Capacity | None = None,
    cookies: Cookies | None = None,
    tally: ProbeTally | None = None,
    state_sync: StateSyncView | None = None,
    overrides: OverrideKeeper | None = None,
) -> DirectorView:
    """Return how *virtuals* are at the time *now*, and what surrounds them.

    Other work has its turn meanwhile.
    """
    breath = Breath()
    views = []
    for virtual in list(virtuals):
        refused = table.refused(virtual.spec.keys) if table else ()
        views.append(view_virtual(virtual, now, refused, overrides))
        await breath.taken()
    tracked = capacity.conntrack if capacity else None
    return DirectorView(
        taken=now,
        dialect=table.traits.dialect.value if table else "",
        virtual_servers=tuple(views),
        pools=tuple(map(_view_pool, capacity.pools)) if capacity else (),
        conntrack_entries=tracked.entries if tracked else None,
        conntrack_limit=tracked.limit if tracked else None,
        syn_cookies=dict(cookies.values) if cookies else None,
        repairs=table.repairs if table else 0,
        probes=tuple(_view_probes(tally)) if tally else (),
        state_sync=state_sync,
    )


async def encode_view(view: DirectorView) -> msgspec.Raw:
    """Return *view* as JSON, made a virtual server at a time: other work has its turn meanwhile."""
    breath = Breath()
    pieces = []
    for virtual in view.virtual_servers:
        pieces.append(msgspec.Raw(msgspec.json.encode(virtual)))
        await breath.taken()
    whole = {item.name: getattr(view, item.name) for item in fields(view)}
    return msgspec.Raw(msgspec.json.encode({**whole, "virtual_servers": pieces}))


def _view_pool(use: PoolUse) -> PoolView:
    worst = use.worst
    return PoolView(
        use.pool,
        use.connections,
        str(worst.place),
        worst.connections,
        worst.capacity,
        worst.share,
        use.state.value,
    )


def _view_probes(tally: ProbeTally) -> Iterator[ProbesView]:
    for kind, it in tally.kinds.items():
        yield ProbesView(kind.value, it.good, it.bad, it.broken, it.seconds, tuple(it.lengths))


def view_virtual(
    virtual: Virtual,
    now: float,
    refused: tuple[str, ...] = (),
    overrides: OverrideKeeper | None = None,
) -> VirtualView:
    """Return how one virtual server is at the time *now*; *refused* of it is some by the kernel."""
    spec, pool = virtual.spec, virtual.pool
    serving = pool.serving()
    return VirtualView(
        name=spec.name,
        services=tuple(map(str, spec.keys)),
        addresses=tuple(
            dict.fromkeys(format_address(key.address) for key in spec.keys if key.address)
        ),
        scheduler=spec.scheduler,
        quorum=pool.has_quorum,
        for_seconds=max(0.0, now - pool.quorum_since),
        live=pool.live_weight,
        gain_at=pool.gain_at,
        lose_below=pool.lose_below,
        sorry=str(server_key(spec.sorry_server)) if spec.sorry_server else "",
        sorry_serves=serving.sorry,
        pool=spec.pool,
        syn_proxy=spec.syn_proxy is not None,
        servers=tuple(
            _view_server(server, share, virtual, now, overrides)
            for server, share in zip(spec.real_servers, serving.servers, strict=True)
        ),
        refused=refused,
        override=overrides.view_of(spec, now) if overrides else None,
    )


def _view_server(
    server: RealServerSpec,
    share: Share[DestKey],
    virtual: Virtual,
    now: float,
    overrides: OverrideKeeper | None,
) -> ServerView:
    pool = virtual.pool
    return ServerView(
        name=str(share.key),
        up=pool.up[share.key],
        serving=share.live and share.weight > 0,
        weight=share.weight,
        configured=server.weight,
        effective=pool.weights[share.key],
        forward=server.forward.name,
        for_seconds=max(0.0, now - pool.since[share.key]),
        checks=tuple(_view_check(checker, now) for checker in pool.checkers_of(share.key)),
        override=overrides.view_server(virtual.spec, share.key, now) if overrides else None,
    )


def _view_check(checker: Checker, now: float) -> CheckView:
    last, spec = checker.last, checker.spec
    detail = "" if last is None else f"{last.phase.value}: {last.detail}" if last.detail else "ok"
    return CheckView(
        name=str(spec),
        state=checker.state.value,
        up=checker.up,
        for_seconds=max(0.0, now - checker.since) if isfinite(checker.since) else None,
        ok=None if last is None else last.ok,
        detail=detail,
        age=max(0.0, now - checker.heard) if isfinite(checker.heard) else None,
        took=0.0 if last is None else last.elapsed,
        due=max(0.0, checker.due - now) if isfinite(checker.due) else None,
        failed=checker.failed,
        attempts=1 + spec.retry,
        every=spec.delay_loop,
    )
