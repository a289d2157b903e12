"""A supervisor in the loop of a test, with real child processes that apply into the void."""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lvskeeper.daemon.channel import Applied, Apply, Beat, Stop, Stopped, ToDirector, encode
from lvskeeper.daemon.role import RoleName
from lvskeeper.daemon.supervisor import Settings, Supervisor
from lvskeeper.observe.events import Event

if TYPE_CHECKING:
    from lvskeeper.errors import ExitStatus

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
    def __init__(
        self, tmp_path: Path, director: Callable[[socket.socket], int], *, allow_empty: bool
    ) -> None:
        self.events: list[Event] = []
        self.report = StringIO()
        self.file = tmp_path / "lvskeeper.conf"
        self.supervisor = Supervisor(
            Settings(self.file, tmp_path, allow_empty),
            {RoleName.DIRECTOR: director, RoleName.ROUTER: director},
            self.events.append,
            self.report,
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
    tmp_path: Path,
    text: str,
    director: Callable[[socket.socket], int] | None = None,
    *,
    allow_empty: bool = False,
) -> AsyncIterator[Running]:
    daemon = Running(tmp_path, director or obedient(tmp_path), allow_empty=allow_empty)
    daemon.file.write_text(text)
    daemon.start()
    assert daemon.task is not None
    try:
        yield daemon
    finally:
        if not daemon.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(daemon.task, 20)
