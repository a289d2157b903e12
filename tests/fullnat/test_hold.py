"""Packets without a connection, in the seconds after a take-over and otherwise."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from support.fullnat_net import (
    CLIENT,
    CLIENT4,
    DIRECTOR,
    LIPS4,
    LIPS6,
    PORT,
    RARELY_ON_IPVS,
    SERVER,
    SERVER4,
    SERVER6,
    VIP4,
    VIP6,
    VPORT,
    Connection,
    Network,
    empty_namespace,
    run,
    translating,
)
from support.segments import send_segment
from support.waiting import wait_until

from lvskeeper.fullnat.content import differences
from lvskeeper.fullnat.hold import Hold
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import Ruleset, Source, expected_content, render
from lvskeeper.fullnat.synproxy import Cookies, SynProxy
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.kernel.hold_switch import HoldSwitch
from lvskeeper.kernel.nft import Nft
from lvskeeper.units import parse_address

pytestmark = pytest.mark.root

CLIENT6: Final = "2001:db8:c::10"
OWN: Final = {4: "192.0.2.1", 6: "2001:db8:c::1"}
"""The director's, no VIP."""
BEHIND_COOKIES: Final = 81
SHORT, LONG = 0.4, 20.0
"""Seconds of a hold: to see its end, and for a busy machine to see none."""
ACK: Final = 0x10
STRAY_PORTS: Final = count(40_000)
"""A new one for each: what was answered is tracked for a while."""
OPENING: Final = "tcp flags & (fin | syn | rst | ack) == syn"
RULES: Final = "".join(
    f"ip daddr {VIP4} tcp dport {port} {OPENING} dnat ip to {SERVER4}:{PORT};"
    f"ip6 daddr {VIP6} tcp dport {port} {OPENING} dnat ip6 to [{SERVER6}]:{PORT};"
    for port in (VPORT, BEHIND_COOKIES)
)
STAND_IN: Final = f"""
table inet standin {{
  chain pre {{ type nat hook prerouting priority dstnat; {RULES} }}
  chain out {{ type nat hook output priority -100; {RULES} }}
}}
"""
ANSWERS: Final = """
table inet answers {
  counter resets { }
  counter errors { }
  chain pre { type filter hook prerouting priority raw;
    tcp flags & rst == rst counter name resets
    icmp type destination-unreachable counter name errors
    icmpv6 type destination-unreachable counter name errors
  }
}
"""


def key(vip: str, port: int) -> ServiceKey:
    address = parse_address(vip)
    return ServiceKey(Family.of(address), Protocol.TCP, address, port)


KEYS: Final = [key(vip, port) for vip in (VIP4, VIP6) for port in (VPORT, BEHIND_COOKIES)]
RULESET: Final = Ruleset(
    (Pool.of("web", map(parse_address, (*LIPS4, *LIPS6))),),
    dict.fromkeys(KEYS, Source("web")),
    Cookies({one: SynProxy(1400) for one in KEYS if one.port == BEHIND_COOKIES}),
    hold=Hold(
        frozenset(map(parse_address, (VIP4, VIP6))),
        frozenset(map(parse_address, (*LIPS4, *LIPS6))),
    ),
)


def program_ipvs() -> None:
    Path("/proc/sys/net/ipv4/vs/conntrack").write_text("1", encoding="ascii")
    for vip, real in ((VIP4, SERVER4), (f"[{VIP6}]", f"[{SERVER6}]")):
        for port in (VPORT, BEHIND_COOKIES):
            run(f"ipvsadm -A -t {vip}:{port} -s rr")
            run(f"ipvsadm -a -t {vip}:{port} -r {real}:{PORT} -m")


class Site:
    """The network with our ruleset on its director."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def hold(self, seconds: float) -> None:
        """Do as the router does at a take-over, and be dead right after it."""
        with self.network.inside(DIRECTOR):
            switch = HoldSwitch()
            assert switch.turn_on(seconds)
            switch.close()

    def end(self) -> None:
        with self.network.inside(DIRECTOR):
            run("nft flush set inet lvskeeper hold")

    def counted(self, who: str, name: str, table: str = "answers") -> int:
        with self.network.inside(who):
            listing = json.loads(run(f"nft -j list counter inet {table} {name}"))
        return sum(one["counter"]["packets"] for one in listing["nftables"] if "counter" in one)

    def held(self) -> tuple[int, int]:
        """Return the packets of servers and those of clients, as the daemon reads them."""
        with self.network.inside(DIRECTOR):
            nft = Nft()
        servers, clients = nft.counted("held_servers"), nft.counted("held_clients")
        nft.close()
        assert servers is not None
        assert clients is not None
        return servers, clients

    def stray_of_client(self, family: int, port: int = VPORT, target: str = "") -> None:
        ours, vip = (CLIENT4, VIP4) if family == 4 else (CLIENT6, VIP6)
        with self.network.inside(CLIENT):
            send_segment((ours, next(STRAY_PORTS)), (target or vip, port), ACK)

    def stray_of_server(self, family: int) -> None:
        ours, lip = (SERVER4, LIPS4[0]) if family == 4 else (SERVER6, LIPS6[0])
        with self.network.inside(SERVER):
            send_segment((ours, next(STRAY_PORTS)), (lip, 40_001), ACK)

    def datagram_of_server(self, family: int) -> None:
        lip = LIPS4[0] if family == 4 else LIPS6[0]
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with self.network.inside(SERVER), socket.socket(kind, socket.SOCK_DGRAM) as endpoint:
            endpoint.sendto(b"late", (lip, 40_001))


@pytest.fixture(scope="module", params=["stand-in", pytest.param("ipvs", marks=pytest.mark.ipvs)])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with translating(request.param, STAND_IN, program_ipvs) as network:
        for who in (SERVER, CLIENT):
            with network.inside(who):
                run("nft -f -", data=ANSWERS)
        yield network


@pytest.fixture
def site(network: Network) -> Site:
    with network.inside(DIRECTOR):
        run("nft -f -", data=render(RULESET))
    return Site(network)


@RARELY_ON_IPVS
@pytest.mark.parametrize("family", [4, 6])
def test_strays_are_answered_but_for_the_time_of_a_hold_that_ends_by_itself(
    site: Site, family: int
) -> None:
    def resets() -> tuple[int, int]:
        return site.counted(SERVER, "resets"), site.counted(CLIENT, "resets")

    before = resets()
    site.stray_of_client(family)
    site.stray_of_server(family)
    wait_until(lambda: resets() == (before[0] + 1, before[1] + 1))
    assert site.held() == (0, 0)

    site.hold(LONG)
    errors = site.counted(SERVER, "errors")
    site.stray_of_client(family)
    site.stray_of_server(family)
    site.datagram_of_server(family)
    wait_until(lambda: site.held() == (2, 1))
    # Those behind cookies are dropped by the check of the cookie, hold or not.
    site.stray_of_client(family, BEHIND_COOKIES)
    site.stray_of_client(family, target=OWN[family])
    wait_until(lambda: resets()[1] == before[1] + 2)
    assert site.held() == (2, 1)
    assert resets()[0] == before[0] + 1
    assert site.counted(SERVER, "errors") == errors

    site.hold(SHORT)

    def answered() -> bool:
        site.stray_of_server(family)
        return resets()[0] > before[0] + 1

    wait_until(answered)


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_connections_begin_and_go_on_during_a_hold(site: Site, vip: str) -> None:
    def connections() -> list[Connection]:
        return [site.network.connect(vip, port=port) for port in (VPORT, BEHIND_COOKIES)]

    old = connections()
    seen = [one.ask() for one in old]
    site.hold(LONG)
    assert [one.ask() for one in old] == seen
    assert all(one.ask() in (*LIPS4, *LIPS6) for one in connections())
    assert site.held() == (0, 0)
    site.end()


@RARELY_ON_IPVS
def test_a_second_hold_begins_anew(site: Site) -> None:
    site.hold(SHORT)
    site.hold(LONG)
    time.sleep(1.5 * SHORT)
    site.stray_of_client(4)
    wait_until(lambda: site.held() == (0, 1))


@RARELY_ON_IPVS
def test_a_hold_is_no_change_of_the_table(site: Site) -> None:
    expected = expected_content(RULESET)
    assert expected is not None
    site.hold(LONG)
    with site.network.inside(DIRECTOR):
        nft = Nft()
        assert differences(expected, asyncio.run(nft.read())) == ()
        run(f"nft delete element inet lvskeeper hold_vip4 {{ {VIP4} }}")
        assert differences(expected, asyncio.run(nft.read())) == (
            f"tcp {VIP4}:0 is missing in the hold of a take-over",
        )
        nft.close()


def test_without_a_table_there_is_no_hold() -> None:
    with empty_namespace():
        switch, nft = HoldSwitch(), Nft()
        assert not switch.turn_on(LONG)
        assert nft.counted("held_servers") is None
        switch.close()
        nft.close()


def test_nothing_is_there_where_nothing_is_held() -> None:
    assert not Ruleset(hold=Hold()).used
    bare = render(Ruleset(RULESET.pools, RULESET.services))
    assert "hold" not in bare
    assert "held" not in bare
