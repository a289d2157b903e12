"""The table of VRRP on this kernel: what a blocked address still answers, and what not."""

import asyncio
import contextlib
import select
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, HERE4, HERE6, two_hosts

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.nft import Generation
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_changes import AddAddress, AddMacvlan, SetLink
from lvskeeper.kernel.vip_firewall import FAMILY, TABLE, VipFirewall, table_text
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import format_address, parse_address
from lvskeeper.vrrp.holdings import HeldAddress

pytestmark = pytest.mark.root

VIP4 = HeldAddress(parse_address("192.0.2.100"), 32, DEVICE)
VIP6 = HeldAddress(parse_address("2001:db8::100"), 128, DEVICE)
NEAR = HeldAddress(parse_address("fe80::100"), 64, DEVICE)
VIPS = (VIP4, VIP6, NEAR)
PORT = 8080


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Two hosts of which the first, where this thread is, holds the VIPs."""
    with two_hosts() as made, namespace(made[0].name):
        with RouteClient() as client:
            assert client.apply([AddAddress(vip) for vip in VIPS]) == ()
        yield made


def connects(there: Namespace, vip: HeldAddress, *, seconds: float = 2.0) -> bool:
    """Tell whether a TCP connection from *there* to *vip* comes about."""
    family = socket.AF_INET6 if len(vip.address) == 16 else socket.AF_INET
    text = format_address(vip.address)
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", PORT))
        server.listen()
        with namespace(there.name):
            client = socket.socket(family)
            scope = (0, socket.if_nametoindex(DEVICE)) if vip is NEAR else ()
        with client, contextlib.suppress(TimeoutError):
            client.settimeout(seconds)
            client.connect((text, PORT, *scope))
            return True
    return False


def echoes(there: Namespace, vip: HeldAddress, *, seconds: float = 2.0) -> bool:
    """Tell whether *vip* answers an echo request from *there*."""
    six = len(vip.address) == 16
    family, protocol = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    )
    request = bytes([128, 0, 0, 0]) if six else bytes([8, 0, 0xF7, 0xFF])
    with namespace(there.name):
        client = socket.socket(family, socket.SOCK_RAW, protocol)
        scope = (0, socket.if_nametoindex(DEVICE)) if vip is NEAR else ()
    until = time.monotonic() + seconds
    with client:
        client.sendto(request + bytes(4), (format_address(vip.address), 0, *scope))
        while (left := until - time.monotonic()) > 0 and select.select([client], [], [], left)[0]:
            if client.recv(2048)[0 if six else 20] == (129 if six else 0):
                return True
    return False


def neighbour(there: Namespace, vip: HeldAddress) -> str:
    text = format_address(vip.address)
    return there.run(["ip", "neigh", "show", text, "dev", DEVICE]).stdout


def tables(here: Namespace) -> str:
    return here.run(["nft", "list", "tables"]).stdout


@pytest.mark.parametrize("vip", VIPS, ids=str)
def test_a_blocked_address_answers_its_neighbours_and_nothing_else(
    hosts: tuple[Namespace, Namespace], vip: HeldAddress
) -> None:
    here, there = hosts

    async def scenario() -> None:
        firewall = VipFirewall()
        await firewall.set(blocked=VIPS)
        assert not connects(there, vip, seconds=0.3)
        assert "lladdr" in neighbour(there, vip)
        assert not echoes(there, vip, seconds=0.3)
        own = HeldAddress(HERE6 if len(vip.address) == 16 else HERE4, 64, DEVICE)
        assert echoes(there, own)
        await firewall.set(blocked=[other for other in VIPS if other is not vip])
        assert connects(there, vip)
        assert echoes(there, vip)
        await firewall.close()
        assert TABLE not in tables(here)
        assert all(connects(there, other) for other in VIPS)

    asyncio.run(scenario())


def test_nothing_leaves_from_a_blocked_address(hosts: tuple[Namespace, Namespace]) -> None:
    assert hosts

    async def scenario() -> None:
        firewall = VipFirewall()
        await firewall.set(blocked=[VIP4])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((format_address(VIP4.address), 0))
            with pytest.raises(PermissionError):
                sender.sendto(b"x", ("192.0.2.2", PORT))
            await firewall.set()
            assert sender.sendto(b"x", ("192.0.2.2", PORT)) == 1
        await firewall.close()

    asyncio.run(scenario())


def test_an_address_on_another_interface_is_not_meant(hosts: tuple[Namespace, Namespace]) -> None:
    _, there = hosts
    elsewhere = HeldAddress(NEAR.address, 64, "eth7")

    async def scenario() -> None:
        firewall = VipFirewall()
        await firewall.set(blocked=[elsewhere])
        assert connects(there, NEAR)
        await firewall.close()

    asyncio.run(scenario())


def test_a_vmac_reports_no_groups(hosts: tuple[Namespace, Namespace]) -> None:
    _, there = hosts
    mac = bytes.fromhex("00005e000133")
    with RouteClient() as client:
        assert client.apply([AddMacvlan("vrrp.51", DEVICE, mac), SetLink("vrrp.51", up=True)]) == ()
        below = next(link.mac for link in client.links() if link.name == DEVICE)
    with namespace(there.name):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind((DEVICE, 3))

    async def scenario() -> None:
        firewall = VipFirewall()
        await firewall.set(vmacs=["vrrp.51"])
        with wire:
            quiet = reports(wire, {(below, 4), (below, 6)})
            assert {source for source, _ in quiet} == {below}
            await firewall.close()
            everybody = {(each, family) for each in (mac, below) for family in (4, 6)}
            assert reports(wire, everybody) == everybody

    asyncio.run(scenario())


def reports(wire: socket.socket, wanted: set[tuple[bytes, int]]) -> set[tuple[bytes, int]]:
    """Join groups with both devices; return who reports them, with which version of IP."""
    with contextlib.suppress(BlockingIOError):
        while wire.recv(2048, socket.MSG_DONTWAIT):
            pass
    found: set[tuple[bytes, int]] = set()
    with join("vrrp.51"), join(DEVICE):
        until = time.monotonic() + 5
        while not found >= wanted and (left := until - time.monotonic()) > 0:
            if select.select([wire], [], [], left)[0]:
                frame = wire.recv(2048)
                if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_IGMP:
                    found.add((frame[6:12], 4))
                if frame[12:14] == b"\x86\xdd" and frame[20] == 0 and frame[62] == 143:
                    found.add((frame[6:12], 6))
    return found


@contextlib.contextmanager
def join(device: str) -> Iterator[None]:
    index = socket.if_nametoindex(device).to_bytes(4, sys.byteorder)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
    ):
        group = socket.inet_aton("224.0.0.18") + bytes(4) + index
        four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        group = parse_address("ff02::12") + index
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        yield


def test_the_table_is_replaced_only_when_it_changes(hosts: tuple[Namespace, Namespace]) -> None:
    here, _ = hosts

    async def scenario() -> None:
        firewall = VipFirewall()
        generation = Generation()
        begun = generation.read()
        await firewall.set()
        assert generation.read() == begun
        await firewall.set(blocked=[VIP4, VIP6], vmacs=["vrrp.51"])
        assert generation.read() == begun + 1
        await firewall.set(blocked=[VIP6, VIP4, VIP4], vmacs=["vrrp.51"])
        assert generation.read() == begun + 1
        await firewall.set(blocked=[VIP4])
        assert generation.read() == begun + 2
        await firewall.close()
        await firewall.close()
        assert generation.read() == begun + 3
        assert tables(here) == ""
        generation.close()

    asyncio.run(scenario())


def test_a_flushed_table_is_renewed_and_one_left_behind_swept(
    hosts: tuple[Namespace, Namespace],
) -> None:
    here, _ = hosts

    async def scenario() -> None:
        first, second = VipFirewall(), VipFirewall()
        await first.renew()
        assert tables(here) == ""
        await first.set(blocked=[VIP4])
        here.run(["nft", "flush", "ruleset"])
        await first.renew()
        assert f"table {FAMILY} {TABLE}" in tables(here)
        await first.sweep()
        assert f"table {FAMILY} {TABLE}" in tables(here)
        await second.sweep()
        assert tables(here) == ""
        await first.close()
        await second.close()

    asyncio.run(scenario())


def test_a_machine_without_nft_is_told_what_it_means(
    hosts: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hosts
    monkeypatch.setattr("lvskeeper.kernel.nft.SEARCH_PATH", "")
    monkeypatch.setenv("PATH", "")

    async def scenario() -> None:
        firewall = VipFirewall()
        await firewall.set()
        with pytest.raises(OperatorError) as caught:
            await firewall.set(blocked=[VIP4])
        assert caught.value.status is ExitStatus.UNSUPPORTED
        assert "no_accept" in caught.value.message
        await firewall.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ['a"b', "eth*", "a\nb"])
def test_names_that_nft_would_misread_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="nft has no words"):
        table_text([], [name])
