"""Hypothesis strategies for IPVS tables, out of a small world so that tables overlap."""

from dataclasses import replace

from hypothesis import strategies as st

from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.types import (
    NO_FLAGS,
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
    ServiceKey,
    TunnelType,
)
from lvskeeper.units import Address, parse_address

KEYS = (
    ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.1"), 80),
    ServiceKey(Family.INET, Protocol.TCP, parse_address("192.0.2.1"), 443),
    ServiceKey(Family.INET, Protocol.UDP, parse_address("192.0.2.1"), 80),
    ServiceKey(Family.INET6, Protocol.TCP, parse_address("2001:db8::1"), 80),
    ServiceKey(Family.INET, Protocol.TCP, fwmark=7),
    ServiceKey(Family.INET6, Protocol.TCP, fwmark=7),
)
SCHEDULERS = ("rr", "wrr", "lc", "wlc")
SERVERS = {
    Family.INET: tuple(
        Address(parse_address("198.51.100.0")[:3] + bytes([n])) for n in range(1, 5)
    ),
    Family.INET6: tuple(parse_address(f"2001:db8:1::{n}") for n in range(1, 5)),
}
LOCALS = {
    Family.INET: tuple(parse_address(f"203.0.113.{n}") for n in range(1, 5)),
    Family.INET6: tuple(parse_address(f"2001:db8:2::{n}") for n in range(1, 5)),
}


@st.composite
def services(draw: st.DrawFn, key: ServiceKey, traits: Traits) -> Service:
    """A service of *key* that a kernel of *traits* takes."""
    service = Service(key, draw(st.sampled_from(SCHEDULERS)), prefix=key.family.host_prefix)
    flags = NO_FLAGS
    if draw(st.booleans()):
        flags |= ServiceFlag.PERSISTENT
        bits = st.sampled_from((8, 24, key.family.host_prefix))
        service = replace(service, persistence=draw(st.integers(1, 3)) * 60, prefix=draw(bits))
    if key.protocol is Protocol.UDP and draw(st.booleans()):
        flags |= ServiceFlag.ONE_PACKET
    if key.protocol is Protocol.TCP and not key.fwmark and draw(st.booleans()):
        flags |= ServiceFlag.SYNPROXY
    established = draw(st.sampled_from((None, 60, 600)))
    service = replace(service, flags=flags, established=established)
    return render_entry(Entry(service), traits).service


@st.composite
def destinations(draw: st.DrawFn, address: Address, traits: Traits) -> Destination:
    """A destination at *address* that a kernel of *traits* takes."""
    forward = draw(st.sampled_from((Forward.NAT, Forward.DR, Forward.TUN, Forward.FULLNAT)))
    if forward is Forward.FULLNAT and not traits.native_fullnat:
        forward = Forward.NAT
    lower, upper = sorted((draw(st.integers(0, 2)), draw(st.integers(0, 2))))
    found = Destination(
        DestKey(address, draw(st.sampled_from((80, 8080)))),
        forward,
        draw(st.integers(0, 3)),
        upper,
        lower,
    )
    if forward is Forward.TUN and traits.tunnels:
        kind = draw(st.sampled_from(TunnelType))
        found = found._replace(
            tunnel_type=kind,
            tunnel_port=draw(st.integers(6080, 6082)) if kind is TunnelType.GUE else 0,
            tunnel_flags=draw(st.integers(0, 2)) if kind is not TunnelType.IPIP else 0,
        )
    return found


@st.composite
def entries(draw: st.DrawFn, key: ServiceKey, traits: Traits) -> Entry:
    """A service with destinations, and local addresses where the dialect has them."""
    service = draw(services(key, traits))
    held: dict[DestKey, Destination] = {}
    for address in draw(st.lists(st.sampled_from(SERVERS[key.family]), max_size=5)):
        destination = draw(destinations(address, traits))
        held[destination.key] = destination
    pool: frozenset[Address] = frozenset()
    if traits.native_fullnat:
        pool = draw(st.frozensets(st.sampled_from(LOCALS[key.family])))
    return Entry(service, held, pool)


@st.composite
def tables(draw: st.DrawFn, traits: Traits) -> dict[ServiceKey, Entry]:
    """A table of up to four services."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=4))
    return {key: draw(entries(key, traits)) for key in keys}
