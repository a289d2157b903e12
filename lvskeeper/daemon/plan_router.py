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
from lvskeeper.kernel.rtnetlink import index_of
from lvskeeper.vrrp.holdings import HeldAddress


def plan_router(spec: RouterSpec | None, run_dir: Path) -> list[Change]:
    """Return what a router with *spec* would do to this kernel; ``None`` is no router."""
    noted = noted_holdings(run_dir)
    if spec is None and noted is None:
        return []
    present = frozenset(asyncio.run(present_addresses()))
    running = is_taken(run_dir)
    wanted = spec or RouterSpec()
    return [
        *_devices(wanted),
        *_static(wanted, present),
        *_leftovers(wanted, noted or Holdings(), present, running=running),
        *(change for one in wanted.instances for change in _instance(one, noted, present, running)),
    ]


def _place(held: HeldAddress) -> PlacedAddress:
    return held.address, held.device


def _devices(spec: RouterSpec) -> Iterator[Change]:
    for name in devices_of(spec):
        if not index_of(name):
            yield Change(f"add device {name}", Effect.NOTHING, "addresses")


def _static(spec: RouterSpec, present: frozenset[PlacedAddress]) -> Iterator[Change]:
    for held in spec.static_addresses:
        if _place(held) not in present:
            yield Change(f"add static address {held}", Effect.IN_PLACE, "addresses")


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
