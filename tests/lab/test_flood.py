"""The flood tool: its packets are good, all arrive, and it serves nobody outside a laboratory."""

import re
from ipaddress import ip_address
from itertools import islice

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lvskeeper.lab.flood import COUNT_LIMIT, Flood, Kind, forged_sources, packets
from lvskeeper.lab.netns import Namespace
from lvskeeper.lab.topology import CLIENT4, CLIENT6, VIPS4, VIPS6, Laboratory, director_front


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("vip", [VIPS4[0], VIPS6[0]])
def test_packets_are_as_scapy_makes_them(kind: Kind, vip: str) -> None:
    version = ip_address(vip).version
    layer = IP if version == 4 else IPv6
    for raw in islice(packets(kind, vip, 80, forged_sources(version)), 500):
        packet = layer(raw)
        assert (packet.dst, packet[TCP].dport, packet[TCP].flags) == (vip, 80, kind.name[0])
        checksum = packet[TCP].chksum
        del packet[TCP].chksum
        assert layer(bytes(packet))[TCP].chksum == checksum


def test_a_syn_offers_what_linux_offers() -> None:
    packet = IP(next(packets(Kind.SYN, VIPS4[0], 80, forged_sources(4))))
    assert packet[TCP].options == [
        ("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7),
    ]  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
def test_no_forged_source_is_somebody(version: int) -> None:
    sources = set(map(str, forged_sources(version)))
    assert len(sources) == 200
    assert not sources & {CLIENT4, CLIENT6, *director_front(1), *director_front(2)}


def test_connections_differ() -> None:
    ends = {
        (packet.src, packet[TCP].sport)
        for packet in map(IP, islice(packets(Kind.SYN, VIPS4[0], 80, forged_sources(4)), 1000))
    }
    assert len(ends) == 1000


@pytest.mark.parametrize("address", ["203.0.113.1", "192.0.2.10", "2001:db8:a::1"])
def test_other_targets_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no virtual address of a laboratory"):
        next(packets(Kind.SYN, address, 80, forged_sources(4)))


@pytest.mark.parametrize("source", ["203.0.113.1", "198.51.100.1", "2001:db8:f::1"])
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="not in the clients' network"):
        next(packets(Kind.SYN, VIPS4[0], 80, (ip_address(source),)))


@pytest.mark.parametrize("count", [0, COUNT_LIMIT + 1])
def test_the_count_is_bounded(count: int) -> None:
    with pytest.raises(ValueError, match="a flood has 1 to"):
        Flood(Namespace("lvsk-0-0-none"), VIPS4[0], 80, count=count, rate=1)


def test_it_leaves_from_laboratories_only() -> None:
    with pytest.raises(ValueError, match="is not a laboratory's namespace"):
        Flood(Namespace("somebody"), VIPS4[0], 80, count=1, rate=1)


def tcp_counters(lab: Laboratory) -> dict[str, int]:
    shown = lab.director.run(["nstat", "-asz", "TcpInSegs", "TcpInCsumErrors", "TcpOutRsts"]).stdout
    return {name: int(value) for name, value in re.findall(r"^(\w+)\s+(\d+)", shown, re.MULTILINE)}


@pytest.mark.root
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("vip", [VIPS4[0], VIPS6[0]])
def test_all_packets_arrive_whole_and_are_refused(
    laboratory: Laboratory, vip: str, kind: Kind
) -> None:
    before = tcp_counters(laboratory)
    with Flood(laboratory.client, vip, 9, count=2000, rate=20_000, kind=kind) as flood:
        pass
    after = tcp_counters(laboratory)
    assert flood.sent == 2000
    assert {name: after[name] - before[name] for name in after} == {
        "TcpInSegs": 2000, "TcpInCsumErrors": 0, "TcpOutRsts": 2000,
    }  # fmt: skip


@pytest.mark.root
def test_a_flood_can_be_ended(laboratory: Laboratory) -> None:
    with Flood(laboratory.client, VIPS4[0], 9, count=1000, rate=1) as flood:
        flood.stop()
    assert flood.sent < 10
