"""A table of any size, for benchmarks."""

from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceKey,
)
from lvskeeper.units import Address


def big_table(services: int, destinations: int) -> dict[ServiceKey, Entry]:
    """Return TCP services 10.1.x.y:80, each with NAT real servers of its own 10.x.y.z:8080."""
    table = {}
    for number in range(services):
        address = Address((0x0A010000 + number + 1).to_bytes(4, "big"))
        key = ServiceKey(Family.INET, Protocol.TCP, address, 80)
        held = {}
        for index in range(destinations):
            server = Address((0x0A400000 + number * destinations + index + 1).to_bytes(4, "big"))
            dest_key = DestKey(server, 8080)
            held[dest_key] = Destination(dest_key, Forward.NAT, index % 9 + 1)
        table[key] = Entry(Service(key, "wlc"), held)
    return table


def restore_lines(services: int, destinations: int) -> str:
    """Return :func:`big_table` in the form that ``ipvsadm -R`` reads."""
    lines = []
    for key, entry in big_table(services, destinations).items():
        service = str(key).removeprefix("tcp ")
        lines.append(f"-A -t {service} -s {entry.service.scheduler}\n")
        lines += (
            f"-a -t {service} -r {destination.key} -m -w {destination.weight}\n"
            for destination in entry.destinations.values()
        )
    return "".join(lines)
