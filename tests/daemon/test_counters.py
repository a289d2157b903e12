"""Counters and floods: by made-up numbers, and by the SYN cookies of this kernel."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.counters import CounterKeeper
from lvskeeper.daemon.roles import DirectorSpec, RealServerSpec, SynProxySpec, VirtualServerSpec
from lvskeeper.fullnat.flood import END_AFTER
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.kernel.synproxy_stats import read_counters
from lvskeeper.observe.fullnat_events import SynCounters, SynFloodEnded, SynFloodStarted
from lvskeeper.units import parse_address

if TYPE_CHECKING:
    from lvskeeper.observe.events import Event

PLAIN = VirtualServerSpec(
    "web",
    (ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80),),
    "rr",
    (RealServerSpec(parse_address("10.0.0.2"), 80, Forward.NAT),),
)
SPEC = DirectorSpec(virtual_servers=(replace(PLAIN, syn_proxy=SynProxySpec()),))
OTHER = DirectorSpec(virtual_servers=(PLAIN,))


class Counted:
    """A keeper whose kernel counts as it is told."""

    def __init__(self) -> None:
        self.values = {"syn_received": 100, "cookie_valid": 90, "cookie_retrans": 4}
        self.events: list[Event] = []
        self.now = 50.0
        self.keeper = CounterKeeper(self.events.append, lambda: dict(self.values))
        self.keeper.look(SPEC, self.now)

    def pass_second(self, syns: int, handshakes: int, spec: DirectorSpec = SPEC) -> None:
        self.now += 1.0
        self.values["syn_received"] += syns
        self.values["cookie_valid"] += handshakes
        self.keeper.look(spec, self.now)


def test_a_flood_is_one_event_at_its_start_and_one_at_its_end() -> None:
    counted = Counted()

    for _ in range(20):
        counted.pass_second(5000, 10)
    assert counted.events == [SynFloodStarted(15000, 30, 4990)]
    for _ in range(20):
        counted.pass_second(12, 10)

    assert counted.events[1:] == [SynFloodEnded(100_000, 200, 4990, "20.0 s")]


def test_what_a_flood_is_may_be_configured() -> None:
    counted = Counted()
    low, high = (replace(SPEC, syn_flood_rate=rate) for rate in (50, 1000))

    for _ in range(5):
        counted.pass_second(100, 1, high)
    assert counted.events == []
    for _ in range(5):
        counted.pass_second(100, 1, low)
    assert [type(event) for event in counted.events] == [SynFloodStarted]


def test_a_flood_ends_with_the_last_service_that_has_syn_proxy() -> None:
    counted = Counted()
    for _ in range(5):
        counted.pass_second(5000, 0)

    counted.pass_second(5000, 0, OTHER)
    counted.pass_second(5000, 0, OTHER)

    assert [type(each) for each in counted.events] == [SynFloodStarted, SynFloodEnded]
    assert counted.keeper.snapshot is None


def test_what_was_counted_is_told_on_demand() -> None:
    counted = Counted()
    counted.pass_second(30, 20)

    counted.keeper.report()

    assert counted.events == [
        SynCounters(
            130, 110, 0, "no", "syn_received 30.0/s, cookie_valid 20.0/s", "cookie_retrans 4"
        )
    ]


def test_nothing_is_read_or_told_without_syn_proxy() -> None:
    events: list[Event] = []
    keeper = CounterKeeper(events.append, lambda: pytest.fail("it was read"))

    keeper.look(OTHER, 1.0)
    keeper.report()

    assert events == []


SYNS = 3000
IPV4, TCP = Struct("!BBHHHBBH4s4s"), Struct("!HHIIBBHHH")
COOKIES = """
table inet cookies {
  chain pre { type filter hook prerouting priority raw;
    tcp flags & (fin | syn | rst | ack) == syn tcp dport 80 notrack
  }
  chain in { type filter hook input priority filter;
    ct state invalid,untracked,new tcp dport 80 synproxy mss 1460 wscale 7 timestamp sack-perm
  }
}
"""


def syn(number: int) -> bytes:
    """Return a SYN from one of 64000 sources of 198.18.0.0/15, which RFC 2544 keeps for tests."""
    source = bytes((198, 18, number // 250 % 256, number % 250 + 1))
    target = bytes((192, 0, 2, 1))
    fields = (1024 + number % 60000, 80, number, 0, 5 << 4, 2, 64240)
    pseudo = source + target + bytes((0, 6)) + TCP.size.to_bytes(2, "big")
    data = pseudo + TCP.pack(*fields, 0, 0)
    checksum = 0xFFFF - int.from_bytes(data, "big") % 0xFFFF
    header = IPV4.pack(0x45, 0, IPV4.size + TCP.size, 0, 0, 64, 6, 0, source, target)
    return header + TCP.pack(*fields, checksum, 0)


@pytest.fixture
def flooded() -> Iterator[socket.socket]:
    """A socket that sends whole packets, in a namespace that answers SYNs to port 80 by cookies."""
    with empty_namespace():
        run("ip addr add 192.0.2.1/32 dev lo; ip route add 198.18.0.0/15 dev lo")
        run("nft -f -", data=COOKIES)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            yield raw


@pytest.mark.root
def test_a_real_flood_is_counted_and_told(flooded: socket.socket) -> None:
    events: list[Event] = []
    keeper = CounterKeeper(events.append)
    keeper.look(SPEC, 0.0)
    assert keeper.snapshot is not None
    assert keeper.snapshot.syns == 0
    assert {"cookie_valid", "cookie_invalid", "cookie_retrans"} <= keeper.snapshot.values.keys()

    for number in range(SYNS):
        flooded.sendto(syn(number), ("192.0.2.1", 0))
    wait_for_syns(SYNS)
    # The clock is ours: the kernel counted them all, in what is said to be two seconds.
    keeper.look(SPEC, 2.0)
    for number in range(SYNS, 2 * SYNS):
        flooded.sendto(syn(number), ("192.0.2.1", 0))
    wait_for_syns(2 * SYNS)
    keeper.look(SPEC, 4.0)
    keeper.look(SPEC, 4.0 + END_AFTER)

    assert events == [
        SynFloodStarted(2 * SYNS, 0, SYNS // 2),
        SynFloodEnded(2 * SYNS, 0, SYNS // 2, "4.0 s"),
    ]
    assert keeper.snapshot.syns == 2 * SYNS
    assert keeper.snapshot.handshakes == 0


def wait_for_syns(number: int) -> None:
    for _ in range(500):
        if read_counters().get("syn_received", 0) >= number:
            break
        time.sleep(0.01)
    assert read_counters()["syn_received"] == number


def test_the_counters_of_a_fullnat_kernel_are_read_from_its_file(tmp_path: Path) -> None:
    assert read_counters(tmp_path) == {}
    (tmp_path / "ip_vs_ext_stats").write_text(
        "                           CPU0 CPU1\nsynproxy_syn_cnt         :         5         7\n"
    )
    assert read_counters(tmp_path) == {"synproxy_syn_cnt": 12}
