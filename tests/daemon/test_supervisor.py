"""The supervisor with real child processes: a small director that applies into the void."""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from io import StringIO
from pathlib import Path

import msgspec
import pytest

from lvskeeper.daemon.channel import Applied, Apply, Beat, Failed, Stop, Stopped, ToDirector, encode
from lvskeeper.daemon.supervisor import Settings, Supervisor
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe.events import Event

GOOD = """
virtual_server 198.51.100.1 80 {
    protocol TCP
    lb_algo rr
    lb_kind NAT
    real_server 10.0.0.1 80 {
        weight 1
        TCP_CHECK {
        }
    }
}
"""


def messages(sock: socket.socket) -> "list[Apply | Stop]":
    """Block for one message; an empty list is the end."""
    head = sock.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return []
    body = sock.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL)
    return [msgspec.json.decode(body, type=ToDirector)]


def obedient(run_dir: Path) -> Callable[[socket.socket], int]:
    def main(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation):
                    with (run_dir / "applied").open("a") as file:
                        file.write(f"{os.getpid()} {generation}\n")
                    sock.sendall(encode(Applied(generation, 3, 0, 1, 1)))
                case Stop():
                    sock.sendall(encode(Stopped(kept=False)))
                    return 0
        return 0

    return main


class Running:
    def __init__(self, tmp_path: Path, director: Callable[[socket.socket], int]) -> None:
        self.events: list[Event] = []
        self.report = StringIO()
        self.file = tmp_path / "lvskeeper.conf"
        self.supervisor = Supervisor(
            Settings(self.file, tmp_path), director, self.events.append, self.report
        )
        self.task: asyncio.Task[ExitStatus] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.supervisor.run())

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if name == event.NAME]

    async def until(self, name: str, count: int = 1) -> Event:
        async with asyncio.timeout(20):
            while len(self.named(name)) < count:
                assert self.task is not None
                assert not self.task.done(), self.events
                await asyncio.sleep(0.01)
        return self.named(name)[count - 1]


@asynccontextmanager
async def running(
    tmp_path: Path, text: str, director: Callable[[socket.socket], int] | None = None
) -> AsyncIterator[Running]:
    daemon = Running(tmp_path, director or obedient(tmp_path))
    daemon.file.write_text(text)
    daemon.start()
    assert daemon.task is not None
    try:
        yield daemon
    finally:
        if not daemon.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        with suppress(OperatorError):
            await asyncio.wait_for(daemon.task, 20)


@pytest.mark.asyncio
async def test_start_and_stop(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
    assert daemon.task is not None
    assert daemon.task.result() is ExitStatus.OK
    assert [event.NAME for event in daemon.events if event.NAME != "configuration_warned"] == [
        "daemon_started",
        "daemon_ready",
        "daemon_stopping",
        "daemon_stopped",
    ]


@pytest.mark.asyncio
async def test_a_broken_file_ends_the_start_with_its_places(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD.replace("lb_algo rr", "lb_algo fastest")) as daemon:
        assert daemon.task is not None
        assert await asyncio.wait_for(daemon.task, 20) is ExitStatus.CONFIG
    assert len(daemon.named("configuration_refused")) == 1
    assert "lvskeeper.conf:4:" in daemon.report.getvalue()
    assert not (tmp_path / "applied").exists()


@pytest.mark.asyncio
async def test_a_broken_file_at_reload_never_reaches_the_director(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        daemon.file.write_text(GOOD + "}")
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_refused")
        assert (tmp_path / "applied").read_text().count("\n") == 1
        daemon.file.write_text(GOOD)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied")
        assert (tmp_path / "applied").read_text().count("\n") == 2


@pytest.mark.asyncio
async def test_a_killed_director_is_started_again_with_the_same_configuration(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        pid = int((tmp_path / "applied").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        died = await daemon.until("role_died")
        for _ in range(2000):
            if (tmp_path / "applied").read_text().count("\n") == 2:
                break
            await asyncio.sleep(0.01)
        again = int((tmp_path / "applied").read_text().split()[2])
    assert "SIGKILL" in str(died)
    assert again != pid


@pytest.mark.asyncio
async def test_a_director_that_cannot_apply_ends_the_start_with_its_status(tmp_path: Path) -> None:
    def main(sock: socket.socket) -> int:
        while found := messages(sock):
            match found[0]:
                case Apply(generation=generation):
                    failed = Failed(
                        generation, "no ip_vs", "modprobe ip_vs", ExitStatus.UNSUPPORTED
                    )
                    sock.sendall(encode(failed))
                case Stop(remove=remove):
                    assert not remove
                    sock.sendall(encode(Stopped(kept=True)))
                    return 0
        return 0

    async with running(tmp_path, GOOD, main) as daemon:
        assert daemon.task is not None
        assert await asyncio.wait_for(daemon.task, 20) is ExitStatus.UNSUPPORTED
    assert "modprobe ip_vs" in str(daemon.named("apply_failed")[0])


@pytest.mark.asyncio
async def test_a_second_daemon_is_refused_and_names_the_first(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as daemon:
        await daemon.until("daemon_ready")
        second = Running(tmp_path, obedient(tmp_path))
        with pytest.raises(OperatorError, match=f"pid {os.getpid()}") as caught:
            await second.supervisor.run()
        assert caught.value.status is ExitStatus.BUSY
