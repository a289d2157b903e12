import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from lvskeeper.errors import OperatorError
from lvskeeper.lab import netns
from lvskeeper.lab.netns import FOLDER, run_ip
from lvskeeper.lab.topology import (
    BACK,
    CLIENT4,
    CLIENT6,
    FRONT,
    VIPS4,
    VIPS6,
    Laboratory,
    Plan,
    director_front,
    local_addresses,
    real_server,
)

pytestmark = pytest.mark.root

HOLD = """
import subprocess, sys
from lvskeeper.lab.topology import Laboratory
with Laboratory() as lab:
    child = lab.client.popen(["sh", "-c", "echo in; exec sleep 1000"], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(lab.prefix, flush=True)
    sys.stdin.read()
"""


def ours(prefix: str) -> list[str]:
    return [path.name for path in FOLDER.glob(f"{prefix}-*")]


def hold() -> tuple[subprocess.Popen[str], str]:
    """Start a process that makes a laboratory and sits in it; return it and the prefix."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def sleepers(names: list[str]) -> list[int]:
    """Return the processes inside the namespaces."""
    inodes = {(FOLDER / name).stat().st_ino for name in names}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/net").stat().st_ino in inodes:
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("client", [CLIENT4, CLIENT6])
def test_no_server_and_no_router_knows_a_way_to_the_client(
    laboratory: Laboratory, client: str
) -> None:
    for space in (laboratory.router, *laboratory.servers):
        done = space.run(["ip", "route", "get", client], check=False)
        assert done.returncode != 0
        assert "unreachable" in done.stderr


def test_servers_and_directors_know_one_another(laboratory: Laboratory) -> None:
    for number, server in enumerate(laboratory.servers, 1):
        for address, lips in zip(real_server(number), local_addresses(), strict=True):
            laboratory.director.run(["ip", "route", "get", address])
            for lip in lips:
                server.run(["ip", "route", "get", lip])


@pytest.mark.parametrize("vip", [*VIPS4, *VIPS6])
def test_the_client_reaches_each_vip_at_the_director(laboratory: Laboratory, vip: str) -> None:
    done = laboratory.client.run(
        [sys.executable, "-c", f"import socket; socket.create_connection(('{vip}', 9), 5)"],
        check=False,
    )
    assert "ConnectionRefusedError" in done.stderr  # somebody is there, and listens not


def test_two_laboratories_live_side_by_side(laboratory: Laboratory) -> None:
    with Laboratory(Plan(directors=2, servers=1)) as other:
        assert other.prefix != laboratory.prefix
        other.route_to_director(2)
        assert "192.0.2.2" in other.client.run(["ip", "route", "get", VIPS4[0]]).stdout
        assert "192.0.2.1" in laboratory.client.run(["ip", "route", "get", VIPS4[0]]).stdout
        prefix = other.prefix
    assert not ours(prefix)
    assert ours(laboratory.prefix)


def test_what_is_under_test_may_bring_lips_and_forwarding_itself() -> None:
    with Laboratory(Plan(servers=1, lips=False, forwarding=False)) as bare:
        shown = bare.director.run(["ip", "addr", "show", "dev", BACK]).stdout
        forward = bare.director.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout
    assert "10.0.0.1/24" in shown
    assert "10.0.0.10/" not in shown
    assert forward == "0\n"


def reaches(lab: Laboratory, address: str) -> bool:
    """Whether the client gets as much as a refusal from *address*."""
    connect = f"import socket; socket.create_connection(('{address}', 9), 0.5)"
    done = lab.client.run([sys.executable, "-c", connect], check=False)
    return "ConnectionRefusedError" in done.stderr


@pytest.mark.parametrize("seen", [True, False])
def test_a_director_is_cut_off_with_or_without_its_links_telling(seen: bool) -> None:
    with Laboratory(Plan(directors=2, servers=1, vips=False)) as lab:
        first, second = (director_front(number)[0] for number in (1, 2))
        assert reaches(lab, second)
        lab.cut(2, seen=seen)
        for device in (FRONT, BACK):
            shown = lab.directors[1].run(["ip", "link", "show", "dev", device]).stdout
            assert ("NO-CARRIER" in shown) is seen
        assert not reaches(lab, second)
        assert reaches(lab, first)
        lab.mend(2)
        assert reaches(lab, second)


def test_a_pair_may_bring_its_vips_itself() -> None:
    with Laboratory(Plan(directors=2, servers=1, vips=False)) as lab:
        for director in lab.directors:
            assert VIPS4[0] not in director.run(["ip", "addr"]).stdout
        assert VIPS4[0].rpartition(".")[0] not in lab.client.run(["ip", "route"]).stdout


def fail_inside(lab: Laboratory) -> None:
    with lab:
        lab.client.popen(["sleep", "1000"])
        lab.client.run(["false"])


def test_an_exception_takes_the_laboratory_with_it() -> None:
    lab = Laboratory(Plan(servers=1))
    with pytest.raises(CalledProcessError):
        fail_inside(lab)
    assert not ours(lab.prefix)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_the_laboratory_with_it(number: signal.Signals) -> None:
    child, prefix = hold()
    inside = sleepers(ours(prefix))
    with child:
        child.send_signal(number)
    assert inside
    assert not ours(prefix)
    assert not [pid for pid in inside if Path("/proc", str(pid)).exists()]


def test_leftovers_of_a_killed_laboratory_are_removed_by_the_next() -> None:
    child, prefix = hold()
    with child:
        child.kill()
    names = ours(prefix)
    inside = sleepers(names)
    assert names
    assert inside
    removed = netns.remove_leftovers()
    assert set(names) <= set(removed)
    assert not ours(prefix)
    assert not [pid for pid in inside if Path("/proc", str(pid), "exe").exists()]


def test_a_living_laboratory_is_no_leftover(laboratory: Laboratory) -> None:
    assert not [name for name in netns.remove_leftovers() if f"-{os.getpid()}-" in name]
    assert ours(laboratory.prefix)


def test_a_command_of_ip_that_fails_says_which() -> None:
    with pytest.raises(OperatorError, match="Cannot find device"):
        run_ip(batch=["link set lvsk-none up"])
