"""Changes at noon: random ones by reload, deaths by kill -9, drains and overrides, under requests.

Nothing that the clients ask for may fail, and after every step the kernel's table is the one that
a model in here says. The seed is printed; ``LVSKEEPER_SEED``, ``LVSKEEPER_CHANGES`` and
``LVSKEEPER_KILLS`` choose another run. An emulated machine needs some 8 s for a reload and 20 for
a start, so that several changes share a reload.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import pytest
from support.changes import Model, Place, Table

from lvskeeper.cli.client import Client
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import BACK, VIPS4, Laboratory, Plan, real_server
from lvskeeper.lab.traffic import Traffic
from lvskeeper.observe.snapshot import ReloadView
from lvskeeper.observe.views import OverridesView

SEED: Final = int(os.environ.get("LVSKEEPER_SEED", "20261127"))
CHANGES: Final = int(os.environ.get("LVSKEEPER_CHANGES", "500"))
KILLS: Final = int(os.environ.get("LVSKEEPER_KILLS", "5"))
pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(max(1500, 60 * KILLS)),
]

SHARE: Final = 50
"""Changes that share a reload."""
MOMENTS: Final = ("at rest", "amid a start", "amid a reload", "the role alone", "at rest")
"""When kills come, in turn; of odd length, since every second kill is the supervisor's alone."""
SERVERS: Final = (0, 1, 2)
PLACE: Final = Place(
    VIPS4[0], VIPS4[1], tuple((real_server(number)[0], 8080) for number in (1, 2, 3)), BACK
)
LIMIT: Final = 120.0


def tell(text: str) -> None:
    """Write a line into the test's output, which is shown where it fails."""
    sys.stdout.write(f"{text}\n")


@dataclass
class Site:
    lab: Laboratory
    daemon: Daemon
    model: Model

    @property
    def client(self) -> Client:
        return Client(self.daemon.run_dir)

    def table(self) -> Table:
        """Return the kernel's table, as ipvsadm reads it."""
        found: Table = {}
        for line in self.lab.director.run(["ipvsadm", "-Sn"]).stdout.splitlines():
            service = re.match(r"-A -t (\S+) -s (\S+)(?: -p (\d+))?", line)
            if service:
                found[service[1]] = (service[2], int(service[3] or 0), {})
            elif server := re.match(r"-a -t (\S+) -r (\S+) -m -w (\d+)", line):
                found[server[1]][2][server[2]] = int(server[3])
            else:
                pytest.fail(f"not understood: {line}")
        return found

    def reload(self) -> ReloadView:
        self.daemon.file.write_text(self.model.text())
        view = self.client.post("/reload", {}, ReloadView, LIMIT)
        assert view.applied, view
        assert view.refused == 0
        assert self.table() == self.model.table()
        return view

    def order(self, action: str, number: int, **fields: object) -> None:
        asked = {"action": action, "server": self.model.server(number), **fields}
        asked["virtual_servers"] = [f"{VIPS4[0]}:80"]
        self.client.post("/overrides", asked, OverridesView)

    def start(self) -> None:
        """Start a dead daemon; what it finds is what it wants."""
        before = self.table()
        mark = time.monotonic()
        self.daemon.start()
        assert self.table() == self.model.table()
        if before == self.model.table():
            ready = self.daemon.wait_for("daemon_ready", since=mark)
            assert ready.fields["operations"] == 0, "adopted as it was"
        path = self.daemon.run_dir / "control.sock"
        deadline = time.monotonic() + LIMIT
        while self.daemon.events("daemon_ready", since=mark) and not self._answers():
            assert time.monotonic() < deadline, f"nobody answers at {path}"
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            self.client.get("/overrides", OverridesView)
        except Exception:  # noqa: BLE001 - it is asked again, until the time is over
            return False
        return True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("change")
    model = Model(PLACE, Random(SEED))
    tell(f"seed {SEED}, {CHANGES} changes, {KILLS} kills")
    file = folder / "lvskeeper.conf"
    file.write_text(model.text())
    with Laboratory(Plan(lips=False, forwarding=False)) as lab:
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, folder / f"nginx{number}")
        with Daemon(lab.director, file, folder / "run") as daemon:
            it = Site(lab, daemon, model)
            it.start()
            yield it


@pytest.fixture
def traffic(site: Site) -> Iterator[Traffic]:
    """Requests from begin to end of a test, of which none may fail."""
    with Traffic(site.lab.client, f"http://{VIPS4[0]}/", rate=4, timeout=20.0) as requests:
        requests.wait_for(lambda seen: seen.sent >= 5, LIMIT)
        yield requests
        last = requests.counts.sent
        requests.wait_for(lambda seen: seen.sent >= last + 10, LIMIT)
    counts = requests.counts
    tell(str(counts))
    for failure in requests.failures:
        tell(f"{failure}; the daemon about then:")
        for event in site.daemon.events(since=failure.started - 1):
            if event.seen <= failure.ended + 1:
                tell(f"  {event.seen:.3f} {event.name} {dict(event.fields)}")
    assert counts.failed == 0, counts


@pytest.mark.usefixtures("traffic")
def test_random_changes_leave_the_table_as_desired_and_no_request_fails(site: Site) -> None:
    began = site.model.text()
    first = site.table()
    started = time.monotonic()
    done = reloads = 0
    while done < CHANGES:
        for _ in range(min(SHARE, CHANGES - done)):
            site.model.change()
            done += 1
        site.reload()
        reloads += 1
    tell(f"{done} changes, {reloads} reloads in {time.monotonic() - started:.0f} s")
    site.daemon.file.write_text(began)
    assert site.client.post("/reload", {}, ReloadView, LIMIT).applied
    assert site.table() == first, "A, B, ..., A restores the table"
    site.reload()


def test_drains_and_weights_hold_over_reloads_and_no_request_fails(
    site: Site, traffic: Traffic
) -> None:
    for number in SERVERS:
        site.order("drain", number, deadline_seconds=600)
        table = site.table()[f"{VIPS4[0]}:80"][2]
        assert table[site.model.server(number)] == 0
        mark = traffic.mark()
        counts = traffic.wait_for(lambda seen: seen.sent >= 8, LIMIT, since=mark)
        assert f"rs{number + 1}" not in counts.servers, "no new connection"
        # What the closed connections leave waits two minutes for its end; the test does not
        site.order("drain", number, deadline_seconds=0)
        site.daemon.wait_for("drain_ended", since=mark, timeout=LIMIT)
        site.model.drained.add(number)
        site.model.change()
        site.reload()
        site.order("undrain", number)
        site.model.drained.discard(number)
        site.order("weight", number, weight=5)
        site.model.ordered[number] = 5
        site.model.change()
        site.reload()
        site.order("undrain", number)
        del site.model.ordered[number]
        assert site.table() == site.model.table()


@pytest.mark.usefixtures("traffic")
def test_kills_at_any_point_cut_nothing(site: Site) -> None:
    # Not a drain: that would end meanwhile, with its last connection.
    site.order("weight", 0, weight=0)
    site.order("weight", 1, weight=7)
    site.model.ordered |= {0: 0, 1: 7}
    for turn in range(KILLS):
        before = site.table()
        moment = MOMENTS[turn % len(MOMENTS)]
        tell(f"kill {turn + 1} of {KILLS}: {moment}")
        if moment == "the role alone":
            mark = time.monotonic()
            site.daemon.end(site.daemon.role("director"))
            site.daemon.wait_for("role_revived", since=mark, timeout=LIMIT)
            assert site.table() == before
            continue
        if moment == "amid a reload":
            for _ in range(SHARE):
                site.model.change()
            site.daemon.file.write_text(site.model.text())
            site.daemon.reload()
            time.sleep(site.model.dice.uniform(0, 10))
        if turn % 2:
            site.daemon.kill_supervisor()
        else:
            site.daemon.kill()
        if moment == "amid a start":
            site.daemon.start(wait=False)
            time.sleep(site.model.dice.uniform(0, 20))
            site.daemon.kill()
        if moment != "amid a reload":
            assert site.table() == before, "the dead touch nothing"
        site.start()
    for number in (0, 1):
        site.order("undrain", number)
    site.model.ordered.clear()
    assert site.table() == site.model.table()
