"""What the local-address groups of a configuration can carry; plain functions of values."""

from collections.abc import Iterator
from typing import Final, TypeAlias

from lvskeeper.daemon.desired import local_addresses, local_pools, uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.fullnat.capacity import Place, Room
from lvskeeper.fullnat.pools import FIRST_PORT, LAST_PORT
from lvskeeper.ipvs.types import DestKey, Family, Forward, ServiceKey

Places: TypeAlias = dict[ServiceKey, dict[DestKey, tuple[Place, int]]]
"""By service and destination: where its connections use up ports, and of how many LIPs."""


NATIVE_FIRST: Final = 5000
NATIVE_LAST: Final = 65535
"""Default range of FULLNAT kernels (``fullnat_lport_min`` and ``_max``)."""


def places_of(spec: DirectorSpec, *, native: bool = False) -> Places:
    """Return the places of all destinations that are reached by FULLNAT.

    *native* is of FULLNAT kernels, which have one range of ports for all. Destinations of port 0
    are left out: their connections spread over ports that nobody knows.
    """
    settings = dict(spec.sysctls)
    whole = (
        settings.get("fullnat_lport_min", NATIVE_FIRST),
        settings.get("fullnat_lport_max", NATIVE_LAST),
    )
    groups = local_pools(spec)
    places: Places = {}
    for virtual in spec.virtual_servers:
        if not uses_fullnat(virtual):
            continue
        first, last = whole if native else virtual.ports or (FIRST_PORT, LAST_PORT)
        for key in virtual.keys:
            lips = len(local_addresses(groups.get(virtual.pool), key.family))
            found = {
                server: (Place(virtual.pool, first, last, key.protocol, server), lips)
                for server in _servers(virtual, key)
            }
            if lips and found:
                places[key] = found
    return places


def rooms_of(spec: DirectorSpec, *, native: bool = False) -> list[Room]:
    """Return what the pools in use can carry: a room a pool, family and range of ports.

    *native* is as in :func:`places_of`.
    """
    rooms: dict[tuple[str, Family, int, int], tuple[int, set[Place]]] = {}
    for key, places in places_of(spec, native=native).items():
        for place, lips in places.values():
            name = place.pool, key.family, place.first, place.last
            rooms.setdefault(name, (lips, set()))[1].add(place)
    return [Room(*name, lips, len(places)) for name, (lips, places) in sorted(rooms.items())]


def _servers(virtual: VirtualServerSpec, key: ServiceKey) -> Iterator[DestKey]:
    for server in virtual.servers:
        port = server.port or key.port
        if server.forward in {Forward.FULLNAT, Forward.NAT} and port:
            yield DestKey(server.address, port)
