"""Reloads over the control socket: their answer, the time to confirm, and the way back."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.supervised import GOOD, Running, messages, running
from support.waiting import wait_until

from lvskeeper.cli.client import Client
from lvskeeper.daemon.channel import Applied, Apply, Beat, Failed, Stop, Stopped, encode
from lvskeeper.errors import ExitStatus
from lvskeeper.observe.snapshot import ReloadView

pytestmark = pytest.mark.asyncio

OTHER = GOOD.replace("198.51.100.1", "198.51.100.2")
THIRD = GOOD.replace("198.51.100.1", "198.51.100.3")


def noting(log: Path, *, slow: int = 0, broken: int = 0) -> Callable[[socket.socket], int]:
    """Return a director that writes down which virtual server it has.

    Its application number *slow* waits for a file *go*, number *broken* fails.
    """

    def main(sock: socket.socket) -> int:
        sock.sendall(encode(Beat()))
        while found := messages(sock):
            message: object = found[0]
            match message:
                case Apply(generation=generation, spec=spec):
                    names = [one["name"] for one in json.loads(bytes(spec))["virtual_servers"]]
                    with log.open("a") as file:
                        file.write(f"{' '.join(names)}\n")
                    number = len(log.read_text().splitlines())
                    while number == slow and not (log.parent / "go").exists():
                        time.sleep(0.01)
                    if number == broken:
                        failed = Failed(generation, "no room", "", ExitStatus.KERNEL, intact=True)
                        sock.sendall(encode(failed))
                        continue
                    changes = {"services added": 1, "services removed": 1}
                    sock.sendall(encode(Applied(generation, 2, 0, 1, 1, changes=changes)))
                case Stop():
                    sock.sendall(encode(Stopped()))
                    return 0
                case _:
                    pass
        return 0

    return main


class Site:
    def __init__(self, daemon: Running, log: Path) -> None:
        self.daemon = daemon
        self.log = log
        self.client = Client(daemon.file.parent)

    async def reload(self, text: str, **fields: object) -> tuple[int, ReloadView]:
        self.daemon.file.write_text(text)
        body = json.dumps(fields).encode()
        status, answer = await asyncio.to_thread(self.client.exchange, "POST", "/reload", body)
        return status, msgspec.json.decode(answer, type=ReloadView)

    async def confirm(self) -> int:
        return (await asyncio.to_thread(self.client.exchange, "POST", "/confirm", b"{}"))[0]

    @property
    def applied(self) -> list[str]:
        """The last byte of the virtual address of each application."""
        return [line.split(".")[3].split(":")[0] for line in self.log.read_text().splitlines()]


async def opened(daemon: Running, log: Path) -> Site:
    await daemon.until("daemon_ready")
    await asyncio.to_thread(wait_until, (daemon.file.parent / "control.sock").exists)
    return Site(daemon, log)


async def test_a_reload_answers_when_it_is_in_force_with_a_summary(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        status, view = await site.reload(OTHER)
        assert (status, view.applied, view.operations) == (200, True, 2)
        assert view.changes == {"services added": 1, "services removed": 1}
        assert site.applied == ["1", "2"]
        seen = (await asyncio.to_thread(site.client.exchange, "GET", "/snapshot"))[1]
        assert json.loads(seen)["daemon"]["last_reload"] == "applied and verified"


async def test_a_file_with_errors_is_refused_with_all_of_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        status, view = await site.reload(GOOD.replace("rr", "rrr"))
        assert (status, view.applied) == (409, False)
        assert view.message == "the file has 1 error; nothing was changed"
        assert "rrr" in view.errors[0]
        assert site.applied == ["1"]


async def test_an_unconfirmed_reload_is_rolled_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        _, view = await site.reload(OTHER, confirm_seconds=0.5)
        assert view.confirm_within == 0.5
        await daemon.until("reload_rolled_back")
        assert site.applied == ["1", "2", "1"]
        assert await site.confirm() == 404


async def test_a_confirmed_reload_stays(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        await site.reload(OTHER, confirm_seconds=1.0)
        assert await site.confirm() == 200
        await asyncio.sleep(1.2)
        assert site.applied == ["1", "2"]
        assert not daemon.named("reload_rolled_back")


async def test_a_confirmation_amid_the_rollback_comes_too_late(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log, slow=3)) as daemon:
        site = await opened(daemon, log)
        await site.reload(OTHER, confirm_seconds=0.3)
        await asyncio.to_thread(wait_until, lambda: site.applied == ["1", "2", "1"])
        assert await site.confirm() == 409
        (tmp_path / "go").touch()
        await daemon.until("reload_rolled_back")
        assert daemon.named("reload_confirmed") == []


async def test_a_rollback_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.reloads.AGAIN", 0.2)
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log, broken=3)) as daemon:
        site = await opened(daemon, log)
        await site.reload(OTHER, confirm_seconds=0.3)
        await daemon.until("apply_failed")
        await daemon.until("reload_rolled_back")
        assert site.applied == ["1", "2", "1", "1"]


async def test_what_comes_before_the_confirmation_is_rolled_back_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        await site.reload(OTHER, confirm_seconds=30)
        daemon.file.write_text(THIRD)
        os.kill(os.getpid(), signal.SIGHUP)
        await daemon.until("reload_applied", 2)
        await site.reload(OTHER, confirm_seconds=0.3)
        await daemon.until("reload_rolled_back")
        assert site.applied == ["1", "2", "3", "2", "1"]


async def test_a_reload_without_waiting_is_answered_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        status, view = await site.reload(OTHER, wait=False)
        assert (status, view.applied) == (200, False)
        await daemon.until("reload_applied")


async def test_a_time_to_confirm_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(tmp_path, GOOD, noting(log)) as daemon:
        site = await opened(daemon, log)
        body = b'{"confirm_seconds": 0}'
        status, answer = await asyncio.to_thread(site.client.exchange, "POST", "/reload", body)
        assert status == 400
        assert b"not between 0 and a day" in answer
