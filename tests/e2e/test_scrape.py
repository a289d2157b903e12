"""A scrape of a pair before and after a fail-over has every metric, with a sane value."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.sane_metrics import SANE, SERVERS, Director, insane
from support.scraping import Told, scrape

from lvskeeper.lab.netns import Namespace, inside
from lvskeeper.lab.pair import ECHO, PRIORITIES, VIP4, WEB
from lvskeeper.lab.survivors import PATIENCE
from lvskeeper.lab.synced import COOKIES, OVER6, SyncedPair
from lvskeeper.lab.topology import CLIENT4, real_server
from lvskeeper.observe.metric import Suite
from lvskeeper.observe.metrics import METRICS, series_of

EACH: Final = 3
KINDS: Final = ("chatty", "chatty" + OVER6, "download" + COOKIES, "UDP")
ALL: Final = dict.fromkeys(KINDS, EACH)
TRACKED_FILE: Final = "  track_file {\n    leave\n  }\n"
TCP_PORT, UDP_PORT = 90, 91
CHECKS: Final = {
    TCP_PORT: (
        ("TCP_CHECK {\n}", "PING_CHECK {\n}"),
        ("HTTP_GET {\nurl {\npath /\nstatus_code 200\n}\n}",),
        ('MISC_CHECK {\nmisc_path "/bin/true"\n}', "FILE_CHECK {\ntrack_file out\nweight 0\n}"),
    ),
    UDP_PORT: (("UDP_CHECK {\npayload 3f0a\nrequire_reply\n}",),) * SERVERS,
}
"""By port of the VIP, those of each real server."""


def checked(port: int) -> str:
    """Return a virtual server with checks."""
    protocol, real = ("TCP", WEB) if port == TCP_PORT else ("UDP", ECHO)
    servers = "".join(
        f"  real_server {real_server(number)[0]} {real} {{\n    {' '.join(checks)}\n  }}\n"
        for number, checks in enumerate(CHECKS[port], 1)
    )
    return (
        f"virtual_server {VIP4} {port} {{\n  lb_algo rr\n  lb_kind FNAT\n  protocol {protocol}\n"
        f"  laddr_group_name lips\n  delay_loop 2\n  quorum 2\n{servers}}}\n"
    )


def add_to(file: Path) -> None:
    """Let a director of the synced pair have checks, and a script that it tracks."""
    text = file.read_text()
    assert text.count(TRACKED_FILE) == 1
    text = text.replace(TRACKED_FILE, f"{TRACKED_FILE}  track_script {{\n    stay\n  }}\n")
    text += (
        "global_defs {\n  script_user nobody\n}\n"
        'vrrp_script stay {\n  script "/bin/true"\n  interval 2\n  timeout 30\n}\n'
        f"track_file out {{\n  file {file.with_suffix('.out')}\n  init_file 0\n}}\n"
    )
    file.write_text(text + "".join(map(checked, CHECKS)))


def send_wrong_ttl(client: Namespace) -> None:
    """Send an advert that seems to have come through a router."""
    advert = struct.pack("!BBBBHH", 0x31, 51, 10, 1, 100, 0) + socket.inet_aton(VIP4)
    raw = inside(client.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 112))
    with raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENT4))
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 64)
        raw.sendto(advert, ("224.0.0.18", 0))


class Site:
    def __init__(self, pair: SyncedPair) -> None:
        self.pair = pair
        for number, daemon in pair.pair.daemons.items():
            add_to(daemon.file)
            daemon.options.extend(["--web", f"unix:{self.socket(number)}"])

    def socket(self, number: int) -> Path:
        return self.pair.folder / f"web{number}"

    def director(self, number: int, *, master: bool, alone: bool = False) -> Director:
        file = self.pair.pair.daemons[number].file
        kinds = [check.split()[0] for port in CHECKS for server in CHECKS[port] for check in server]
        virtuals = file.read_text().count("virtual_server ")
        return Director(number, file, virtuals, kinds, master=master, alone=alone)

    def scrape(self, number: int) -> Told:
        return scrape(self.socket(number), "?names=keepalived,node")

    def comes_to_its_senses(self, director: Director) -> None:
        """Wait until nothing is wrong with what a director tells; some is looked at now and then.

        What is wrong still is shown.
        """
        deadline = time.monotonic() + PATIENCE
        while wrong := insane(director, self.scrape(director.number)):
            assert time.monotonic() < deadline, wrong
            time.sleep(0.5)

    def lose_a_server(self, number: int) -> None:
        """Take a server out of the table of a director, which puts it back."""
        mark = time.monotonic()
        server = f"{real_server(1)[0]}:{WEB}"
        self.pair.run(number, "ipvsadm", "-d", "-t", f"{VIP4}:{TCP_PORT}", "-r", server)
        self.pair.pair.daemons[number].wait_for("drift_repaired", since=mark, timeout=PATIENCE)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with SyncedPair(tmp_path) as pair:
        made = Site(pair)
        pair.start()
        yield made


def test_every_metric_has_bounds_of_what_is_sane_and_nothing_else_has() -> None:
    assert {metric.suite for metric in METRICS} == set(Suite)
    assert SANE.keys() == {name for metric in METRICS for name in series_of(metric)}


@pytest.mark.root
@pytest.mark.ipvs
@pytest.mark.long
@pytest.mark.timeout(600)
def test_all_metrics_are_there_and_sane_before_and_after_a_fail_over(site: Site) -> None:
    pair = site.pair
    active = pair.active
    taker = 3 - active
    send_wrong_ttl(pair.pair.lab.client)
    for number in PRIORITIES:
        site.lose_a_server(number)
    with pair.crowd(KINDS, EACH) as crowd:
        pair.knows(taker, crowd)
        site.comes_to_its_senses(site.director(active, master=True))
        site.comes_to_its_senses(site.director(taker, master=False))
        pair.destroy(active)
        pair.served_by(taker)
        assert crowd.survivors() == ALL
        with pair.crowd(KINDS, EACH):
            site.comes_to_its_senses(site.director(taker, master=True, alone=True))
