"""The commands that change a daemon, against a whole one: only the IPVS table is in memory."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.director_site import PORTS, configuration, listening
from support.fake_ipvs import SCHEDULERS_OF_THE_FORK, FakeIpvs
from support.fullnat_net import empty_namespace, run
from support.supervised import Running, running
from support.waiting import wait_until

from lvskeeper.cli import orders
from lvskeeper.cli.client import Client
from lvskeeper.cli.main import main
from lvskeeper.cli.orders import duration
from lvskeeper.daemon import estate
from lvskeeper.daemon.channel import Channel
from lvskeeper.daemon.director import Director
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.ipvs.types import DestKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe.views import OverridesView
from lvskeeper.units import parse_address

pytestmark = [pytest.mark.root, pytest.mark.asyncio]


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up")
        yield


def busy(folder: Path) -> Path:
    """Return the file that gives the servers connections in the next life of a director."""
    return folder / "busy"


def director(folder: Path) -> Callable[[socket.socket], int]:
    """Return a director in whose kernel the first server has no connections, unless it is busy.

    This kernel does not have all schedulers.
    """

    def start(sock: socket.socket) -> int:
        kernel = FakeIpvs(MAINLINE, schedulers=SCHEDULERS_OF_THE_FORK)
        kernel.idle = 0
        for port in PORTS:
            kernel.active[DestKey(parse_address("127.0.0.1"), port)] = int(busy(folder).exists())

        async def life() -> None:
            await Director(
                await Channel.connect(sock),
                folder,
                lambda _: None,
                lambda: IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls),
            ).run()

        asyncio.run(life())
        return 0

    return start


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with (
        listening(*PORTS),
        running(tmp_path, configuration(*PORTS), director(tmp_path)) as made,
    ):
        await made.until("daemon_ready")
        await asyncio.to_thread(wait_until, (tmp_path / "control.sock").exists)
        yield made


@pytest.fixture
def command(
    daemon: Running, capsys: pytest.CaptureFixture[str]
) -> Callable[..., "asyncio.Future[tuple[int, str, str]]"]:
    """Return what runs a command and returns status, output and errors."""

    async def call(*words: str) -> tuple[int, str, str]:
        words = (*words, "--run-dir", str(daemon.file.parent))
        status = await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        return status, out, err

    return lambda *words: asyncio.ensure_future(call(*words))


Command = Callable[..., "asyncio.Future[tuple[int, str, str]]"]


async def test_a_drain_is_waited_for_and_undone(command: Command) -> None:
    status, out, _ = await command("drain", "127.0.0.1:8091", "--wait", "--reason", "disks")
    assert status == ExitStatus.OK
    assert out.splitlines()[0].startswith("127.0.0.1:8091 of tcp 198.51.100.1:80: draining")
    assert out.splitlines()[-1].startswith("127.0.0.1:8091 of tcp 198.51.100.1:80: drained; by ")
    assert out.endswith(": disks\n")
    status, out, err = await command("undrain", "127.0.0.1")
    assert (status, out, err) == (ExitStatus.OK, "", "")
    status, _, err = await command("undrain", "127.0.0.1")
    assert status == ExitStatus.NOT_FOUND
    assert "nothing is ordered for 127.0.0.1" in err


async def test_a_weight_and_a_disabled_virtual_server_are_told_in_words(command: Command) -> None:
    status, out, _ = await command("weight", "127.0.0.1:8092", "5", "--for", "30m")
    assert status == ExitStatus.OK
    assert "8092 of tcp 198.51.100.1:80: weight 5, ends in 30 min 0 s; by " in out
    status, _, err = await command("drain", "127.0.0.1")
    assert status == ExitStatus.REFUSED
    assert "hint: --force does it all the same." in err
    status, out, _ = await command("disable", "198.51.100.1:80", "--deadline", "1h")
    assert "tcp 198.51.100.1:80: disabled" in out
    assert (await command("enable", "198.51.100.1:80"))[0] == ExitStatus.OK


async def test_a_reload_tells_what_it_did_and_can_be_confirmed(
    command: Command, daemon: Running
) -> None:
    daemon.file.write_text(configuration(*PORTS[1:]))
    status, out, _ = await command("reload", "--wait")
    assert status == ExitStatus.OK
    assert out.startswith("applied and verified in ")
    assert "; real servers removed: 1\nserves 1 virtual server, 2 real servers" in out
    daemon.file.write_text(configuration(*PORTS))
    status, out, _ = await command("reload", "--confirm", "60s")
    assert "rolled back in 60.0 s unless confirmed: lvskeeper confirm" in out
    assert (await command("confirm"))[0] == ExitStatus.OK
    assert (await command("confirm"))[0] == ExitStatus.NOT_FOUND
    daemon.file.write_text("nonsense {\n}\n")
    status, out, err = await command("reload", "--wait")
    assert (status, out) == (ExitStatus.CONFIG, "")
    assert "nothing was changed" in err
    assert (await command("reload"))[:2] == (ExitStatus.OK, "the reload was asked for\n")


async def test_a_reload_that_the_kernel_refused_in_part_ends_with_an_error(
    command: Command, daemon: Running
) -> None:
    before = configuration(*PORTS)
    daemon.file.write_text(before.replace("lb_algo rr", "lb_algo mh"))
    for _ in range(2):  # what was refused stays to be done, and to be told
        status, out, err = await command("reload", "--wait")
        assert status == ExitStatus.KERNEL
        assert out.startswith("applied in part in ")
        assert "; services changed: 1\nserves 1 virtual server, 3 real servers" in out
        assert err.startswith("lvskeeper reload: the kernel refused 1 operation; what it says of ")
    daemon.file.write_text(before)
    status, out, err = await command("reload", "--wait")
    assert (status, err) == (ExitStatus.OK, "")
    assert out.startswith("applied and verified in ")


def pid_of_director(folder: Path) -> int:
    with contextlib.suppress(OperatorError):
        for role in Client(folder).snapshot().daemon.roles:
            if role.name == "director" and role.pid is not None:
                return role.pid
    return 0


def drains(folder: Path) -> int:
    """Return how many drains wait for connections that somebody has seen."""
    try:
        held = Client(folder).get("/overrides", OverridesView).orders
    except OperatorError:
        return 0
    return sum(one.override.state == "draining" and bool(one.override.connections) for one in held)


async def test_a_wait_goes_on_in_the_next_life_of_director_and_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(orders, "LOOK", 0.05)
    monkeypatch.setattr(estate, "OVERRIDE_INTERVAL", 0.2)
    busy(tmp_path).touch()
    text, place = configuration(*PORTS), ["--run-dir", str(tmp_path)]
    async with listening(*PORTS):
        async with running(tmp_path, text, director(tmp_path)) as daemon:
            await daemon.until("daemon_ready")
            await asyncio.to_thread(wait_until, (tmp_path / "control.sock").exists)
            waiting = [
                asyncio.ensure_future(asyncio.to_thread(main, [*words, "--wait", *place]))
                for words in (("drain", "127.0.0.1:8091"), ("disable", "198.51.100.1:80"))
            ]
            await asyncio.to_thread(wait_until, lambda: drains(tmp_path) == 2)
        async with running(tmp_path, text, director(tmp_path)) as daemon:
            await daemon.until("daemon_ready")
            await asyncio.to_thread(wait_until, lambda: drains(tmp_path) == 2)
            assert not any(task.done() for task in waiting)
            busy(tmp_path).unlink()
            os.kill(await asyncio.to_thread(pid_of_director, tmp_path), signal.SIGKILL)
            assert await asyncio.gather(*waiting) == [ExitStatus.OK, ExitStatus.OK]
            assert await asyncio.to_thread(drains, tmp_path) == 0
    assert "no daemon answers" in capsys.readouterr().err


async def test_a_wait_for_a_daemon_that_does_not_come_back_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(orders, "PATIENCE", 0.2)
    busy(tmp_path).touch()
    async with listening(*PORTS):
        async with running(tmp_path, configuration(*PORTS), director(tmp_path)) as daemon:
            await daemon.until("daemon_ready")
            await asyncio.to_thread(wait_until, (tmp_path / "control.sock").exists)
            words = ["drain", "127.0.0.1:8091", "--wait", "--run-dir", str(tmp_path)]
            waiting = asyncio.ensure_future(asyncio.to_thread(main, words))
            await asyncio.to_thread(wait_until, lambda: drains(tmp_path) == 1)
        assert await waiting == ExitStatus.NO_DAEMON
    err = capsys.readouterr().err
    assert "no daemon answers" in err
    assert "hint: The drain is kept" in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("2d", 172_800)]
)
async def test_times_have_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1y", "30 m", "m"])
async def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not a time such as"):
        duration(text)
