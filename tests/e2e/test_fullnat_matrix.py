"""What FULLNAT is to do on a stock kernel, case by case and in both families.

One daemon with one configuration serves the module. No real server is checked: who is in the table
is what the configuration says.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from support.asking import ask, ask_udp, family_of, fetch, icmp_witness

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.netns import Namespace, inside, set_sysctls
from lvskeeper.lab.servers import Server, start_servers
from lvskeeper.lab.topology import (
    BACK,
    CLIENT4,
    DIRECT,
    FRONT,
    VIP_NETWORKS,
    VIPS4,
    VIPS6,
    Laboratory,
    Plan,
    local_addresses,
    real_server,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(300),
]

LIPS: Final = frozenset(address for family in local_addresses(1) for address in family)
SERVERS: Final = ("rs1", "rs2", "rs3")
MARK: Final = 7
PERSISTENT: Final = 81
NOBODY: Final = 54
"""A UDP port that no real server listens on."""
DIRECT_ROUTING: Final = 80
TUNNEL: Final = 8080
"""Ports of the fourth VIP, which are not FULLNAT."""
REUSE: Final = "/proc/sys/net/ipv4/vs/conn_reuse_mode"
PROGRESS_LIMIT: Final = 90.0
"""Seconds; a connection that stalled goes on with TCP's next retransmission."""
SMALL_MTU: Final = 1300
CHUNKS: Final = 40
"""Of 1 KiB each; that many make packets of full size at times."""
BIG: Final = 8000
"""Bytes that need many packets of the usual size."""
UNREACHABLE4: Final = 3
TOO_BIG: Final = {socket.AF_INET: (UNREACHABLE4, 4), socket.AF_INET6: (2, 0)}
"""Type and code of the ICMP errors for packets over the MTU (RFC 1191, RFC 8201)."""
NO_PORT: Final = {socket.AF_INET: (UNREACHABLE4, 3), socket.AF_INET6: (1, 4)}
"""The same for a port that nobody listens on (RFC 792, RFC 4443)."""

both_families = pytest.mark.parametrize("family", [0, 1], ids=["v4", "v6"])


def virtual_server(
    name: str, family: int, port: int, *, weights: tuple[int, ...] = (1, 1, 1), more: str = ""
) -> str:
    servers = "".join(
        f"  real_server {real_server(number)[family]} {port} {{\n    weight {weight}\n  }}\n"
        for number, weight in enumerate(weights, 1)
    )
    return (
        f"virtual_server {name} {{\n  lb_algo rr\n  lb_kind FNAT\n  laddr_group_name lips\n"
        f"{more}{servers}}}\n"
    )


def plain_server(name: str, kind: str, port: int) -> str:
    return (
        f"virtual_server {name} {{\n  lb_algo rr\n  lb_kind {kind}\n  protocol TCP\n"
        f"  real_server {DIRECT[0]} {port} {{\n    weight 1\n  }}\n}}\n"
    )


TCP: Final = "  protocol TCP\n"
UDP: Final = "  protocol UDP\n"
PERSISTENCE: Final = "  persistence_timeout 60\n"


def configuration(weights: tuple[int, ...] = (1, 1, 1)) -> str:
    parts = ["local_address_group lips {\n  10.0.0.10-13 back\n  fd00::10-13 back\n}\n"]
    for family, vips in enumerate((VIPS4, VIPS6)):
        mark = "  ip_family inet6\n" if family else ""
        parts += [
            virtual_server(f"{vips[0]} 80", family, 8080, weights=weights, more=TCP),
            virtual_server(f"{vips[0]} {PERSISTENT}", family, 8080, more=TCP + PERSISTENCE),
            virtual_server(f"{vips[0]} 53", family, 53, more=UDP),
            virtual_server(f"{vips[0]} {NOBODY}", family, NOBODY, more=UDP),
            virtual_server(f"{vips[1]} 0", family, 0, more=TCP + PERSISTENCE),
            virtual_server(f"fwmark {MARK + family}", family, 0, more=mark),
        ]
    parts.append(plain_server(f"{VIPS4[3]} {DIRECT_ROUTING}", "DR", DIRECT_ROUTING))
    parts.append(plain_server(f"{VIPS4[3]} {TUNNEL}", "TUN", TUNNEL))
    return "".join(parts)


MARKS: Final = f"""
table inet marks {{
    chain pre {{
        type filter hook prerouting priority mangle; policy accept;
        ip daddr {VIPS4[2]} meta mark set {MARK}
        ip6 daddr {VIPS6[2]} meta mark set {MARK + 1}
    }}
}}
"""


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon

    def vip(self, family: int, number: int = 0) -> str:
        return (VIPS4, VIPS6)[family][number]

    def reload(self, text: str) -> None:
        self.daemon.file.write_text(text)
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark, timeout=90)

    def statistics(self, family: int, port: int) -> list[int]:
        """Connections, packets in and out, bytes in and out of a TCP service."""
        vip = f"[{VIPS6[0]}]" if family else VIPS4[0]
        listing = self.lab.director.run(
            ["ipvsadm", "-Ln", "--stats", "--exact", "-t", f"{vip}:{port}"]
        )
        line = next(line for line in listing.stdout.splitlines() if line.startswith("TCP"))
        return [int(word) for word in line.split()[2:]]

    @contextlib.contextmanager
    def small_mtu(self, namespace: Namespace, *devices: str) -> Iterator[None]:
        """Let *devices* carry small packets only, and nobody know of it before or after."""
        namespace.ip(*(f"link set {device} mtu {SMALL_MTU}" for device in devices))
        try:
            yield
        finally:
            namespace.ip(*(f"link set {device} mtu 1500" for device in devices))
            for space in (self.lab.client, *self.lab.servers):
                space.ip("route flush cache")
                space.run(["ip", "-6", "route", "flush", "cache"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("matrix")
    file = folder / "lvskeeper.conf"
    file.write_text(configuration())
    with Laboratory(Plan(lips=False, forwarding=False, guests=True)) as lab:
        helpers = [
            Server(space, name, http=[8080, 8081], udp=[53])
            for name, space in zip(SERVERS, lab.servers, strict=True)
        ]
        direct = Server(lab.direct, "direct", http=[DIRECT_ROUTING, TUNNEL])
        daemon = Daemon(lab.director, file, folder / "run")
        with daemon:
            daemon.start(wait=False)
            lead_inside_clients_to_the_vips(lab)
            make_direct_server(lab.direct)
            lab.director.run(["nft", "-f", "-"], input_text=MARKS)
            start_servers([*helpers, direct])
            daemon.wait_for("daemon_ready", timeout=180)
            yield Site(lab, daemon)


def make_direct_server(space: Namespace) -> None:
    """Let *space* take packets to the fourth VIP as they are, and out of a tunnel."""
    space.ip(
        f"addr add {VIPS4[3]}/32 dev lo",
        f"link add tunnel type ipip local {DIRECT[0]} remote 10.0.0.1",
        "link set tunnel up",
    )
    loose = ("all", "default", FRONT, BACK, "tunnel")
    set_sysctls(space.name, {f"ipv4/conf/{name}/rp_filter": "0" for name in loose})


def lead_inside_clients_to_the_vips(lab: Laboratory) -> None:
    """Give the hosts behind the director a route to the VIPs (and none to the clients)."""
    beside_rs1 = ("10.1.1.1", "fd01:1::1")
    ways = ((lab.router, ("10.0.0.1", "fd00::1")), (lab.neighbour, beside_rs1))
    for space, hops in (*ways, (lab.servers[0], beside_rs1)):
        space.ip(
            *(f"route add {net} via {via}" for net, via in zip(VIP_NETWORKS, hops, strict=True))
        )
    lab.neighbour.ip("route add 10.0.0.0/24 via 10.1.1.1", "route add fd00::/64 via fd01:1::1")


@both_families
def test_a_client_in_a_real_servers_subnet_is_served(site: Site, family: int) -> None:
    pages = [ask(site.lab.neighbour, site.vip(family), 80) for _ in SERVERS]
    assert {page.server for page in pages} == set(SERVERS)
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_a_real_server_is_a_client_of_the_service_that_it_serves(site: Site, family: int) -> None:
    pages = [ask(site.lab.servers[0], site.vip(family), 80) for _ in SERVERS]
    assert {page.server for page in pages} == set(SERVERS), "its own answers too"
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_the_director_is_a_client_of_its_own_service(site: Site, family: int) -> None:
    pages = [ask(site.lab.director, site.vip(family), 80) for _ in SERVERS]
    assert {page.server for page in pages} == set(SERVERS)
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_a_persistent_client_stays_with_its_server(site: Site, family: int) -> None:
    pages = [ask(site.lab.client, site.vip(family), PERSISTENT) for _ in range(5)]
    assert len({page.server for page in pages}) == 1
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_a_service_without_a_port_takes_all_ports_of_its_address(site: Site, family: int) -> None:
    ports = (8080, 8081, 8080, 8081)
    pages = [ask(site.lab.client, site.vip(family, 1), port) for port in ports]
    assert len({page.server for page in pages}) == 1, "it is persistent, over all ports"
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_a_firewall_mark_is_a_service_for_both_protocols(site: Site, family: int) -> None:
    vip = site.vip(family, 2)
    pages = [ask(site.lab.client, vip, 8080) for _ in SERVERS]
    pages += [ask_udp(site.lab.client, vip, 53) for _ in SERVERS]
    assert {page.server for page in pages} == set(SERVERS)
    assert {page.peer for page in pages} <= LIPS


@both_families
def test_datagrams_in_fragments_pass_both_ways(site: Site, family: int) -> None:
    data = bytes(range(250)) * 12
    page = ask_udp(site.lab.client, site.vip(family), 53, data)
    assert page.rest == data
    assert page.peer in LIPS


@both_families
def test_a_closed_udp_port_is_told_to_the_client(site: Site, family: int) -> None:
    vip = site.vip(family)
    with icmp_witness(site.lab.client, family_of(vip)) as witness:
        with pytest.raises(ConnectionRefusedError):
            ask_udp(site.lab.client, vip, NOBODY)
        assert witness.sources(*NO_PORT[family_of(vip)]) == {vip}


@both_families
def test_answers_too_big_for_the_front_get_through_smaller(site: Site, family: int) -> None:
    vip = site.vip(family)
    with contextlib.ExitStack() as stack:
        witnesses = [
            stack.enter_context(icmp_witness(space, family_of(vip))) for space in site.lab.servers
        ]
        stack.enter_context(site.small_mtu(site.lab.director, FRONT))
        assert fetch(site.lab.client, vip, 80, f"/stream/{CHUNKS}/0") > 1024 * CHUNKS
        told = [witness.sources(*TOO_BIG[family_of(vip)], timeout=1) for witness in witnesses]
    assert any(told), "the director tells the real server"


@both_families
@pytest.mark.parametrize("where", ["director", "router"])
def test_requests_too_big_for_the_way_behind_get_through_smaller(
    site: Site, family: int, where: str
) -> None:
    vip = site.vip(family)
    if where == "director":
        narrow = site.small_mtu(site.lab.director, BACK)
    else:
        narrow = site.small_mtu(site.lab.router, *SERVERS)
    with icmp_witness(site.lab.client, family_of(vip)) as witness, narrow:
        page = ask(site.lab.client, vip, 80, filler=BIG)
        sources = witness.sources(*TOO_BIG[family_of(vip)], timeout=2)
    assert page.peer in LIPS
    assert sources == {vip}, "whoever finds it too big, the client hears it from the VIP"


@both_families
def test_a_client_port_that_is_used_again_is_served_at_once(site: Site, family: int) -> None:
    director, vip = site.lab.director.name, site.vip(family)
    usual = inside(director, Path(REUSE).read_text).strip()
    servers = {}
    try:
        for mode, port in (("0", 20000), ("1", 20001)):
            set_sysctls(director, {"ipv4/vs/conn_reuse_mode": mode})
            pages = [ask(site.lab.client, vip, 80, source_port=port) for _ in range(5)]
            servers[mode] = {page.server for page in pages}
            typical = sorted(page.seconds for page in pages)[2]
            assert typical < 1.0, f"conn_reuse_mode {mode}: a SYN was dropped"
    finally:
        set_sysctls(director, {"ipv4/vs/conn_reuse_mode": usual})
    assert len(servers["0"]) == 1, "the old entry is used again"
    assert len(servers["1"]) > 1, "it is a connection of its own"


@both_families
def test_the_statistics_count_both_directions(site: Site, family: int) -> None:
    before = site.statistics(family, PERSISTENT)
    for _ in range(3):
        ask(site.lab.client, site.vip(family), PERSISTENT)
    # The kernel sums its counters up every two seconds
    until(lambda: site.statistics(family, PERSISTENT)[0] >= before[0] + 3)
    connections, packets_in, packets_out, bytes_in, bytes_out = (
        now - then for now, then in zip(site.statistics(family, PERSISTENT), before, strict=True)
    )
    assert connections == 3
    assert packets_in >= 3 * 4
    assert packets_out >= 3 * 3
    assert bytes_in > 40 * packets_in
    assert bytes_out > 40 * packets_out


def test_direct_routing_beside_it_is_left_alone(site: Site) -> None:
    page = ask(site.lab.client, VIPS4[3], DIRECT_ROUTING)
    assert (page.server, page.peer) == ("direct", CLIENT4)


def test_tunnels_beside_it_are_left_alone(site: Site) -> None:
    page = ask(site.lab.client, VIPS4[3], TUNNEL)
    assert (page.server, page.peer) == ("direct", CLIENT4)
    table = site.lab.director.run(["nft", "list", "table", "inet", "lvskeeper"]).stdout
    assert VIPS4[0] in table
    assert VIPS4[3] not in table


def test_a_drained_and_a_removed_server_keep_their_connections(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        lives = [
            stack.enter_context(
                LongLived(site.lab.client, site.vip(family), 80, patience=200, pause=0.5)
            )
            for family in (0, 1)
            for _ in SERVERS
        ]
        until(lambda: all(life.alive for life in lives))
        there = [life for life in lives if life.server == "rs3"]
        assert len(there) == 2, "one of each family"

        site.reload(configuration((1, 1, 0)))
        for family in (0, 1):
            pages = [ask(site.lab.client, site.vip(family), 80) for _ in range(4)]
            assert {page.server for page in pages} == {"rs1", "rs2"}
        progress(lives)

        site.reload(configuration((1, 1)))
        others = [life for life in lives if life.server != "rs3"]
        progress(others)
        counts = [life.answers for life in there]
        progress(others)
        assert [life.answers for life in there] == counts, "their packets are dropped"

        site.reload(configuration())
        progress(lives)
    assert not [life.error for life in lives if life.error]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PROGRESS_LIMIT
    while not condition():
        assert time.monotonic() < deadline, "this did not come to pass"
        time.sleep(0.05)


def progress(lives: list[LongLived]) -> None:
    """Wait until each of *lives* has had three more answers."""
    goals = [life.answers + 3 for life in lives]
    until(
        lambda: all(
            life.answers >= goal or bool(life.error)
            for life, goal in zip(lives, goals, strict=True)
        )
    )
    assert all(life.alive for life in lives), [life.error for life in lives]
