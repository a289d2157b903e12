"""What a router that starts now, or one that runs and reloads, would change in this kernel.

Who is master is up to the peers; so it is told what an instance takes part with, and which of the
addresses that are here are to go.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from lvskeeper.daemon.compare_router import held_text
from lvskeeper.daemon.holder import Holdings, noted_holdings
from lvskeeper.daemon.plan_change import Change, Effect
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.daemon.run_dir import is_taken
from lvskeeper.daemon.vip_guard import devices_of
from lvskeeper.kernel.links import PlacedAddress, present_addresses
from lvskeeper.kernel.rtnetlink import RouteClient, index_of
from lvskeeper.kernel.rtnetlink_codec import comparable
from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule


def plan_router(spec: RouterSpec | None, run_dir: Path) -> list[Change]:
    """Return what a router with *spec* would do to this kernel; ``None`` is no router."""
    noted = noted_holdings(run_dir)
    if spec is None and noted is None:
        return []
    present = frozenset(asyncio.run(present_addresses()))
    with RouteClient() as client:
        routes = _routes_here(client, spec or RouterSpec(), noted or Holdings())
        rules = frozenset(map(comparable, client.rules()))
    running = is_taken(run_dir)
    wanted = spec or RouterSpec()
    return [
        *_devices(wanted),
        *_static(wanted, present, routes, rules),
        *_leftovers(wanted, noted or Holdings(), present, running=running),
        *_other_leftovers(wanted, noted or Holdings(), routes, rules, running=running),
        *(change for one in wanted.instances for change in _instance(one, noted, present, running)),
    ]


def _place(held: HeldAddress) -> PlacedAddress:
    return held.address, held.device


def _devices(spec: RouterSpec) -> Iterator[Change]:
    for name in devices_of(spec):
        if not index_of(name):
            yield Change(f"add device {name}", Effect.NOTHING, "addresses")


def _routes_here(client: RouteClient, spec: RouterSpec, noted: Holdings) -> frozenset[Route]:
    """Return those of our routes that the kernel has."""
    ours = {*spec.static_routes, *noted.routes}
    ours |= {route for one in spec.instances for route in one.routes}
    places = {(route.table, route.protocol) for route in ours}
    found = [route for place in places for route in client.routes(*place)]
    return frozenset(
        route
        for route in ours
        if any(one.is_like(route, index_of(route.device) if route.device else 0) for one in found)
    )


def _static(
    spec: RouterSpec,
    present: frozenset[PlacedAddress],
    routes: frozenset[Route],
    rules: frozenset[Rule],
) -> Iterator[Change]:
    for held in spec.static_addresses:
        if _place(held) not in present:
            yield Change(f"add static address {held}", Effect.IN_PLACE, "addresses")
    for route in spec.static_routes:
        if route not in routes:
            yield Change(f"add static route {route}", Effect.IN_PLACE, "addresses")
    for rule in spec.static_policies:
        if comparable(rule) not in rules:
            yield Change(f"add static rule {rule}", Effect.IN_PLACE, "addresses")


def _leftovers(
    spec: RouterSpec, noted: Holdings, present: frozenset[PlacedAddress], *, running: bool
) -> Iterator[Change]:
    """Yield what goes of the addresses that a router has put here."""
    stay = {_place(held) for held in spec.static_addresses}
    later = {_place(held) for one in spec.instances for held in one.addresses}
    for held in noted.addresses:
        place = _place(held)
        if place not in present or place in stay or (running and place in later):
            continue
        more = ", until its instance is master" if place in later else ""
        yield Change(f"delete address {held}{more}", Effect.INTERRUPTS, "addresses")


def _other_leftovers(
    spec: RouterSpec,
    noted: Holdings,
    routes: frozenset[Route],
    rules: frozenset[Rule],
    *,
    running: bool,
) -> Iterator[Change]:
    """Yield what goes of the routes and rules."""
    later = spec.instances if running else ()
    kept_routes = {*spec.static_routes, *(route for one in later for route in one.routes)}
    kept_rules = {*spec.static_policies, *(rule for one in later for rule in one.policies)}
    for route in noted.routes:
        if route in routes and route not in kept_routes:
            yield Change(f"delete route {route}", Effect.CONNECTIONS, "addresses")
    for rule in noted.rules:
        if comparable(rule) in rules and rule not in kept_rules:
            yield Change(f"delete rule {rule}", Effect.CONNECTIONS, "addresses")


def _instance(
    config: InstanceConfig,
    noted: Holdings | None,
    present: frozenset[PlacedAddress],
    running: bool,
) -> Iterator[Change]:
    places = [_place(held) for held in config.addresses]
    known = {_place(held) for held in noted.addresses} if noted else set()
    name = f"vrrp_instance {config.spec.name}"
    if not running or not known.intersection(places):
        text = f"{name} joins: {held_text(config)}"
        yield Change(text, Effect.IN_PLACE, "vrrp", waiting=True)
    elif present.intersection(places):
        # It is master here: what is new comes at once.
        for held in config.addresses:
            if _place(held) not in present:
                yield Change(
                    f"add address of {config.spec.name} {held}", Effect.IN_PLACE, "addresses"
                )
