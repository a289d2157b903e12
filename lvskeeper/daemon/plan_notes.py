"""What an operator should know of the pools of a configuration, beside what it would change."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lvskeeper.daemon.capacity import wanted_entries
from lvskeeper.daemon.native_options import passed_over
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.rooms import rooms_of
from lvskeeper.kernel.links import present_addresses
from lvskeeper.kernel.sysctls import ROOT, read_number
from lvskeeper.units import Address, format_address

LIMIT: Final = "net/netfilter/nf_conntrack_max"


def notes(spec: DirectorSpec, *, native: bool, root: Path = ROOT) -> list[str]:
    """Return notes on what pools can carry, on options without effect, and on LIPs elsewhere.

    *native* is of kernels with FULLNAT of their own, which need no connection tracking.
    """
    rooms = rooms_of(spec, native=native)
    found = [str(room) for room in rooms]
    total = sum(room.total for room in rooms)
    limit = None if native else read_number(LIMIT, root)
    if limit is not None and limit < total:
        wanted = wanted_entries(spec)
        advice = f"; {wanted} fits into the memory of this machine" if wanted > limit else ""
        found.append(
            f"{LIMIT.replace('/', '.')} is {limit}, below the {total} connections that the pools "
            f"can carry{advice}"
        )
    if native:
        found += [
            f"{told.option} of {told.virtual_servers} is passed over by this kernel; "
            f"ipvs_sysctls has {told.settings} in its place"
            for told in passed_over(spec)
        ]
    return found + list(_elsewhere(spec))


def _elsewhere(spec: DirectorSpec) -> Iterator[str]:
    """Yield a note a pool whose LIPs are to be there or routed, and are not there."""
    if not any(not item.device for pool in spec.pools for item in pool.addresses):
        return
    here: set[Address] = {address for address, _ in asyncio.run(present_addresses())}
    for pool in spec.pools:
        away = [
            item.address for item in pool.addresses if not item.device and item.address not in here
        ]
        if away:
            more = f" and {len(away) - 1} more" if len(away) > 1 else ""
            yield (
                f"pool {pool.name}: {format_address(away[0])}{more} on no device of this machine: "
                "the real servers need a route to them by way of this director"
            )
