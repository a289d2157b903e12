"""Tells of FULLNAT services on native kernels that have no LIP where they need one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lvskeeper.daemon.desired import local_addresses, local_pools, uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.ipvs.dialect import Dialect
from lvskeeper.ipvs.placement import uncovered
from lvskeeper.kernel.sysctls import ROOT, read_number
from lvskeeper.observe.fullnat_events import LocalAddressGap

RESERVED: Final = "net/ipv4/vs/reserve_core"
"""Low CPUs that carry no data; the third generation only."""


def online_cpus() -> int:
    """Return how many CPUs are online."""
    return os.sysconf("SC_NPROCESSORS_ONLN")


def gaps(
    spec: DirectorSpec, dialect: Dialect, online: int, root: Path = ROOT
) -> list[LocalAddressGap]:
    """Return what is to be told of the services of *spec*; nothing on a stock kernel.

    The second generation shares the LIPs of a service among its CPUs, the third does not.
    """
    if dialect is Dialect.MAINLINE:
        return []
    reserved = read_number(RESERVED, root) or 0 if dialect is Dialect.FORK_V3 else 0
    return list(_gaps(spec, dialect, online, reserved))


def _gaps(
    spec: DirectorSpec, dialect: Dialect, online: int, reserved: int
) -> Iterator[LocalAddressGap]:
    groups = local_pools(spec)
    for virtual in spec.virtual_servers:
        if not uses_fullnat(virtual):
            continue
        for key in virtual.keys:
            addresses = local_addresses(groups.get(virtual.pool), key.family)
            if not addresses:
                yield LocalAddressGap(str(key), "the whole service")
            elif dialect is Dialect.FORK_V3 and (missing := uncovered(addresses, online, reserved)):
                word = "CPU" if len(missing) == 1 else "CPUs"
                yield LocalAddressGap(str(key), f"{word} {', '.join(map(str, missing))}")
