"""What a reload would change in a director: two configurations compared, without a kernel.

It goes by what the director does: a virtual server is known by its name and keeps the health of its
servers, the IPVS table and the ruleset are edited from the one to the other. Every real server that
is in both is taken to be up.
"""

from collections.abc import Iterator
from typing import Final

from lvskeeper.daemon.desired import (
    Prior,
    entries,
    is_served,
    local_pools,
    make_pool,
    prior_of,
    server_key,
)
from lvskeeper.daemon.plan_change import (
    Change,
    Effect,
    Meaning,
    effect_of,
    field_changes,
    other_changes,
)
from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    RealServerSpec,
    TcpDefence,
    VirtualServerSpec,
)
from lvskeeper.daemon.ruleset import differences_from, ruleset_of, summary
from lvskeeper.fullnat.ruleset import expected_content
from lvskeeper.health.pool import Pool
from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.types import DestKey, Entry, ServiceKey
from lvskeeper.units import Address, format_address

_SETTINGS: Final[dict[str, Meaning]] = {
    "router_id": ("router_id", Effect.NOTHING),
    "manage_sysctls": ("lvs_manage_sysctls", Effect.IN_PLACE),
    "syn_flood_rate": ("syn_flood_rate", Effect.NOTHING),
    "keep_on_stop": ("lvs_keep_on_stop", Effect.NOTHING),
    "fifos": ("the pipes of the director", Effect.NOTHING),
    "mail": ("mail of the director", Effect.NOTHING),
    "init_notifies": ("rs_init_notifies", Effect.NOTHING),
    "script_security": ("enable_script_security", Effect.NOTHING),
}
_SHOWN_ELSEWHERE: Final = frozenset({"virtual_servers", "pools", "sysctls", "sync", "state_sync"})
_VIRTUAL: Final[dict[str, Meaning]] = {
    "quorum": ("quorum, hysteresis", Effect.NOTHING),
    "alpha": ("alpha", Effect.NOTHING),
    "omega": ("omega", Effect.NOTHING),
    "ports": ("laddr_ports", Effect.IN_PLACE),
    "pool": ("laddr_group_name", Effect.IN_PLACE),
    "syn_proxy": ("syn_proxy and its options", Effect.IN_PLACE),
    "sorry_server": ("sorry_server", Effect.NOTHING),
    "quorum_up": ("quorum_up", Effect.NOTHING),
    "quorum_down": ("quorum_down", Effect.NOTHING),
    "label": ("name in pipes and mails", Effect.NOTHING),
    "mail": ("smtp_alert", Effect.NOTHING),
    "suspends": ("ha_suspend", Effect.NOTHING),
    "vip_device": ("vip_bind_dev", Effect.INTERRUPTS),
}
_IN_TABLE: Final = frozenset(
    {
        "name", "keys", "scheduler", "real_servers", "flags", "persistence", "prefix", "engine",
        "established", "defence",
    }
)  # fmt: skip
"""Fields of a virtual server whose changes the table shows, or that are looked at one by one."""
_SERVER: Final[dict[str, Meaning]] = {
    "checks": ("checks", Effect.NOTHING),
    "alpha": ("alpha", Effect.NOTHING),
    "inhibit_on_failure": ("inhibit_on_failure", Effect.NOTHING),
    "notify_up": ("notify_up", Effect.NOTHING),
    "notify_down": ("notify_down", Effect.NOTHING),
}
_SERVER_IN_TABLE: Final = frozenset(
    {"address", "port", "forward", "weight", "upper", "lower", "tunnel"}
)


def compare_director(old: DirectorSpec, new: DirectorSpec) -> list[Change]:
    """Return what a director that runs by *old* would change for *new*."""
    if old == new:
        return []
    return [
        *_sysctls(old, new),
        *_local_addresses(old, new),
        *_ruleset(old, new),
        *_services(old, new),
        *_virtuals(old, new),
        *_syncs(old, new),
        *field_changes(old, new, _SETTINGS, "", "settings"),
        *other_changes(old, new, _SETTINGS.keys() | _SHOWN_ELSEWHERE, "the director: "),
    ]


def _sysctls(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    before, after = dict(old.sysctls), dict(new.sysctls)
    for name, value in after.items():
        if before.get(name) != value:
            was = f"{before[name]} -> " if name in before else ""
            yield Change(f"set net.ipv4.vs.{name} {was}{value}", Effect.IN_PLACE, "settings")
    for name in before.keys() - after.keys():
        text = f"net.ipv4.vs.{name} is no longer looked after, and stays as it is"
        yield Change(text, Effect.NOTHING, "settings")


def _local_addresses(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    before, after = _placed(old), _placed(new)
    named = {item.address for pool in new.pools for item in pool.addresses}
    for address, device in sorted(after - before):
        text = f"add local address {format_address(address)} on {device}"
        yield Change(text, Effect.NOTHING, "addresses")
    for address, device in sorted(before - after):
        if address not in named:
            text = f"delete local address {format_address(address)} on {device} once it is idle"
            yield Change(text, Effect.NOTHING, "addresses")
    left = {(pool.name, pool.addresses) for pool in old.pools}
    for pool in new.pools:
        was = next((one for name, one in left if name == pool.name), None)
        if was is not None and {*was} != {*pool.addresses}:
            yield _pool_change(pool.name, {*was}, {*pool.addresses})


def _placed(spec: DirectorSpec) -> set[tuple[Address, str]]:
    return {
        (item.address, item.device) for pool in spec.pools for item in pool.addresses if item.device
    }


def _pool_change(name: str, old: set[LocalAddressSpec], new: set[LocalAddressSpec]) -> Change:
    before, after = ({item.address for item in items} for items in (old, new))
    parts = [
        f"{sign}{', '.join(map(format_address, sorted(part)))}"
        for sign, part in (("+", after - before), ("-", before - after))
        if part
    ]
    text = f"local_address_group {name}: {' '.join(parts) or 'other devices'}"
    return Change(text, Effect.IN_PLACE, "addresses")


def _ruleset(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    before, after = ruleset_of(old), ruleset_of(new)
    found = expected_content(before)
    if found is None and after.used:
        yield Change(f"add nftables ruleset: {summary(after)}", Effect.IN_PLACE, "rules")
        return
    if found is not None and not after.used:
        yield Change("remove the nftables ruleset", Effect.IN_PLACE, "rules")
        return
    count = len(differences_from(after, found))
    if count:
        # One by one they are names of maps and chains, which tell an operator little.
        known = summary(before).split(", ")
        news = [part for part in summary(after).split(", ") if part not in known]
        more = f" ({', '.join(news)})" if news else ""
        text = f"change nftables ruleset in {count} places{more}"
        yield Change(text, Effect.IN_PLACE, "rules")


def _services(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    """Yield the operations on the IPVS table, and what waits for a good check."""
    table: dict[ServiceKey, Entry] = {}
    pools: dict[str, Pool[DestKey]] = {}
    groups = local_pools(old)
    for virtual in old.virtual_servers:
        pool = pools[virtual.name] = make_pool(virtual, 0.0, _all_up(virtual))
        pool.start()
        wanted = entries(virtual, pool.serving(), groups.get(virtual.pool))
        table.update({key: render_entry(entry, MAINLINE) for key, entry in wanted.items()})
    desired: dict[ServiceKey, Entry] = {}
    awaited: list[Change] = []
    groups = local_pools(new)
    for virtual in new.virtual_servers:
        before = pools.get(virtual.name)
        pool = make_pool(virtual, 0.0, None if before else prior_of(virtual, table, None))
        # As the daemon does it: what is known by its name goes on.
        _ = pool.carry(before) if before else pool.start()
        awaited += _awaited(virtual, pool)
        wanted = entries(virtual, pool.serving(), groups.get(virtual.pool))
        desired.update({key: render_entry(entry, MAINLINE) for key, entry in wanted.items()})
        if virtual.keys and before and not is_served(virtual, pool.serving()):
            text = f"{virtual.name} has nobody who takes new connections"
            yield Change(text, Effect.INTERRUPTS)
    for operation in diff(desired, table, owned=table.keys()):
        yield Change(str(operation), effect_of(operation))
    yield from awaited


def _all_up(virtual: VirtualServerSpec) -> Prior:
    keys = [server_key(server) for server in virtual.real_servers]
    return Prior(
        live=dict.fromkeys(keys, True),
        weights={},
        had_quorum=True,
        services=len(virtual.keys),
        destinations=len(keys),
    )


def _awaited(virtual: VirtualServerSpec, pool: Pool[DestKey]) -> Iterator[Change]:
    for server in virtual.real_servers:
        key = server_key(server)
        if not pool.up[key] and server.checks:
            text = f"{key} of {virtual.name} comes with its first good check"
            yield Change(text, Effect.IN_PLACE, waiting=True)


def _virtuals(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    """Yield what the table does not show of virtual servers that stay."""
    before = {virtual.name: virtual for virtual in old.virtual_servers}
    by_keys = {virtual.keys: virtual for virtual in old.virtual_servers}
    for virtual in new.virtual_servers:
        was = before.get(virtual.name)
        if was is None and (other := by_keys.get(virtual.keys)) is not None:
            text = f"{other.name} is {virtual.name} from now on; its checks start anew"
            yield Change(text, Effect.NOTHING, "checks")
        if was is None or was == virtual:
            continue
        prefix = f"{virtual.name}: "
        yield from field_changes(was, virtual, _VIRTUAL, prefix, "services")
        yield from _defence(was, virtual)
        yield from _servers(was, virtual)
        yield from other_changes(was, virtual, _VIRTUAL.keys() | _IN_TABLE, prefix)


def _defence(old: VirtualServerSpec, new: VirtualServerSpec) -> Iterator[Change]:
    if old.defence == new.defence:
        return
    tightened = new.defence.tcp is TcpDefence.VIP and old.defence.tcp is not TcpDefence.VIP
    tightened |= new.defence.udp > old.defence.udp or new.defence.fragments > old.defence.fragments
    effect = Effect.CONNECTIONS if tightened else Effect.IN_PLACE
    more = "; what else uses the address is cut" if tightened else ""
    yield Change(f"{new.name}: defences change{more}", effect, "rules")


def _servers(old: VirtualServerSpec, new: VirtualServerSpec) -> Iterator[Change]:
    before: dict[DestKey, RealServerSpec] = {server_key(one): one for one in old.real_servers}
    for server in new.real_servers:
        was = before.get(server_key(server))
        if was is None or was == server:
            continue
        prefix = f"{server_key(server)} of {new.name}: "
        yield from field_changes(was, server, _SERVER, prefix, "checks")
        yield from other_changes(was, server, _SERVER.keys() | _SERVER_IN_TABLE, prefix)


def _syncs(old: DirectorSpec, new: DirectorSpec) -> Iterator[Change]:
    for words, before, after in (
        ("lvs_sync_daemon", old.sync, new.sync),
        ("state_sync", old.state_sync, new.state_sync),
    ):
        if before == after:
            continue
        verb = "starts" if before is None else "ends" if after is None else "starts anew"
        more = "" if before is None else "; a fail-over meanwhile may lose connections"
        yield Change(f"{words} {verb}{more}", Effect.NOTHING, "settings")
