"""What systemd hears: from the notifier alone, and from a whole supervisor, on a real socket."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.supervised import GOOD, running

from lvskeeper.daemon.channel import Applied, Beat
from lvskeeper.daemon.role import RoleName
from lvskeeper.daemon.sd_notify import Motion, Notifier
from lvskeeper.daemon.standing import Standing

WORDS = "MASTER 1/2, real servers 3/4"


class Systemd:
    """The other end: a datagram socket as systemd's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._told: list[str] = []

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), **more}

    def told(self) -> list[str]:
        while True:
            try:
                self._told.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self._told

    async def until(self, text: str, count: int = 1) -> str:
        async with asyncio.timeout(20):
            while True:
                found = [message for message in self.told() if text in message.split("\n")]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.01)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path / "notify")
    yield made
    made.close()


def test_nothing_is_told_where_nobody_asks() -> None:
    notifier = Notifier({})
    notifier.ready("well")
    notifier.stopping("TERM")
    assert notifier.watchdog_limit == 0.0


def test_each_message_is_one_datagram(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment())
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready("a\nb")
    notifier.status("a\nb")
    notifier.status("c")
    notifier.reloading()
    notifier.alive()
    notifier.stopping("SIGTERM")
    ready, status, reloading, alive, stopping = systemd.told()
    notifier.close()

    assert ready == "READY=1\nSTATUS=a b"
    assert status == "STATUS=c"
    first, moment, _words = reloading.split("\n")
    assert first == "RELOADING=1"
    told = int(moment.removeprefix("MONOTONIC_USEC="))
    assert before <= told <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert alive == "WATCHDOG=1"
    assert stopping == "STOPPING=1\nSTATUS=stopping: SIGTERM"


def test_an_abstract_socket_will_do() -> None:
    name = f"lvskeeper-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0{name}")
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
        notifier.alive()
        assert other.recv(100) == b"WATCHDOG=1"
        notifier.close()


def test_a_systemd_that_does_not_read_makes_nobody_wait(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment())
    began = time.monotonic()
    for number in range(2000):
        notifier.status(str(number))
    assert time.monotonic() - began < 2
    notifier.close()
    assert 0 < len(systemd.told()) < 2000


def test_children_do_not_find_the_way() -> None:
    environment = {
        "NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }  # fmt: skip
    notifier = Notifier(environment)
    assert environment == {"HOME": "/"}
    assert notifier.watchdog_limit == 2.0
    notifier.close()


def test_a_watchdog_of_somebody_else_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}).watchdog_limit == 0.0


def test_rounds_and_not_beats_are_motion() -> None:
    motion = Motion()
    motion.on_beat("director", 1, 0.0)
    motion.on_beat("director", 1, 9.0)
    assert motion.all_move(["director"], 9.0, 10.0)
    assert not motion.all_move(["director"], 10.5, 10.0)
    motion.on_beat("director", 2, 10.5)
    assert motion.all_move(["director"], 20.0, 10.0)


def test_a_role_that_was_never_heard_counts_from_the_first_question() -> None:
    motion = Motion()
    motion.on_beat("director", 1, 100.0)
    assert motion.all_move(["director", "router"], 100.0, 10.0)
    motion.on_beat("director", 2, 111.0)
    assert not motion.all_move(["director", "router"], 111.0, 10.0)


def test_the_watchdog_hears_only_of_roles_that_get_on(systemd: Systemd) -> None:
    now = 0.0
    notifier = Notifier(systemd.environment(WATCHDOG_USEC="20000000"))
    standing = Standing(notifier, lambda: now)
    both = (RoleName.DIRECTOR, RoleName.ROUTER)
    for second in range(1, 41):
        now = float(second)
        standing.on_beat(RoleName.DIRECTOR, Beat(second), both)
        # The router's loop turns, and nothing is done any more
        standing.on_beat(RoleName.ROUTER, Beat(min(second, 12)), both)
    standing.close()
    # Every five seconds, and not later than ten after the last round
    assert systemd.told().count("WATCHDOG=1") == 4


def test_the_status_line_has_the_numbers(systemd: Systemd) -> None:
    standing = Standing(Notifier(systemd.environment()))
    standing.on_ready(Applied(1, virtual_servers=1, real_servers=4, instances=2))
    both = (RoleName.DIRECTOR, RoleName.ROUTER)
    standing.on_beat(RoleName.DIRECTOR, Beat(1, 3, 4), both)
    standing.on_beat(RoleName.ROUTER, Beat(1, 1, 2), both)
    standing.on_beat(RoleName.ROUTER, Beat(2, 1, 2), both)
    standing.close()
    assert systemd.told() == [
        "READY=1\nSTATUS=MASTER 0/2, real servers 0/4",
        "STATUS=MASTER 0/2, real servers 3/4",
        f"STATUS={WORDS}",
    ]


@pytest.mark.asyncio
async def test_the_supervisor_tells_its_whole_life(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        await systemd.until("READY=1")
        assert (tmp_path / "applied").exists(), "ready before the first configuration"
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        await systemd.until("READY=1", 2)
        daemon.file.write_text(GOOD.replace("lb_algo rr", "lb_algo fastest"))
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_refused")
        await systemd.until("READY=1", 3)
    first = [message.split("\n")[0] for message in systemd.told()]
    kinds = [line for line in first if not line.startswith("STATUS")]
    assert kinds == [
        "READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_refused_configuration_is_never_ready(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    async with running(tmp_path, GOOD.replace("lb_algo rr", "lb_algo fastest")) as daemon:
        await daemon.until("configuration_refused")
    assert not [message for message in systemd.told() if "READY=1" in message.split("\n")]
