"""docs/first-hour.md, replayed: its commands in the laboratory say what the page shows.

On a kernel with IPVS the machine is served by keepalived; elsewhere a table in memory stands in for
both. A failure has the session as it really went in its captured output.
"""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.console import PROMPT, Shell, ShellError, Step, differences, is_as_shown, steps_of
from support.fake_ipvs import FakeIpvs
from support.keepalived_site import keepalived_site, route_back, start_server, stop_servers
from support.table_server import TableServer
from support.waiting import wait_until

from lvskeeper.ipvs.types import Destination, DestKey, Entry, Family, Forward, Protocol, Service
from lvskeeper.ipvs.types import ServiceKey as Key
from lvskeeper.lab.kernels import ipvs_is_here
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.netns import Namespace
from lvskeeper.lab.topology import VIPS4, Laboratory, real_server
from lvskeeper.units import parse_address

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/first-hour.md"
FILE = "/etc/keepalived/keepalived.conf"
VIP = VIPS4[0]
SERVER = {number: real_server(number)[0] for number in (1, 2, 3)}
KEPT, MOVING = 1, 2
"""The real servers that run: one has the client's connection, the other stops and comes back."""

PATIENCE = 180.0
"""Seconds for one command, and for all that is waited for; emulation makes imports slow."""
SHOWN_WITHIN = 120.0
"""Seconds until what is looked at is as the page shows it."""
LOOKS = re.compile(r"lvskeeper (status|explain|events|plan) |cat |ipvsadm -Ln")
"""Commands that change nothing: what they show may take its time to come, and they are repeated."""
PAUSE = 0.5

PLACES = (
    "set -e; mount -t tmpfs own /mnt; mkdir /mnt/upper /mnt/work;"
    "mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work own /etc;"
    "mount -t tmpfs own /run;"
    "mkdir -p /etc/keepalived /etc/lvskeeper; cp {file} {kept};"
    "echo lvskeeper:x:990: >> /etc/group; exec bash --norc"
)
"""The shell has files of its own in /etc and /run, under their usual names, and the group that the
package makes."""


@dataclass
class Machine:
    """The director, and those who play what is beyond a shell in a network namespace."""

    host: Namespace
    lvskeeper: list[str]
    start: Callable[[int], None]
    stop: Callable[[int], None]
    leave: Callable[[], None]
    """End keepalived; its table stays."""
    client: LongLived | None = None
    """Of the virtual server; there is none where IPVS is a table in memory."""


def configuration() -> str:
    """Return the file of keepalived, as the page shows it."""
    (step,) = [step for step in steps_of(PAGE.read_text()) if step.command == f"cat {FILE}"]
    return "".join(f"{line}\n" for line in step.shown)


@contextlib.contextmanager
def real_machine(folder: Path) -> Iterator[Machine]:
    with keepalived_site(folder, configuration(), KEPT) as site:
        others = [SERVER[number] for number in SERVER if number != KEPT]
        site.wait_for(lambda now: SERVER[KEPT] in now and not any(one in now for one in others))
        with LongLived(site.lab.client, VIP, 80, patience=PATIENCE) as client:
            wait_until(lambda: client.answers, lambda: client.error, limit=PATIENCE)
            start_server(site.lab, MOVING, folder)
            site.wait_for(lambda now: SERVER[MOVING] in now)
            yield Machine(
                site.lab.director,
                [sys.executable, "-m", "lvskeeper"],
                lambda number: start_server(site.lab, number, folder),
                lambda number: stop_servers(site.lab, [number]),
                site.stop,
                client,
            )


@contextlib.contextmanager
def machine_in_memory(folder: Path) -> Iterator[Machine]:
    kernel = FakeIpvs()
    kernel.idle = kernel.templates = 0
    name = Key(Family.INET, Protocol.TCP, parse_address(VIP), 80)
    up = {KEPT, MOVING}

    def play_keepalived() -> None:
        keys = [DestKey(parse_address(SERVER[number]), 8080) for number in sorted(up)]
        kernel.active.update(dict.fromkeys(keys, 0))
        there = {key: Destination(key, Forward.NAT, 1) for key in keys}
        with server.lock:
            kernel.load({name: Entry(Service(name, "wlc"), there, frozenset())})

    def start(number: int) -> None:
        start_server(lab, number, folder)
        up.add(number)
        if process.poll() is None:
            play_keepalived()

    def stop(number: int) -> None:
        stop_servers(lab, [number])
        up.discard(number)
        if process.poll() is None:
            play_keepalived()

    def leave() -> None:
        process.kill()
        process.wait()

    path = folder / "table"
    with TableServer(kernel, path) as server, Laboratory() as lab:
        route_back(lab)
        for number in up:
            start_server(lab, number, folder)
        shutil.copy("/bin/sleep", folder / "keepalived")
        process = lab.director.popen([str(folder / "keepalived"), "1800"])
        play_keepalived()
        command = [sys.executable, "-m", "support.on_table", str(path)]
        yield Machine(lab.director, command, start, stop, leave)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            "memory", marks=pytest.mark.skipif(ipvs_is_here(), reason="the real one is here")
        ),
        pytest.param("ipvs", marks=[pytest.mark.long, pytest.mark.ipvs]),
    ],
)
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("first-hour")
    make = real_machine if request.param == "ipvs" else machine_in_memory
    with make(folder) as made:
        yield made


@pytest.fixture
def shell(machine: Machine, tmp_path: Path) -> Iterator[Shell]:
    program = tmp_path / "lvskeeper"
    program.write_text(f'#!/bin/sh\nexec {" ".join(machine.lvskeeper)} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "keepalived.conf").write_text(configuration())
    places = PLACES.format(file=f"{tmp_path}/keepalived.conf", kept=FILE)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "tests"), "COLUMNS": "100"}
    with Shell(machine.host.command(["bash", "--norc", "-c", places]), environment) as made:
        yield made


def test_the_session_goes_as_the_page_shows_it(machine: Machine, shell: Shell) -> None:
    played: dict[str, Callable[[], None]] = {
        "apt install ./lvskeeper_*.deb": lambda: None,
        f"ssh {SERVER[MOVING]} systemctl stop nginx": lambda: machine.stop(MOVING),
        f"ssh {SERVER[MOVING]} systemctl start nginx": lambda: machine.start(MOVING),
        "systemctl disable --now keepalived": machine.leave,
        "systemctl enable --now lvskeeper": lambda: start_daemon(shell),
    }
    wrong = []
    for step in steps_of(PAGE.read_text()):
        if step.command in played:
            played[step.command]()
            said: list[str] = list(step.shown)
        else:
            said = say(shell, step)
            if machine.client is None and step.command.startswith("lvskeeper doctor"):
                said[:2] = step.shown[:2]  # modules and dialect are those of a kernel without ip_vs
        sys.stdout.writelines(f"{line}\n" for line in (f"{PROMPT}{step.command}", *said))
        if not is_as_shown(step.shown, said):
            wrong.append(differences(step, said))
    assert not wrong, "\n\n".join(wrong)
    if machine.client is not None:
        assert not machine.client.error
        assert machine.client.alive


def say(shell: Shell, step: Step) -> list[str]:
    """Return what the command says; one that only looks is repeated until it is as shown."""
    deadline = time.monotonic() + SHOWN_WITHIN
    while True:
        try:
            said = shell.run(step.command, PATIENCE)
        except ShellError as error:
            return [str(error)]
        looks = LOOKS.match(f"{step.command} ") is not None
        if not looks or is_as_shown(step.shown, said) or time.monotonic() > deadline:
            return said
        time.sleep(PAUSE)


def start_daemon(shell: Shell) -> None:
    """Do what the unit does: start it, and go on when it is ready."""
    shell.run("lvskeeper run -f /etc/lvskeeper/lvskeeper.conf 2>/run/daemon.log & daemon=$!", 10)
    ready = (
        "until grep -q daemon_ready /run/daemon.log; do kill -0 $daemon || break; sleep 0.1; done"
    )
    shell.run(ready, PATIENCE)
