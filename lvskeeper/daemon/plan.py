"""What a daemon that starts now would change in the kernel; nothing is written."""

import asyncio
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lvskeeper.daemon.desired import (
    Prior,
    entries,
    is_served,
    local_pools,
    make_pool,
    prior_of,
    server_key,
)
from lvskeeper.daemon.override_file import OverrideFile
from lvskeeper.daemon.plan_change import Change, Effect, effect_of
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.daemon.ruleset import differences_from, ruleset_of, summary
from lvskeeper.daemon.state import OwnedState, StateFile
from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.content import Content
from lvskeeper.fullnat.ruleset import adopting
from lvskeeper.health.pool import Serving
from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.overrides import Orders
from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.links import PlacedAddress, present_addresses
from lvskeeper.kernel.nft import Nft
from lvskeeper.units import format_address

if TYPE_CHECKING:
    from lvskeeper.ipvs.types import Entry

Health: TypeAlias = Mapping[str, tuple[Serving[DestKey], bool]]
"""By the name of a virtual server, who serves it and whether it has its quorum."""


def is_idle(spec: DirectorSpec, run_dir: Path) -> bool:
    """Whether a director has nothing to do in this kernel: VRRP alone needs no ip_vs."""
    owned = StateFile(run_dir).load()
    return not (
        spec.virtual_servers or spec.pools or owned.services or owned.addresses or owned.vips
    )


def plan(
    spec: DirectorSpec, client: IpvsClient, run_dir: Path, health: Health | None = None
) -> list[Change]:
    """Return what a daemon with *spec* would do to this kernel, in its order.

    Without *health* it is taken from the table as it stands, as a starting daemon takes it.
    """
    owned = StateFile(run_dir).load()
    book = OverrideFile(run_dir).load()

    def orders(virtual: VirtualServerSpec) -> Orders:
        return book.orders_of(virtual.name, map(server_key, virtual.real_servers))

    keys = {key for virtual in spec.virtual_servers for key in virtual.keys}
    keys |= set(owned.services)
    actual = client.table(keys)
    known = dict(health or {})
    awaited: list[Change] = []
    for virtual in spec.virtual_servers if health is None else ():
        ordered = orders(virtual)
        prior = prior_of(virtual, actual, owned.past.get(virtual.name), ordered)
        pool = make_pool(virtual, 0.0, prior, ordered)
        pool.start()
        known[virtual.name] = pool.serving(), pool.has_quorum
        awaited += _awaited(virtual, prior)
    changes = list(_addresses(spec, owned))
    if not client.traits.native_fullnat:
        changes += _ruleset(spec, _served(spec, known))
    groups = local_pools(spec)
    desired: dict[ServiceKey, Entry] = {}
    for virtual in spec.virtual_servers:
        group = groups.get(virtual.pool)
        wanted = entries(virtual, known[virtual.name][0], group, orders(virtual).gone)
        desired.update({key: render_entry(entry, client.traits) for key, entry in wanted.items()})
    for operation in diff(desired, actual, owned=keys):
        changes.append(Change(str(operation), effect_of(operation)))
    return [*changes, *_vips(_bound(spec, known), owned), *awaited]


def _served(spec: DirectorSpec, health: Health) -> set[ServiceKey]:
    return {
        key
        for virtual in spec.virtual_servers
        if is_served(virtual, health[virtual.name][0])
        for key in virtual.keys
    }


def _bound(spec: DirectorSpec, health: Health) -> set[PlacedAddress]:
    return {
        (address, virtual.vip_device)
        for virtual in spec.virtual_servers
        if virtual.vip_device and health[virtual.name][1]
        for address in virtual.addresses
    }


def _awaited(virtual: VirtualServerSpec, prior: Prior | None) -> Iterator[Change]:
    if prior is None:
        return
    for server in virtual.real_servers:
        key = server_key(server)
        if not prior.live.get(key, True) and server.checks:
            text = f"{key} of {virtual.name} is down and comes back with its first good check"
            yield Change(text, Effect.IN_PLACE, waiting=True)


def _ruleset(spec: DirectorSpec, served: AbstractSet[ServiceKey]) -> list[Change]:
    wanted = ruleset_of(spec)
    try:
        found = asyncio.run(_read_ruleset())
    except OperatorError:
        if wanted.used:
            raise
        return []
    serverless = frozenset(wanted.cookies.proxied.keys() - served)
    cookies = replace(wanted.cookies, serverless=serverless)
    # As the daemon does it: hooks of SYN cookies that are there stay.
    wanted = adopting(replace(wanted, cookies=cookies), found)
    impact = Effect.IN_PLACE
    if found is None and wanted.used:
        return [Change(f"add nftables ruleset: {summary(wanted)}", impact, "rules")]
    texts = differences_from(wanted, found)
    return [Change(f"change nftables ruleset: {text}", impact, "rules") for text in texts]


def _vips(wanted: set[PlacedAddress], owned: OwnedState) -> Iterator[Change]:
    ours = {(item.address, item.device) for item in owned.vips}
    if not wanted and not ours:
        return
    present = asyncio.run(present_addresses())
    for address, device in sorted(wanted - present.keys()):
        text = f"add virtual address {format_address(address)} on {device}"
        yield Change(text, Effect.IN_PLACE, "addresses")
    for address, device in sorted(ours & present.keys() - wanted):
        text = f"delete virtual address {format_address(address)} on {device}"
        yield Change(text, Effect.INTERRUPTS, "addresses")


async def _read_ruleset() -> Content | None:
    nft = Nft()
    try:
        return await nft.read()
    finally:
        nft.close()


def _addresses(spec: DirectorSpec, owned: OwnedState) -> Iterator[Change]:
    wanted = {
        (item.address, item.device) for pool in spec.pools for item in pool.addresses if item.device
    }
    ours: set[PlacedAddress] = {(item.address, item.device) for item in owned.addresses}
    if not wanted and not ours:
        return
    present = asyncio.run(present_addresses())
    for address, device in sorted(wanted - present.keys()):
        yield Change(
            f"add local address {format_address(address)} on {device}", Effect.NOTHING, "addresses"
        )
    # One that a pool names without its device is left to whoever put it into the configuration so.
    kept = {item.address for pool in spec.pools for item in pool.addresses if not item.device}
    for address, device in sorted(ours & present.keys() - wanted):
        if address in kept:
            continue
        text = f"delete local address {format_address(address)} on {device} once it is idle"
        yield Change(text, Effect.NOTHING, "addresses")
