"""docs/take-over.md on a real kernel: from keepalived to us, and no connection ends."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.keepalived_site import PATIENCE, KeepalivedSite, keepalived_site
from support.waiting import wait_until

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.topology import VIPS4, real_server

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(300)]

VIP = VIPS4[0]
DEAD = "10.1.1.99"
"""A real server that is not there; keepalived takes it out, and so it stays."""
CONFIG = f"""
virtual_server {VIP} 80 {{
    delay_loop 2
    lb_algo wlc
    lb_kind NAT
    protocol TCP
    real_server {real_server(3)[0]} 8080 {{
        weight 1
        TCP_CHECK {{
            connect_timeout 5
        }}
    }}
    real_server {DEAD} 8080 {{
        weight 1
        TCP_CHECK {{
            connect_timeout 1
            retry 0
        }}
    }}
}}
"""


@dataclass
class Site:
    theirs: KeepalivedSite
    run_dir: Path
    client: LongLived

    @property
    def file(self) -> Path:
        return self.theirs.file

    def lvskeeper(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "lvskeeper", *arguments]
        return self.theirs.lab.director.run(command, check=False, timeout=PATIENCE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("take-over")
    with keepalived_site(folder, CONFIG, 3) as theirs:
        theirs.wait_for(lambda table: VIP in table and DEAD not in table)
        with LongLived(theirs.lab.client, VIP, 80, patience=PATIENCE) as client:
            wait_until(lambda: client.answers, lambda: client.error, limit=PATIENCE)
            yield Site(theirs, folder / "run", client)


def test_the_file_is_right(site: Site) -> None:
    assert site.lvskeeper("check", str(site.file)).returncode == 0


def test_the_plan_is_empty_beside_keepalived(site: Site) -> None:
    plan = site.lvskeeper("plan", str(site.file), "--run-dir", str(site.run_dir))
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "nothing to do" in plan.stdout


def test_doctor_tells_of_keepalived(site: Site) -> None:
    done = site.lvskeeper("doctor", "-f", str(site.file), "--run-dir", str(site.run_dir))
    assert "keepalived runs here as well" in done.stdout, done.stdout + done.stderr
    assert "mainline, FULLNAT by nftables" in done.stdout


def test_no_connection_ends_and_nothing_is_written(site: Site) -> None:
    site.theirs.stop()
    assert VIP in site.theirs.table()
    with Daemon(site.theirs.lab.director, site.file, site.run_dir) as daemon:
        ready = daemon.start()
        assert ready is not None
        assert ready.fields["operations"] == 0
        (adopted,) = daemon.events("table_adopted")
        assert (adopted.fields["services"], adopted.fields["down"]) == (1, 1)
        before = site.client.answers
        wait_until(lambda: site.client.answers > before + 3, lambda: site.client.error, limit=60)
        assert DEAD not in site.theirs.table()
        assert site.client.error == ""
        assert daemon.stop() == 0
    assert VIP not in site.theirs.table()
