"""Clients that come while a scheduler is changed: with the hush of the director none is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import VIPS4, Laboratory, Plan, real_server
from lvskeeper.lab.traffic import Counts, Traffic

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.timeout(600)]

VIP: Final = f"{VIPS4[0]}:80"
CHANGES: Final = 40
"""Without a hush one in three changes, or more, meets one of the 20 requests a second."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    folder = tmp_path_factory.mktemp("reschedule")
    with Laboratory(Plan(lips=False)) as made:
        rules = ["-A", "-t", VIP, "-s", "rr"]
        made.director.run(["ipvsadm", *rules])
        for number, space in enumerate(made.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
            server = f"{real_server(number)[0]}:8080"
            made.director.run(["ipvsadm", "-a", "-t", VIP, "-r", server, "-m"])
        made.director.run(["sysctl", "-q", "-w", "net.ipv4.vs.conntrack=1"])
        chain = (
            "add table ip back; add chain ip back out { type nat hook postrouting priority 100; }"
        )
        made.director.run(["nft", f"{chain}; add rule ip back out masquerade"])
        yield made


def counts_of(lab: Laboratory, *hush: str) -> Counts:
    """Return what became of requests during the changes."""
    with Traffic(lab.client, f"http://{VIP}/", rate=20, timeout=20.0) as requests:
        requests.wait_for(lambda seen: seen.sent >= 20, 60)
        changes = [sys.executable, "-m", "support.rescheduler", str(CHANGES), *hush]
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        assert lab.director.popen(changes, env=path).wait(300) == 0
        last = requests.counts.sent
        requests.wait_for(lambda seen: seen.sent >= last + 20, 60)
    return requests.counts


@pytest.mark.long
def test_without_a_hush_clients_are_refused(lab: Laboratory) -> None:
    counts = counts_of(lab)
    assert counts.failed >= 3, counts
    assert all("Errno 111" in error for error in counts.errors), counts


def test_in_a_hush_none_is(lab: Laboratory) -> None:
    counts = counts_of(lab, "hush")
    assert counts.failed == 0, counts
    assert lab.director.run(["nft", "list", "tables"]).stdout == "table ip back\n"
