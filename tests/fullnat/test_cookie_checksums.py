"""Whose checksums the kernel's ``synproxy`` takes: those that somebody has verified, or IPv4's.

It checks all others by the rules of IPv4, and no segment of IPv6 passes that. Here a network card
that verifies is played by a sender that leaves the checksum to its own card: over a veth pair none
is ever made, and the kernel trusts it (``CHECKSUM_PARTIAL``).
"""

import json
import socket
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
from support.fullnat_net import CLIENT, DIRECTOR, LIPS4, LIPS6, VIP4, VIP6, VPORT, Network, run

from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, Source, render
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.lab.flood import Kind, forged_sources, frame, packets
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

COUNT: Final = 50
SOL_PACKET, PACKET_VNET_HDR = 263, 15


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    keys = [
        ServiceKey(family, Protocol.TCP, parse_address(vip), VPORT)
        for family, vip in ((Family.INET, VIP4), (Family.INET6, VIP6))
    ]
    pool = Pool.of("lips", map(parse_address, (*LIPS4, *LIPS6)))
    cookies = Cookies(dict.fromkeys(keys, SynProxy(1440)))
    text = render(Ruleset((pool,), dict.fromkeys(keys, Source("lips")), cookies))
    with Network() as network:
        with network.inside(DIRECTOR):
            run("nft -f -", data=text)
        yield network


def answered(network: Network) -> int:
    """Return how many SYNs were answered with cookies, on all CPUs."""
    with network.inside(DIRECTOR):
        lines = Path("/proc/thread-self/net/stat/synproxy").read_text().splitlines()
    place = lines[0].split().index("syn_received")
    return sum(int(line.split()[place], 16) for line in lines[1:])


def syns(vip: str) -> Iterable[bytes]:
    """Return forged SYNs, with good checksums."""
    return islice(packets(Kind.SYN, vip, VPORT, forged_sources(6 if ":" in vip else 4)), COUNT)


def send(network: Network, vip: str) -> None:
    """Send SYNs whose checksums the receiver has to verify."""
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with network.inside(CLIENT):
        endpoint = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with endpoint:
        for packet in syns(vip):
            endpoint.sendto(packet, (vip, 0))


def send_unfinished(network: Network, vip: str) -> None:
    """Send SYNs of IPv6 whose checksums are left to the network card."""
    ends = mac(network, DIRECTOR, "front") + mac(network, CLIENT, "eth0")
    with network.inside(CLIENT):
        endpoint = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        endpoint.bind(("eth0", 0))
    with endpoint:
        endpoint.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for packet in syns(vip):
            endpoint.send(frame(ends, packet))


def mac(network: Network, who: str, device: str) -> bytes:
    """Return the address of a device."""
    (link,) = json.loads(run(f"ip -n {network.name(who)} -j link show {device}"))
    return bytes.fromhex(link["address"].replace(":", ""))


def test_a_syn_of_ipv4_is_answered_whoever_verifies_it(network: Network) -> None:
    before = answered(network)
    send(network, VIP4)
    assert answered(network) - before == COUNT


def test_a_syn_of_ipv6_is_answered_only_if_nobody_has_to_verify_it(network: Network) -> None:
    before = answered(network)
    send(network, VIP6)
    assert answered(network) == before, "this kernel is mended; the reference says otherwise"
    send_unfinished(network, VIP6)
    assert answered(network) - before == COUNT
