"""500 changes by reload, 50 deaths by kill -9, drains: the table is as desired after each.

A whole daemon with all its processes; only the IPVS table is one in memory, in the test's process,
so that it outlives them. At every single command it looks whether the virtual server that is asked
goes on: it must be there at any time, and have a server that takes new connections. The seed is
printed; ``LVSKEEPER_SEED``, ``_CHANGES``, ``_SHARE`` and ``_KILLS`` choose another run. The
same under requests, on a real kernel, is tests/e2e/test_change.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest
from support.changes import Model, Place, Table
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace
from support.table_server import TableServer
from support.waiting import wait_until

from lvskeeper.cli.client import Client
from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.ipvs.types import DestKey, Family, Protocol, ServiceKey
from lvskeeper.observe.snapshot import ReloadView, Snapshot
from lvskeeper.observe.views import OverridesView
from lvskeeper.units import format_address, parse_address

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(3000)]

SEED: Final = int(os.environ.get("LVSKEEPER_SEED", "20261127"))
CHANGES: Final = int(os.environ.get("LVSKEEPER_CHANGES", "500"))
KILLS: Final = int(os.environ.get("LVSKEEPER_KILLS", "50"))
SHARE: Final = int(os.environ.get("LVSKEEPER_SHARE", "5"))
"""Changes that share a reload."""
LIMIT: Final = 60.0
PORTS: Final = (8091, 8092, 8093)
PLACE: Final = Place("198.51.100.1", "198.51.100.2", tuple(("127.0.0.1", port) for port in PORTS))
ASKED: Final = ServiceKey(Family.INET, Protocol.TCP, parse_address(PLACE.vip), 80)


class Watched(FakeIpvs):
    """A table that looks after every command whether the virtual server that is asked goes on."""

    def __init__(self) -> None:
        super().__init__(MAINLINE)
        self.idle = 0
        self.complaints: list[str] = []
        self.born = False

    def handle(self, request: bytes) -> int:
        code = super().handle(request)
        entry = self.table.get(ASKED)
        serving = entry and any(one.weight > 0 for one in entry.destinations.values())
        self.born = self.born or bool(serving)
        if self.born and not serving:
            self.complaints.append(f"after command {request[16]}: {entry}")
        return code


class Site:
    """A daemon, its kernel, and the model of what it is to have there."""

    def __init__(self, folder: Path, server: TableServer) -> None:
        self.file = folder / "lvskeeper.conf"
        self.run_dir = folder / "run"
        self.server = server
        self.model = Model(PLACE, Random(SEED))
        self.client = Client(self.run_dir)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def kernel(self) -> FakeIpvs:
        return self.server.kernel

    def table(self) -> Table:
        with self.server.lock:
            held = self.kernel.table
        return {
            f"{format_address(key.address)}:{key.port}": (
                entry.service.scheduler,
                entry.service.persistence,
                {str(dest): one.weight for dest, one in entry.destinations.items()},
            )
            for key, entry in held.items()
        }

    def start(self) -> None:
        self.file.write_text(self.model.text())
        arguments = [sys.executable, "-m", "support.on_table", str(self.server.path), "run"]
        arguments += ["-f", str(self.file), "--run-dir", str(self.run_dir)]
        tests = Path(__file__).parents[1]
        with (self.file.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                arguments,
                env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"},
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.is_there, self.log, limit=LIMIT, pause=0.05)
        assert self.table() == self.model.table()

    def is_there(self) -> bool:
        """Return whether this very process answers."""
        try:
            seen = self.client.snapshot()
        except OperatorError:
            return False
        return self.process is not None and seen.daemon.pid == self.process.pid

    def log(self) -> str:
        return (self.file.parent / "log").read_text()[-4000:]

    def reload(self) -> None:
        self.file.write_text(self.model.text())
        view = self.client.post("/reload", {}, ReloadView, LIMIT)
        assert view.applied, view
        assert self.table() == self.model.table()

    def order(self, action: str, number: int, **fields: object) -> None:
        asked = {"action": action, "server": self.model.server(number), **fields}
        asked["virtual_servers"] = [f"{PLACE.vip}:80"]
        self.client.post("/overrides", asked, OverridesView)

    def director(self) -> int:
        """Return the pid of the director role."""
        seen = self.client.get("/snapshot", Snapshot)
        (pid,) = (role.pid for role in seen.daemon.roles if role.name == "director")
        assert pid is not None
        return pid

    def kill(self, *, whole: bool) -> None:
        """Kill all processes at once, or the supervisor alone, which the others follow."""
        assert self.process is not None
        if whole:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(LIMIT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    sys.stdout.write(f"\nseed {SEED}, {CHANGES} changes, {KILLS} kills\n")
    folder = tmp_path_factory.mktemp("noon")
    echo = "import socketserver as s, sys, threading as t\n" + "".join(
        f"t.Thread(target=s.TCPServer(('127.0.0.1', {port}), s.BaseRequestHandler).serve_forever)"
        ".start()\n"
        for port in PORTS
    )
    with (
        empty_namespace(),
        TableServer(Watched(), folder / "kernel") as server,
        subprocess.Popen([sys.executable, "-c", echo]) as servers,
    ):
        it = Site(folder, server)
        try:
            it.start()
            yield it
        finally:
            servers.kill()
            it.kill(whole=True)


@pytest.fixture(autouse=True)
def unnoticed(site: Site) -> Iterator[None]:
    """Nobody who asks may find nobody, at any time of a test."""
    yield
    assert isinstance(site.kernel, Watched)
    assert site.kernel.complaints == []
    assert "Traceback" not in site.log()


def test_after_each_of_many_reloads_the_table_is_as_desired(site: Site) -> None:
    first, began = site.table(), site.model.text()
    started = time.monotonic()
    for turn in range(CHANGES):
        site.model.change()
        if turn % SHARE == SHARE - 1:
            site.reload()
    sys.stdout.write(f"\n{CHANGES // SHARE} reloads in {time.monotonic() - started:.0f} s\n")
    site.file.write_text(began)
    assert site.client.post("/reload", {}, ReloadView, LIMIT).applied
    assert site.table() == first, "A, B, ..., A restores the table"
    site.reload()


def test_drains_and_weights_hold_over_reloads(site: Site) -> None:
    for number in range(len(PORTS)):
        address, port = PLACE.servers[number]
        key = DestKey(parse_address(address), port)
        site.kernel.active[key] = 3
        site.order("drain", number)
        site.model.ordered[number] = 0
        site.model.change()
        site.reload()
        site.kernel.active[key] = 0
        site.model.drained.add(number)
        wait_until(lambda: site.table() == site.model.table(), "it stays in the table")
        site.model.change()
        site.reload()
        site.model.drained.discard(number)
        site.model.ordered[number] = 5
        site.order("weight", number, weight=5)
        site.model.change()
        site.reload()
        site.order("undrain", number)
        del site.model.ordered[number]
        assert site.table() == site.model.table()


def test_kills_at_any_point_change_nothing_and_the_next_start_goes_on(site: Site) -> None:
    site.order("drain", 0)
    site.order("weight", 1, weight=7)
    site.kernel.active[DestKey(parse_address("127.0.0.1"), PORTS[0])] = 3
    site.model.ordered |= {0: 0, 1: 7}
    assert site.process is not None
    for turn in range(KILLS):
        before = site.table()
        if turn % 4 == 3:
            dead = site.director()
            os.kill(dead, signal.SIGKILL)
            wait_until(partial(_revived, site, dead), site.log, limit=LIMIT, pause=0.05)
            assert site.table() == before
            continue
        amid = turn % 2 == 0
        if amid:
            for _ in range(5):
                site.model.change()
            site.file.write_text(site.model.text())
            site.process.send_signal(signal.SIGHUP)
            time.sleep(site.model.dice.uniform(0, 2))
        site.kill(whole=turn % 3 > 0)
        if not amid:
            assert site.table() == before, "the dead touch nothing"
        site.start()
    for number in (0, 1):
        site.order("undrain", number)
    site.model.ordered.clear()
    assert site.table() == site.model.table()


def _revived(site: Site, dead: int) -> bool:
    try:
        return site.director() not in (dead, None)
    except (OperatorError, AssertionError):
        return False
