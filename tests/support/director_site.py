"""A director role with everything real but the IPVS table, which is one in memory."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from support.fake_ipvs import FakeIpvs

from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Channel,
    Failed,
    FromRole,
    Mail,
    Stop,
    Stopped,
    Told,
)
from lvskeeper.daemon.director import Director
from lvskeeper.daemon.dry_run import DryRun
from lvskeeper.daemon.forward import Forwarder
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.questions import Ask, Reply, RoleQuestion
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe.events import Event

if TYPE_CHECKING:
    from lvskeeper.observe.diary import ToldEvent

PORTS = (8091, 8092, 8093)


def configuration(
    *ports: int, kind: str = "NAT", head: str = "", extra: str = "", vip: str = "198.51.100.1"
) -> str:
    servers = "".join(
        f"  real_server 127.0.0.1 {port} {{\n    TCP_CHECK {{\n    }}\n  }}\n" for port in ports
    )
    return (
        f"{head}\nvirtual_server {vip} 80 {{\n"
        f"  delay_loop 0.3\n  connect_timeout 0.2\n  retry 1\n  delay_before_retry 0.05\n"
        f"  protocol TCP\n  lb_algo rr\n  lb_kind {kind}\n{extra}\n{servers}}}\n"
    )


class Site:
    """One life of a director, and what it said."""

    def __init__(
        self,
        kernel: FakeIpvs,
        folder: Path,
        role: type[Director] | type[DryRun] = Director,
        *,
        forwarding: bool = False,
    ) -> None:
        self.kernel = kernel
        self.folder = folder
        self.role = role
        self.forwarding = forwarding
        """What is told goes over the channel, too."""
        self.forwarded: list[ToldEvent] = []
        self.events: list[Event] = []
        self.mails: list[Mail] = []
        self.generation = 0
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        self.channel = await Channel.connect(ours)
        channel = await Channel.connect(theirs)
        emit = self.events.append
        self.director = self.role(
            channel,
            self.folder,
            Forwarder(channel, emit).tell if self.forwarding else emit,
            lambda: IpvsClient(self.kernel.socket, load=lambda: None, sysctls=self.kernel.sysctls),
        )
        self.task = asyncio.create_task(self.director.run())

    async def ask(self, message: Apply | Stop) -> Applied | Failed | Stopped:
        await self.channel.send(message)
        decoder: msgspec.json.Decoder[FromRole] = msgspec.json.Decoder(FromRole)
        async with asyncio.timeout(20):
            while True:
                answer = await self.channel.receive(decoder)
                assert answer is not None
                if isinstance(answer, Mail):
                    self.mails.append(answer)
                elif isinstance(answer, Told):
                    self.forwarded += answer.events
                elif isinstance(answer, Applied | Failed | Stopped):
                    return answer

    async def question(self, question: RoleQuestion) -> Reply:
        """Ask what the control socket would ask."""
        await self.channel.send(Ask(1, question, "root"))
        decoder: msgspec.json.Decoder[FromRole] = msgspec.json.Decoder(FromRole)
        async with asyncio.timeout(10):
            while True:
                answer = await self.channel.receive(decoder)
                assert answer is not None
                if isinstance(answer, Reply):
                    return answer

    async def apply(self, text: str) -> Applied | Failed | Stopped:
        file = self.folder / "site.conf"
        file.write_text(text)
        loaded = load_file(str(file))
        assert not loaded.errors
        self.generation += 1
        return await self.ask(Apply(self.generation, loaded.spec))

    async def applied(self, text: str) -> Applied:
        answer = await self.apply(text)
        assert isinstance(answer, Applied), answer
        return answer

    async def gone(self) -> None:
        """Let the channel end, as when the supervisor is killed."""
        self.channel.close()
        assert self.task is not None
        await asyncio.wait_for(self.task, 20)

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if name == event.NAME]

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"it did not come about; told: {self.events}")

    def destinations(self) -> list[int]:
        """Ports of the destinations of the first service."""
        entry = next(iter(self.kernel.table.values()))
        return sorted(key.port for key in entry.destinations)


@asynccontextmanager
async def site(
    kernel: FakeIpvs,
    folder: Path,
    role: type[Director] | type[DryRun] = Director,
    *,
    forwarding: bool = False,
) -> AsyncIterator[Site]:
    made = Site(kernel, folder, role, forwarding=forwarding)
    await made.start()
    try:
        yield made
    finally:
        made.channel.close()
        assert made.task is not None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(made.task, 20)


@asynccontextmanager
async def listening(*ports: int) -> AsyncIterator[dict[int, asyncio.Server]]:
    servers = {
        port: await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        for port in ports
    }
    try:
        yield servers
    finally:
        for server in servers.values():
            server.close()
