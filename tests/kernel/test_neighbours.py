"""Announcements on a real link: the neighbour's table follows at once."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.vrrp_net import DEVICE, HERE4, HERE6, inside, two_hosts

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.neighbours import Announcer, Unsent
from lvskeeper.kernel.vrrp_socket import InterfaceGoneError, find_interface
from lvskeeper.lab.netns import Namespace, set_sysctls
from lvskeeper.units import Address, format_address, parse_address
from lvskeeper.vrrp.announcement_frames import gratuitous_arp, unsolicited_advertisement

pytestmark = pytest.mark.root

VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
OLD_MAC = "02:00:00:00:00:99"


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def announcer(hosts: tuple[Namespace, Namespace]) -> Iterator[Announcer]:
    with inside(hosts[0]) as interface, Announcer(interface) as made:
        yield made


@pytest.fixture
def wire(hosts: tuple[Namespace, Namespace], announcer: Announcer) -> Iterator[socket.socket]:
    """What arrives at the other end."""
    assert announcer.interface.name == DEVICE
    with inside(hosts[1]), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind((DEVICE, 3))
        made.settimeout(2)
        yield made


def mac_of(host: Namespace) -> str:
    link: list[dict[str, str]] = json.loads(host.run(["ip", "-j", "link", "show", DEVICE]).stdout)
    return link[0]["address"]


def neighbour(host: Namespace, address: Address) -> dict[str, Any]:
    """Return the entry of *address* in the neighbour table of *host*."""
    command = ["ip", "-j", "neigh", "show", format_address(address), "dev", DEVICE]
    (entry,) = json.loads(host.run(command).stdout)
    assert isinstance(entry, dict)
    return entry


def frames(wire: socket.socket, count: int) -> list[bytes]:
    """Return the next announcements; other frames of IPv6 come in between."""
    found: list[bytes] = []
    while len(found) < count:
        frame = wire.recv(2000)
        if frame[12:14] == b"\x08\x06" or frame[54] == 136:
            found.append(frame)
    return found


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_the_table_of_a_neighbour_changes_at_once(
    hosts: tuple[Namespace, Namespace], announcer: Announcer, vip: Address
) -> None:
    here, there = hosts
    there.ip(f"neigh replace {format_address(vip)} lladdr {OLD_MAC} dev {DEVICE} nud reachable")
    assert neighbour(there, vip)["lladdr"] == OLD_MAC
    assert announcer.announce([vip]) == ()
    assert neighbour(there, vip)["lladdr"] == mac_of(here)


@pytest.mark.parametrize("forwarding", [False, True])
def test_the_router_flag_follows_forwarding(
    hosts: tuple[Namespace, Namespace], announcer: Announcer, wire: socket.socket, forwarding: bool
) -> None:
    here, there = hosts
    there.ip(f"neigh replace {format_address(VIP6)} lladdr {OLD_MAC} dev {DEVICE} nud stale")
    set_sysctls(here.name, {f"ipv6/conf/{DEVICE}/forwarding": str(int(forwarding))})
    assert announcer.announce([VIP6]) == ()
    (frame,) = frames(wire, 1)
    mac = bytes.fromhex(mac_of(here).replace(":", ""))
    assert frame == unsolicited_advertisement(VIP6, mac, router=forwarding)
    assert ("router" in neighbour(there, VIP6)) is forwarding


def test_many_go_out_in_their_order(
    hosts: tuple[Namespace, Namespace], announcer: Announcer, wire: socket.socket
) -> None:
    mac = bytes.fromhex(mac_of(hosts[0]).replace(":", ""))
    vips = [parse_address(f"192.0.2.{number}") for number in range(1, 101)]
    vips += [parse_address(f"2001:db8::{number}") for number in range(1, 101)]
    assert announcer.announce(vips) == ()
    expected = [gratuitous_arp(vip, mac) for vip in vips[:100]]
    expected += [unsolicited_advertisement(vip, mac, router=False) for vip in vips[100:]]
    assert frames(wire, 200) == expected


def test_it_speaks_with_the_mac_of_the_moment(
    hosts: tuple[Namespace, Namespace], announcer: Announcer, wire: socket.socket
) -> None:
    hosts[0].ip(f"link set {DEVICE} address 02:00:00:00:00:07")
    assert announcer.announce([HERE4]) == ()
    assert frames(wire, 1) == [gratuitous_arp(HERE4, bytes.fromhex("020000000007"))]


def test_a_full_queue_is_told_and_does_not_block(
    hosts: tuple[Namespace, Namespace], announcer: Announcer
) -> None:
    hosts[0].run(["tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", "rate", "8kbit",
                  "burst", "1600", "limit", "10000000"])  # fmt: skip
    vips = [parse_address(f"192.0.{number >> 8}.{number & 255}") for number in range(1000)]
    unsent = announcer.announce(vips)
    assert 0 < len(unsent) < 1000
    assert unsent == tuple(
        Unsent(vip, "Resource temporarily unavailable") for vip in vips[-len(unsent) :]
    )
    assert str(unsent[-1]) == "192.0.3.231 not announced: Resource temporarily unavailable"


def test_an_interface_that_is_down_is_told_and_recovers(
    hosts: tuple[Namespace, Namespace], announcer: Announcer, wire: socket.socket
) -> None:
    hosts[0].ip(f"link set {DEVICE} down")
    down = "Network is down"
    assert announcer.announce([VIP4, VIP6]) == (Unsent(VIP4, down), Unsent(VIP6, down))
    hosts[0].ip(f"link set {DEVICE} up")
    with contextlib.suppress(OSError):  # the other end says once that it was down
        wire.recv(0)
    assert announcer.announce([VIP4]) == ()
    assert len(frames(wire, 1)) == 1


def test_an_interface_that_vanishes_is_named_and_opened_again(
    hosts: tuple[Namespace, Namespace], announcer: Announcer
) -> None:
    here, _ = hosts
    here.ip(f"link del {DEVICE}")
    for vips in ([VIP4], [VIP6]):
        with pytest.raises(InterfaceGoneError, match="interface eth0 does not exist"):
            announcer.announce(vips)
    here.ip(f"link add {DEVICE} type veth peer other0", f"link set {DEVICE} up")
    with inside(here) as interface, Announcer(interface) as again:
        assert again.announce([VIP4]) == ()


def test_an_interface_without_neighbours_is_refused(hosts: tuple[Namespace, Namespace]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with inside(hosts[0]), pytest.raises(OperatorError, match="lo is no Ethernet interface"):
        Announcer(find_interface("lo"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_host_without_ipv6_still_announces_ipv4(
    hosts: tuple[Namespace, Namespace], announcer: Announcer
) -> None:
    set_sysctls(hosts[0].name, {f"ipv6/conf/{DEVICE}/disable_ipv6": "1"})
    hosts[1].ip(f"neigh replace {format_address(VIP4)} lladdr {OLD_MAC} dev {DEVICE} nud stale")
    assert announcer.announce([VIP4, HERE6]) == ()
    assert neighbour(hosts[1], VIP4)["lladdr"] == mac_of(hosts[0])
