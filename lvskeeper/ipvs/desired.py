"""A desired entry as a dialect can hold it."""

from dataclasses import replace

from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.types import Entry, Forward, Protocol, Service, ServiceFlag


def render_entry(entry: Entry, traits: Traits) -> Entry:
    """Return *entry* as it is to stand in a kernel of these *traits*.

    The FULLNAT fork takes it as it is. Mainline gets NAT destinations and no local addresses (our
    nftables table translates the source), and no SYNPROXY flag. The established timeout stays on
    fork v3 only; there a service that asks for none gets the kernel's default, as the kernel
    would do, and UDP has none.
    """
    service = _render_service(entry.service, traits)
    if traits.native_fullnat:
        return entry if service == entry.service else replace(entry, service=service)
    destinations = {
        key: destination._replace(forward=Forward.NAT)
        if destination.forward is Forward.FULLNAT
        else destination
        for key, destination in entry.destinations.items()
    }
    return Entry(service, destinations, frozenset())


def _render_service(service: Service, traits: Traits) -> Service:
    flags, established = service.flags, None
    if not traits.native_synproxy:
        flags &= ~ServiceFlag.SYNPROXY
    if traits.established_timeout and service.key.protocol is Protocol.TCP:
        established = service.established or traits.established_default
    if flags == service.flags and established == service.established:
        return service
    return replace(service, flags=flags, established=established)
