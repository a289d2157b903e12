"""The director as a user of its own with four capabilities, on a real kernel: FULLNAT, SYNPROXY."""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.asking import ask
from support.own_user import NOBODY, as_nobody
from support.waiting import wait_until

from lvskeeper.lab.netns import set_sysctls
from lvskeeper.lab.servers import Server, start_servers
from lvskeeper.lab.topology import VIPS4, VIPS6, Laboratory, Plan, real_server

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(300)]

PATIENCE = 180.0
FULLNAT4, PROXIED4 = VIPS4[:2]
FULLNAT6 = VIPS6[0]


def configuration() -> str:
    parts = ["local_address_group lips {\n  10.0.0.10-13 back\n  fd00::10-13 back\n}\n"]
    for vip, more in ((FULLNAT4, ""), (FULLNAT6, ""), (PROXIED4, "  syn_proxy\n")):
        server = real_server(1)[":" in vip]
        parts.append(
            f"virtual_server {vip} 80 {{\n  delay_loop 1\n  lb_algo rr\n  lb_kind FNAT\n"
            f"  protocol TCP\n  laddr_group_name lips\n{more}"
            f"  real_server {server} 8080 {{\n    TCP_CHECK {{\n      connect_timeout 5\n    }}\n"
            "    PING_CHECK {\n    }\n  }\n}\n"
        )
    return "".join(parts)


@dataclass
class Site:
    lab: Laboratory
    folder: Path
    process: "subprocess.Popen[str]"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def told(self, name: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory() as name,
        Laboratory(Plan(lips=False, forwarding=False)) as lab,
    ):
        folder = Path(name)
        (folder / "x.conf").write_text(configuration())
        # It has no right to load modules, and needs none: the kernel does it, or modules-load.d
        lab.director.run(["modprobe", "-a", "ip_vs", "nf_conntrack"], check=False)
        set_sysctls(lab.director.name, {"ipv4/vs/conntrack": "0", "ipv4/ip_forward": "0"})
        start_servers([Server(lab.servers[0], "rs1", http=[8080])])
        command = [
            *as_nobody(folder), sys.executable, "-m", "lvskeeper", "run", "-I", "-f",
            f"{folder}/x.conf", "--run-dir", f"{folder}/run", "--log-format", "json",
        ]  # fmt: skip
        with (folder / "log").open("w") as log:
            process = lab.director.popen(command, stderr=log)
        made = Site(lab, folder, process)
        wait_until(lambda: made.told("daemon_ready"), lambda: made.log, limit=PATIENCE, pause=0.2)
        yield made


@pytest.mark.parametrize("vip", [FULLNAT4, FULLNAT6, PROXIED4])
def test_clients_are_served(site: Site, vip: str) -> None:
    wait_until(lambda: vip in ipvs(site), lambda: site.log, limit=PATIENCE, pause=0.2)
    page = ask(site.lab.client, vip, 80)
    assert page.server == "rs1"
    assert page.peer.split("%")[0].startswith(("10.0.0.1", "fd00::1")), "not from a LIP"


def ipvs(site: Site) -> str:
    return site.lab.director.run(["ipvsadm", "-Ln"]).stdout


def test_sysctls_were_set_and_nothing_was_refused(site: Site) -> None:
    assert {line["sysctl"] for line in site.told("sysctl_set")} >= {
        "net.ipv4.vs.conntrack", "net.ipv4.ip_forward",
    }  # fmt: skip
    assert not re.search("not permitted|denied", site.log, re.IGNORECASE)
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t" in status


def test_with_i_the_table_stays_and_cleanup_takes_it_out(site: Site) -> None:
    site.process.terminate()
    assert site.process.wait(60) == 0
    # -I leaves all of it there, for a next one
    assert FULLNAT4 in ipvs(site)
    page = ask(site.lab.client, FULLNAT4, 80)
    assert page.server == "rs1"
    cleanup = [sys.executable, "-m", "lvskeeper", "cleanup", "--run-dir", f"{site.folder}/run"]
    site.lab.director.run(cleanup, timeout=PATIENCE)
    assert FULLNAT4 not in ipvs(site)
    assert "lvskeeper" not in site.lab.director.run(["nft", "list", "ruleset"]).stdout
    assert "10.0.0.10" not in site.lab.director.run(["ip", "-br", "address"]).stdout
