"""The kernel's IPVS sync daemon, driven by the state of a VRRP instance."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.topology import FRONT, Laboratory, Plan

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

ROUTER = f"""
vrrp_instance VI_1 {{
    interface {FRONT}
    virtual_router_id 51
    version 3
    advert_int 0.2
    priority 150
    virtual_ipaddress {{
        192.0.2.77/32
    }}
}}
"""
FOLLOWS = f"global_defs {{\n    lvs_sync_daemon {FRONT} VI_1\n}}\n"
ALONE = f"global_defs {{\n    lvs_sync_daemon {FRONT} id 7\n}}\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with Laboratory(Plan(lips=False)) as made:
        yield made


def daemons(lab: Laboratory) -> list[str]:
    """Return what ipvsadm says of sync daemons, without its heading."""
    listing = lab.director.run(["ipvsadm", "--list", "--daemon"]).stdout
    return [line.split(" (")[0] + " " + line.split("syncid=")[1].split(",")[0].rstrip(")")
            for line in listing.splitlines() if "syncid=" in line]  # fmt: skip


def until_daemons(lab: Laboratory, expected: list[str]) -> None:
    deadline = time.monotonic() + 60
    while (found := sorted(daemons(lab))) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_it_sends_as_long_as_its_instance_is_master(lab: Laboratory, tmp_path: Path) -> None:
    file = tmp_path / "sync.conf"
    file.write_text(FOLLOWS + ROUTER)
    with Daemon(lab.director, file, tmp_path / "run") as daemon:
        daemon.start()
        until_daemons(lab, ["master sync daemon 51"])
        told = [
            (event.fields["direction"], event.fields["change"])
            for event in daemon.told
            if event.name == "sync_daemon_changed"
        ]
        assert told == [("backup", "started"), ("backup", "stopped"), ("master", "started")]

        for text, expected in (
            (ALONE + ROUTER, ["backup sync daemon 7", "master sync daemon 7"]),
            (ROUTER, []),
            (ALONE + ROUTER, ["backup sync daemon 7", "master sync daemon 7"]),
        ):
            file.write_text(text)
            mark = daemon.reload()
            daemon.wait_for("reload_applied", since=mark)
            assert sorted(daemons(lab)) == expected
        assert daemon.stop() == 0
    assert daemons(lab) == []
