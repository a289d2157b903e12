"""What runs out, and what others do to the tables: who loses what, and what the log says.

One daemon serves the module. No real server is checked. Connections of these tests are idle when
something happens to them, and speak afterwards: then nothing of them may be lost.
"""

import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from support.asking import ask

from lvskeeper.fullnat.capacity import LOST_LEAST
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.longlived import connect_in
from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import VIPS4, VIPS6, Laboratory, Plan, local_addresses, real_server

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(300),
]

LIPS: Final = frozenset(address for family in local_addresses(1) for address in family)
NARROW_LIPS: Final = frozenset({"10.0.0.30", "10.0.0.31"})
PORTS: Final = range(40000, 40010)
WARNED_AT: Final = 8
"""Connections on one LIP at which the share of its ports that makes a warning is reached."""
MANY: Final = 10
"""Idle connections of each family."""
PATIENCE: Final = 4.0
"""Seconds for a connection that is likely to fail: its SYN is sent three times."""
CONNTRACK_MAX: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")
COUNT: Final = "/proc/sys/net/netfilter/nf_conntrack_count"

CONFIGURATION: Final = f"""\
local_address_group lips {{
  10.0.0.10-13 back
  fd00::10-13 back
}}
local_address_group narrow {{
  10.0.0.30-31 back
}}
virtual_server {VIPS4[1]} 80 {{
  lb_algo rr
  lb_kind FNAT
  protocol TCP
  laddr_group_name narrow
  laddr_ports {PORTS[0]}-{PORTS[-1]}
  real_server {real_server(1)[0]} 8080 {{
    weight 1
  }}
}}
"""


def virtual_server(family: int) -> str:
    servers = "".join(
        f"  real_server {real_server(number)[family]} 8080 {{\n    weight 1\n  }}\n"
        for number in (1, 2, 3)
    )
    return (
        f"virtual_server {(VIPS4, VIPS6)[family][0]} 80 {{\n  lb_algo rr\n  lb_kind FNAT\n"
        f"  protocol TCP\n  laddr_group_name lips\n{servers}}}\n"
    )


FIREWALLD: Final = """
table inet firewalld {
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        meta l4proto { icmp, ipv6-icmp } accept
        tcp dport { 22, 80 } ct state { new, untracked } accept
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        reject with icmpx admin-prohibited
    }
    chain nat_POSTROUTING {
        type nat hook postrouting priority srcnat + 10; policy accept;
        meta nfproto ipv4 oifname "back" masquerade
    }
}
"""
DOCKER: Final = """
table ip nat {
    chain DOCKER {
        iifname "docker0" return
        tcp dport 8443 dnat to 172.17.0.2:443
    }
    chain PREROUTING {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump DOCKER
    }
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "back" masquerade
    }
}
table ip filter {
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        ct state related,established accept
        iifname "docker0" accept
    }
}
"""


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon

    def new_connections_work(self) -> None:
        for vip in (VIPS4[0], VIPS6[0]):
            assert ask(self.lab.client, vip, 80).peer in LIPS


@dataclass
class Idle:
    """Connections that have had an answer, and wait."""

    sockets: list[socket.socket] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)
    """The address and port that the server saw, by connection."""

    def open(self, site: Site, vip: str, timeout: float = 30.0) -> None:
        """Add a connection; raises ``OSError`` where there is none to be had."""
        sock = connect_in(site.lab.client, vip, 80, timeout)
        self.sockets.append(sock)
        self.seen.append(question(sock))

    def ask(self) -> list[tuple[str, int]]:
        """Ask on each once more, and return what the servers see; raises where one is lost."""
        return [question(sock) for sock in self.sockets]

    def reset(self) -> None:
        """End all by RST: nothing of them waits for a timeout of minutes."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.sockets.clear()
        self.seen.clear()


def question(sock: socket.socket) -> tuple[str, int]:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n")
    page = b""
    while b"}" not in page:
        data = sock.recv(65536)
        if not data:
            raise ConnectionResetError("the connection was closed")
        page += data
    facts = json.loads(page.partition(b"\r\n\r\n")[2])
    return facts["peer"], facts["port"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("troubles")
    file = folder / "lvskeeper.conf"
    file.write_text(CONFIGURATION + virtual_server(0) + virtual_server(1))
    with Laboratory(Plan(lips=False, forwarding=False)) as lab:
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
        with Daemon(lab.director, file, folder / "run") as daemon:
            daemon.start()
            yield Site(lab, daemon)


@pytest.fixture
def idle(site: Site) -> Iterator[Idle]:
    made = Idle()
    try:
        for vip in (VIPS4[0], VIPS6[0]):
            for _ in range(MANY):
                made.open(site, vip)
        yield made
    finally:
        made.reset()


def test_a_flushed_ruleset_is_told_with_who_did_it_and_nobody_loses(site: Site, idle: Idle) -> None:
    mark = time.monotonic()
    site.lab.director.run(["nft", "flush", "ruleset"])
    told = site.daemon.wait_for("ruleset_repaired", since=mark)
    assert "the table is missing" in told.fields["difference"]
    assert told.fields["by"].startswith("nft[")
    assert idle.ask() == idle.seen
    site.new_connections_work()


def test_connections_find_their_lip_again_after_conntrack_was_flushed(
    site: Site, idle: Idle
) -> None:
    for _ in range(LOST_LEAST):  # IPVS remembers them for a while, and so does conntrack
        ask(site.lab.client, VIPS4[0], 80, timeout=PATIENCE)
    mark = time.monotonic()
    site.lab.director.run(["conntrack", "-F"])
    told = site.daemon.wait_for("conntrack_lost", since=mark)
    assert told.fields["connections"] >= LOST_LEAST
    assert idle.ask() == idle.seen, "the same LIP and port, or the server would reset"
    site.new_connections_work()


def test_connections_outlive_a_flush_of_the_ipvs_table(site: Site, idle: Idle) -> None:
    mark = time.monotonic()
    site.lab.director.run(["ipvsadm", "-C"])
    told = site.daemon.wait_for("drift_repaired", since=mark)
    assert told.fields["differences"] == 3 + 3 + 3 + 1, "three services and their servers"
    assert idle.ask() == idle.seen
    site.new_connections_work()


def test_a_full_conntrack_table_is_told_and_costs_new_connections_only(
    site: Site, idle: Idle
) -> None:
    site.lab.director.run(["conntrack", "-F"])
    assert idle.ask() == idle.seen
    usual = CONNTRACK_MAX.read_text()
    there = site.lab.director.run(["cat", COUNT]).stdout.strip()
    mark = time.monotonic()
    CONNTRACK_MAX.write_text(there)
    try:
        with pytest.raises(TimeoutError):
            ask(site.lab.client, VIPS4[0], 80, timeout=PATIENCE)
        assert idle.ask() == idle.seen
        told = site.daemon.wait_for("conntrack_full", since=mark)
    finally:
        CONNTRACK_MAX.write_text(usual)
    assert told.fields["limit"] == int(there)
    assert told.fields["failures"] >= 1
    site.new_connections_work()
    assert idle.ask() == idle.seen
    relieved = site.daemon.wait_for("conntrack_relieved", since=told.seen)
    assert relieved.fields["was"] == "full"


def test_the_rules_of_firewalld_and_docker_beside_ours_work_and_stay(
    site: Site, idle: Idle
) -> None:
    director, rules = site.lab.director, FIREWALLD + DOCKER
    names = [line.removesuffix(" {") for line in rules.splitlines() if line.startswith("table")]
    director.run(["nft", "-f", "-"], input_text=rules)
    try:
        theirs = [director.run(["nft", "list", *name.split()]).stdout for name in names]
        site.new_connections_work()
        assert idle.ask() == idle.seen
        mark = site.daemon.reload()
        site.daemon.wait_for("reload_applied", since=mark, timeout=90)
        assert [director.run(["nft", "list", *name.split()]).stdout for name in names] == theirs
        site.new_connections_work()
    finally:
        for name in names:
            director.run(["nft", "delete", *name.split()])
    assert idle.ask() == idle.seen
    site.new_connections_work()


def test_a_pool_warns_before_its_first_failure_and_tells_its_end(site: Site) -> None:
    vip, mark = VIPS4[1], time.monotonic()
    idle = Idle()
    try:
        while fullest(idle) < WARNED_AT:
            idle.open(site, vip)
        nearly = site.daemon.wait_for("pool_nearly_full", since=mark, pool="narrow")
        with pytest.raises(TimeoutError):
            open_on(site, vip, idle)
        assert fullest(idle) == len(PORTS), "none failed while its LIP had a port"
        assert {peer for peer, _ in idle.seen} == NARROW_LIPS
        assert {port for _, port in idle.seen} <= set(PORTS)
        told = site.daemon.wait_for("pool_exhausted", since=nearly.seen, pool="narrow")
        assert told.fields["capacity"] == 2 * len(PORTS)
        assert told.fields["failures"] >= 1
        assert idle.ask() == idle.seen, "those that are there go on"
    finally:
        idle.reset()
    relieved = site.daemon.wait_for("pool_relieved", since=told.seen, timeout=90, pool="narrow")
    assert relieved.fields["was"] == "exhausted"
    assert ask(site.lab.client, vip, 80).peer in NARROW_LIPS


def open_on(site: Site, vip: str, idle: Idle) -> None:
    """Open connections until one fails; by chance they may fit in to the last port before."""
    while len(idle.seen) <= 2 * len(PORTS):
        idle.open(site, vip, PATIENCE)


def fullest(idle: Idle) -> int:
    """Return how many connections the LIP with most of them has."""
    return max(Counter(peer for peer, _ in idle.seen).values(), default=0)
