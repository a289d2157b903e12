"""The daemon on a real kernel, under continuous requests: FULLNAT without a way back for servers.

One daemon serves the whole module; each test leaves the table as it found it.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.servers import Server, nginx_server, start_servers
from lvskeeper.lab.topology import (
    BACK,
    VIPS4,
    VIPS6,
    Laboratory,
    Plan,
    local_addresses,
    real_server,
)
from lvskeeper.lab.traffic import Counts, Traffic

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.timeout(300)]

LIPS4, LIPS6 = local_addresses(1)
OTHER_LIP = "10.0.0.30"
SERVERS = (1, 2, 3)


def virtual_server(
    family: int,
    *,
    vip: str,
    port: int,
    protocol: str = "TCP",
    pool: str = "lips",
    weights: tuple[int, ...] = (1, 1, 1),
    check: str = "TCP_CHECK {\n }",
) -> str:
    rip_port = 53 if protocol == "UDP" else 8080
    servers = "".join(
        f"  real_server {real_server(number)[family]} {rip_port} {{\n"
        f"    weight {weight}\n    {check}\n  }}\n"
        for number, weight in zip(SERVERS, weights, strict=False)
    )
    return (
        f"virtual_server {vip} {port} {{\n"
        f"  delay_loop 1\n  lb_algo wrr\n  lb_kind FNAT\n  protocol {protocol}\n"
        f"  laddr_group_name {pool}\n  connect_timeout 1\n  retry 1\n"
        f"  delay_before_retry 0.3\n{servers}}}\n"
    )


HTTP_CHECK = "HTTP_GET {\n url {\n path /\n status_code 200\n }\n }"
UDP_CHECK = "TCP_CHECK {\n connect_port 8081\n }"


def configuration(*, weights: tuple[int, ...] = (1, 1, 1), extra: str = "") -> str:
    return "".join(
        (
            "local_address_group lips {\n  10.0.0.10-13 back\n  fd00::10-13 back\n}\n",
            f"local_address_group other {{\n  {OTHER_LIP} back\n}}\n",
            virtual_server(0, vip=VIPS4[0], port=80, weights=weights, check=HTTP_CHECK),
            virtual_server(1, vip=VIPS6[0], port=80),
            virtual_server(0, vip=VIPS4[0], port=53, protocol="UDP", check=UDP_CHECK),
            virtual_server(1, vip=VIPS6[0], port=53, protocol="UDP", check=UDP_CHECK),
            virtual_server(0, vip=VIPS4[1], port=80, pool="other"),
            extra,
        )
    )


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon
    helpers: list[Server]

    def rules(self) -> list[str]:
        """The kernel's table, by netlink, as ipvsadm saves it."""
        return sorted(self.lab.director.run(["ipvsadm", "-Sn"]).stdout.splitlines())

    def reload(self, text: str) -> None:
        self.daemon.file.write_text(text)
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark, timeout=60)

    def traffic(self, url: str = f"http://{VIPS4[0]}/", *, rate: float = 10) -> Traffic:
        return Traffic(self.lab.client, url, rate=rate)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("director")
    file = folder / "lvskeeper.conf"
    file.write_text(configuration())
    with Laboratory(Plan(lips=False, forwarding=False)) as lab:
        helpers = []
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
            helpers.append(Server(space, f"rs{number}", http=[8081], udp=[53]))
        start_servers(helpers)
        with Daemon(lab.director, file, folder / "run") as daemon:
            daemon.start()
            yield Site(lab, daemon, helpers)


def served(traffic: Traffic, *, enough: int = 30, since: float = float("-inf")) -> Counts:
    """Wait for *enough* requests that reached all servers."""
    return traffic.wait_for(
        lambda seen: seen.sent >= enough and len(seen.servers) == len(SERVERS), 60, since=since
    )


@pytest.mark.parametrize(
    ("url", "lips"),
    [
        (f"http://{VIPS4[0]}/", LIPS4),
        (f"http://[{VIPS6[0]}]/", LIPS6),
        (f"udp://{VIPS4[0]}:53", LIPS4),
        (f"udp://[{VIPS6[0]}]:53", LIPS6),
    ],
    ids=["tcp4", "tcp6", "udp4", "udp6"],
)
def test_servers_see_only_lips(site: Site, url: str, lips: tuple[str, ...]) -> None:
    with site.traffic(url) as traffic:
        counts = served(traffic)
    assert counts.failed == 0
    assert set(counts.peers) <= set(lips)
    assert len(counts.peers) > 1, "the pool is spread over"


@pytest.mark.long
def test_two_virtual_servers_with_their_own_pools_share_real_servers(site: Site) -> None:
    with site.traffic(f"http://{VIPS4[1]}/") as traffic:
        counts = served(traffic)
    assert counts.failed == 0
    assert set(counts.peers) == {OTHER_LIP}


@pytest.mark.long
def test_a_weight_is_edited_in_place_under_traffic(site: Site) -> None:
    before = site.rules()
    with site.traffic() as traffic, LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        served(traffic)
        site.reload(configuration(weights=(1, 1, 0)))
        mark = traffic.mark()
        drained = traffic.wait_for(lambda seen: seen.sent >= 30, 60, since=mark)
        site.reload(configuration())
        mark = traffic.mark()
        served(traffic, since=mark)
        counts = traffic.stop()
    assert counts.failed == 0, counts
    assert "rs3" not in drained.servers
    assert survivor.alive, survivor.error
    assert site.rules() == before


@pytest.mark.long
def test_services_come_and_go_without_touching_others(site: Site) -> None:
    before = site.rules()
    extra = virtual_server(0, vip=VIPS4[2], port=80, pool="other")
    with site.traffic() as traffic, LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        served(traffic)
        site.reload(configuration(extra=extra))
        with site.traffic(f"http://{VIPS4[2]}/") as added:
            served(added)
        site.reload(configuration())
        served(traffic, since=traffic.mark())
        counts = traffic.stop()
    assert counts.failed == 0, counts
    assert survivor.alive, survivor.error
    assert site.rules() == before


@pytest.mark.long
def test_a_drained_server_is_removed_without_a_failed_request(site: Site) -> None:
    before = site.rules()
    with site.traffic() as traffic:
        served(traffic)
        site.reload(configuration(weights=(1, 1, 0)))
        traffic.wait_for(lambda seen: seen.sent >= 20, 60, since=traffic.mark())
        site.reload(configuration(weights=(1, 1)))
        traffic.wait_for(lambda seen: seen.sent >= 20, 60, since=traffic.mark())
        site.reload(configuration())
        served(traffic, since=traffic.mark())
        counts = traffic.stop()
    assert counts.failed == 0, counts
    assert site.rules() == before


def test_a_refused_file_changes_nothing(site: Site) -> None:
    before, noise = site.rules(), site.daemon.noise
    with site.traffic() as traffic:
        site.daemon.file.write_text(configuration().replace("lb_algo wrr", "lb_algo wr", 1))
        mark = site.daemon.reload()
        refused = site.daemon.wait_for("reload_refused", since=mark, timeout=60)
        site.daemon.file.write_text(configuration())
        served(traffic)
        counts = traffic.stop()
    assert refused.fields["errors"] == 1
    assert "lvskeeper.conf:" in refused.fields["first"]
    assert "hint:" in site.daemon.noise.removeprefix(noise)
    assert counts.failed == 0, counts
    assert site.rules() == before


def test_a_dead_server_leaves_and_returns(site: Site) -> None:
    before = site.rules()
    mark = time.monotonic()
    site.helpers[0].kill()
    down = site.daemon.wait_for("real_server_down", since=mark, virtual_server=f"udp {VIPS4[0]}:53")
    assert down.fields["phase"] == "connect"
    assert down.fields["reason"] == "connection refused"
    with site.traffic(f"udp://{VIPS4[0]}:53") as traffic:
        counts = traffic.wait_for(lambda seen: seen.sent >= 20, 60)
    assert counts.failed == 0
    assert set(counts.servers) == {"rs2", "rs3"}
    mark = time.monotonic()
    site.helpers[0].start()
    for family in (VIPS4[0], f"[{VIPS6[0]}]"):
        site.daemon.wait_for("real_server_up", since=mark, virtual_server=f"udp {family}:53")
    deadline = time.monotonic() + 10
    while site.rules() != before:
        assert time.monotonic() < deadline, "the server does not return to the table"


def test_a_flushed_table_is_back_within_a_second(site: Site) -> None:
    before = site.rules()
    with site.traffic() as traffic, LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        served(traffic)
        mark = time.monotonic()
        site.lab.director.run(["ipvsadm", "-C"])
        flushed = time.monotonic()
        repaired = site.daemon.wait_for("drift_repaired", since=mark)
        served(traffic, since=repaired.seen)
        counts = traffic.since(repaired.seen)
    assert repaired.seen - flushed < 1.0
    assert repaired.fields["differences"] == len(before)
    assert counts.failed == 0, counts
    assert survivor.alive, survivor.error
    assert site.rules() == before


@pytest.mark.long
def test_one_edit_by_hand_is_named_and_mended(site: Site) -> None:
    before = site.rules()
    rip = f"{real_server(1)[0]}:8080"
    mark = time.monotonic()
    site.lab.director.run(["ipvsadm", "-e", "-t", f"{VIPS4[0]}:80", "-r", rip, "-m", "-w", "7"])
    repaired = site.daemon.wait_for("drift_repaired", since=mark)
    assert repaired.fields["repaired"] == (f"set weight 7 -> 1 of {rip} in tcp {VIPS4[0]}:80")
    assert site.rules() == before


@pytest.mark.long
def test_a_flushed_ruleset_is_back_and_connections_never_noticed(site: Site) -> None:
    with LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        mark = time.monotonic()
        site.lab.director.run(["nft", "flush", "ruleset"])
        site.daemon.wait_for("ruleset_repaired", since=mark)
        with site.traffic() as traffic:
            counts = served(traffic)
    assert survivor.alive, survivor.error
    assert counts.failed == 0, counts
    assert set(counts.peers) <= set(LIPS4)


def test_foreign_services_and_tables_are_left_alone(site: Site) -> None:
    foreign = "-A -t 203.0.113.1:80 -s rr"
    site.lab.director.run(["ipvsadm", *foreign.split()])
    site.lab.director.run(["nft", "add", "table", "inet", "somebody"])
    try:
        site.reload(configuration(weights=(2, 1, 1)))
        site.reload(configuration())
        assert foreign in site.rules()
        assert "inet somebody" in site.lab.director.run(["nft", "list", "tables"]).stdout
    finally:
        site.lab.director.run(["ipvsadm", "-D", "-t", "203.0.113.1:80"])
        site.lab.director.run(["nft", "delete", "table", "inet", "somebody"])


def planned(output: str) -> list[str]:
    return [line for line in output.splitlines() if not line.startswith("note: ")]


@pytest.mark.long
def test_plan_says_that_there_is_nothing_to_do(site: Site) -> None:
    done = site.lab.director.run(
        [".venv/bin/lvskeeper", "plan", str(site.daemon.file)], check=False
    )
    assert planned(done.stdout) == ["nothing to do: the kernel is as configured"]
    assert done.returncode == 0


@pytest.mark.long
def test_plan_names_the_changes_and_their_impact(site: Site, tmp_path: Path) -> None:
    changed = tmp_path / "changed.conf"
    changed.write_text(configuration(weights=(5, 1)))
    done = site.lab.director.run([".venv/bin/lvskeeper", "plan", str(changed)], check=False)
    assert done.returncode == 1
    rs1, rs3 = (f"{real_server(number)[0]}:8080" for number in (1, 3))
    assert planned(done.stdout) == [
        f"set weight 1 -> 5 of {rs1} in tcp {VIPS4[0]}:80  [in place]",
        f"delete destination {rs3} of tcp {VIPS4[0]}:80  [affects connections]",
        "2 changes: 1 in place, 1 affects connections",
    ]


def test_a_killed_director_is_replaced_and_nobody_notices(site: Site) -> None:
    before = site.rules()
    with site.traffic() as traffic, LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        served(traffic)
        mark = time.monotonic()
        site.lab.director.run(["kill", "-9", str(site.daemon.pids[1])])
        site.daemon.wait_for("role_died", since=mark)
        site.daemon.wait_for("table_adopted", since=mark, timeout=60)
        served(traffic, since=traffic.mark())
        counts = traffic.stop()
    assert counts.failed == 0, counts
    assert survivor.alive, survivor.error
    assert site.rules() == before


@pytest.mark.parametrize("what", ["everything", pytest.param("supervisor", marks=pytest.mark.long)])
def test_a_killed_daemon_is_started_again_and_nobody_notices(site: Site, what: str) -> None:
    before = site.rules()
    with site.traffic() as traffic, LongLived(site.lab.client, VIPS4[0], 80) as survivor:
        served(traffic)
        if what == "everything":
            site.daemon.kill()
        else:
            site.daemon.kill_supervisor()
        mark = time.monotonic()
        ready = site.daemon.start()
        served(traffic, since=traffic.mark())
        counts = traffic.stop()
        told = [event.name for event in site.daemon.told if event.seen >= mark]
    assert ready is not None
    assert ready.fields["operations"] == 0
    assert "fullnat_applied" not in told, "the ruleset was adopted too"
    assert counts.failed == 0, counts
    assert survivor.alive, survivor.error
    assert site.rules() == before


def test_a_clean_stop_takes_away_what_is_ours(site: Site) -> None:
    assert site.daemon.stop() == 0
    assert site.rules() == []
    assert "lvskeeper" not in site.lab.director.run(["nft", "list", "tables"]).stdout
    addresses = site.lab.director.run(["ip", "-o", "address", "show", "dev", BACK]).stdout
    assert not re.search(r" 10\.0\.0\.1\d/32 | fd00::1\d/128 ", addresses)
    site.daemon.start()
    with site.traffic() as traffic:
        assert served(traffic).failed == 0
