"""From a virtual server and its health to the IPVS entries that it should have, and back.

Plain functions of values: the director calls them, and so does ``lvskeeper plan``.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias, final

from lvskeeper.daemon.roles import DirectorSpec, RealServerSpec, VirtualServerSpec
from lvskeeper.daemon.state import Past
from lvskeeper.fullnat.pools import Pool as LocalPool
from lvskeeper.health.pool import (
    Pool,
    PoolEffect,
    QuorumGained,
    QuorumLost,
    Server,
    ServerDown,
    ServerUp,
    Serving,
    WeightChanged,
    effective_quorum,
)
from lvskeeper.ipvs.overrides import NO_ORDERS, Orders
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Service,
    ServiceFlag,
    ServiceKey,
    Table,
)
from lvskeeper.units import Address

LocalPools: TypeAlias = dict[str, LocalPool]
"""The local-address groups by name; to tell families apart for each service would take long."""


@final
@dataclass(frozen=True, slots=True)
class Prior:
    """What the kernel's table tells of a virtual server at the start of a director."""

    live: Mapping[DestKey, bool]
    weights: Mapping[DestKey, int]
    """Of the servers whose checks may have given them others than the configured ones."""
    had_quorum: bool
    services: int
    destinations: int


def server_key(server: RealServerSpec) -> DestKey:
    """Return the name of a real server within its virtual server, as it is configured."""
    return DestKey(server.address, server.port)


def make_pool(
    virtual: VirtualServerSpec,
    now: float,
    prior: Prior | None = None,
    orders: Orders = NO_ORDERS,
) -> Pool[DestKey]:
    """Return the health state of *virtual*, not yet started; *prior* is what was adopted."""
    return Pool(
        [Server(server_key(item), item.weight, item.checks) for item in virtual.real_servers],
        virtual.quorum,
        now,
        alpha=virtual.alpha,
        sorry=virtual.sorry_server is not None,
        priors=prior.live if prior else {},
        weights=prior.weights if prior else {},
        ordered=orders.weights,
        had_quorum=prior.had_quorum if prior else None,
    )


def prior_of(
    virtual: VirtualServerSpec, table: Table, past: Past | None, orders: Orders = NO_ORDERS
) -> Prior | None:
    """Return the state of *virtual* that *table* shows; ``None`` where it has none of it.

    A real server counts as up where any service of the virtual server sends it new connections,
    so that nobody who is served by the table as it stands loses by the adoption. *past* is what
    an earlier director noted: a server that it did not know has no prior state. Without it, a
    sorry server in the table or too little weight there mean that the quorum is lost. A server that
    is ordered to drain counts as up while it is there, and once it is gone nothing is known of it.
    """
    found = [(key, table[key]) for key in virtual.keys if key in table]
    if not found:
        return None
    live = {}
    weights = {}
    for server in virtual.real_servers:
        present = [
            entry.destinations[dest]
            for key, entry in found
            if (dest := _dest_key(server, key)) in entry.destinations
        ]
        ordered = orders.weights.get(server_key(server))
        if ordered == 0 and not present:
            continue
        up = False
        if present or past is None or server_key(server) in past.servers:
            wanted = server.weight if ordered is None else ordered
            inhibited = server.inhibit_on_failure and wanted > 0
            up = any(dest.weight > 0 or not inhibited for dest in present)
            live[server_key(server)] = up
        if up and ordered is None and any(check.weighs for check in server.checks):
            weights[server_key(server)] = max(dest.weight for dest in present)
    if past is not None:
        had_quorum = past.had_quorum
    else:
        had_quorum = not _sorry_stands_in(virtual, found) and _enough(virtual, live)
    return Prior(
        live=live,
        weights=weights,
        had_quorum=had_quorum,
        services=len(found),
        destinations=sum(len(entry.destinations) for _, entry in found),
    )


def _sorry_stands_in(virtual: VirtualServerSpec, found: Iterable[tuple[ServiceKey, Entry]]) -> bool:
    sorry = virtual.sorry_server
    # One that rests in the table has weight 0.
    return sorry is not None and any(
        dest.weight > 0
        for key, entry in found
        if (dest := entry.destinations.get(_dest_key(sorry, key))) is not None
    )


def _enough(virtual: VirtualServerSpec, live: Mapping[DestKey, bool]) -> bool:
    quorum = effective_quorum(virtual.quorum, sum(item.weight for item in virtual.real_servers))
    weight = sum(item.weight for item in virtual.real_servers if live.get(server_key(item)))
    return weight >= quorum.quorum - quorum.hysteresis


def entries(
    virtual: VirtualServerSpec,
    serving: Serving[DestKey],
    pool: LocalPool | None,
    gone: AbstractSet[DestKey] = frozenset(),
) -> dict[ServiceKey, Entry]:
    """Return the services of *virtual* with the destinations that *serving* names, less the *gone*.

    They are in the terms of the configuration (FULLNAT, LIPs, SYNPROXY); a dialect's rendering
    turns them into what its kernel understands.
    """
    members = _members(virtual, serving, gone)
    # Without a server, cookies would let clients in to wait; so they get none, and are refused.
    proxied = virtual.syn_proxy is not None and is_served(virtual, serving)
    flags = virtual.flags | (ServiceFlag.SYNPROXY if proxied else ServiceFlag(0))
    if _refuses(virtual, serving, gone):
        flags |= ServiceFlag.SCHED_1
    result = {}
    for key in virtual.keys:
        destinations = (_destination(server, key, weight) for server, weight in members)
        result[key] = Entry(
            Service(
                key=key,
                scheduler=virtual.scheduler,
                flags=flags,
                persistence=virtual.persistence,
                prefix=min(virtual.prefix, key.family.host_prefix),
                engine=virtual.engine,
                established=virtual.established,
            ),
            {item.key: item for item in destinations},
            frozenset(local_addresses(pool, key.family)),
        )
    return result


def _refuses(
    virtual: VirtualServerSpec, serving: Serving[DestKey], gone: AbstractSet[DestKey]
) -> bool:
    """Return whether the kernel would refuse clients for a server that is to take no new ones.

    With ``sh`` alone such a server keeps its part of the hash (``ip_vs_sh_reassign``): who falls
    into it is refused, unless ``sh-fallback`` looks for another server.
    """
    return virtual.scheduler == "sh" and any(
        share.live and not share.weight and server.weight and share.key not in gone
        for server, share in zip(virtual.real_servers, serving.servers, strict=True)
    )


def is_served(virtual: VirtualServerSpec, serving: Serving[DestKey]) -> bool:
    """Return whether any server, the sorry server included, takes new connections."""
    return any(weight > 0 for _, weight in _members(virtual, serving))


def local_addresses(pool: LocalPool | None, family: Family) -> tuple[Address, ...]:
    """Return the LIPs of *pool* that serve *family*."""
    return () if pool is None else pool.addresses(family)


def local_pools(spec: DirectorSpec) -> LocalPools:
    """Return the local-address groups by name."""
    return {
        pool.name: LocalPool.of(pool.name, (item.address for item in pool.addresses))
        for pool in spec.pools
    }


def uses_fullnat(virtual: VirtualServerSpec) -> bool:
    """Return whether any real server of *virtual*, the sorry server included, is by FULLNAT."""
    return any(server.forward is Forward.FULLNAT for server in virtual.servers)


def changes_service(effects: Iterable[PoolEffect[DestKey]]) -> bool:
    """Return whether *effects* change who serves; a failure that does not decide does not."""
    return any(
        isinstance(effect, ServerUp | ServerDown | WeightChanged | QuorumGained | QuorumLost)
        for effect in effects
    )


def _members(
    virtual: VirtualServerSpec, serving: Serving[DestKey], gone: AbstractSet[DestKey] = frozenset()
) -> list[tuple[RealServerSpec, int]]:
    members = [
        (server, share.weight)
        for server, share in zip(virtual.real_servers, serving.servers, strict=True)
        if (share.live or server.inhibit_on_failure) and share.key not in gone
    ]
    sorry = virtual.sorry_server
    if sorry is not None and (serving.sorry or sorry.inhibit_on_failure):
        # A sorry server that is a real server too replaces it for as long as it stands in.
        members = [item for item in members if server_key(item[0]) != server_key(sorry)]
        members.append((sorry, sorry.weight if serving.sorry else 0))
    return members


def _dest_key(server: RealServerSpec, key: ServiceKey) -> DestKey:
    return DestKey(server.address, server.port or key.port)


def _destination(server: RealServerSpec, key: ServiceKey, weight: int) -> Destination:
    return Destination(
        key=_dest_key(server, key),
        forward=server.forward,
        weight=weight,
        upper=server.upper,
        lower=server.lower,
        tunnel_type=server.tunnel.kind,
        tunnel_port=server.tunnel.port,
        tunnel_flags=server.tunnel.flags,
    )
