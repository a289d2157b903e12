"""A router whose questions to the kernel get lost for a while: it goes on, and catches up."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.fullnat_net import namespace
from support.vrrp_net import DEVICE, HERE4, two_hosts
from support.waiting import until

from lvskeeper.daemon import guard as guard_module
from lvskeeper.daemon.guard import Guard
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec, VmacSpec
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.kernel.netlink import NETLINK_ROUTE, KernelSocket
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.lab.netns import Namespace
from lvskeeper.observe.events import Event, UpkeepFailed
from lvskeeper.observe.vrrp_events import VipRefused
from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Rules

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

VIP = parse_address("192.0.2.100")
VMAC = VmacSpec("vrrp.51", mac=bytes.fromhex("00005e000133"))
INTERVAL = 0.05


@dataclass
class Line:
    """The way to the kernel, which may be cut."""

    cut: bool = False

    def open(self) -> "CutSocket":
        return CutSocket(self)


class CutSocket:
    """A socket to the real kernel that has no room for a request while its line is cut."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._socket = KernelSocket(protocol=NETLINK_ROUTE)

    def send(self, data: bytes, /) -> None:
        if self._line.cut:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        self._socket.send(data)

    def recv(self) -> bytes:
        return self._socket.recv()

    def close(self) -> None:
        self._socket.close()


@dataclass
class Router:
    """A shell and a guard with one instance, and what became of them."""

    host: Namespace
    run_dir: Path
    line: Line = field(default_factory=Line)
    events: list[Event] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What ended a callback, and so would end the role."""

    def __post_init__(self) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.broken.append(str(context.get("exception")))
        )
        self.shell = Shell(self.events.append, self, lambda: 0.0)
        self.guard = Guard(self.shell, self.run_dir)

    def begin(self, config: InstanceConfig) -> None:
        self.guard.prepare(RouterSpec(instances=(config,)))
        configs = [self.guard.resolve(config)]
        faults = self.guard.faults(configs)
        self.shell.begin(configs, (), dict(self.guard.statuses()), faults)
        self.guard.survey(self.shell.turn())
        self.shell.start()

    def told(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def shows(self, text: str) -> bool:
        return text in self.host.run(["ip", "address", "show", "dev", VMAC.name]).stdout

    def hold(self, seat: Seat) -> None:
        self.guard.vips.hold(seat)

    def release(self, seat: Seat) -> None:
        self.guard.vips.release(seat)

    def on_state(self, seat: Seat, change: fx.StateChanged) -> None: ...

    def on_group(self, change: fx.GroupChanged) -> None: ...

    def on_effect(self, seat: Seat, effect: fx.Effect) -> None: ...

    def on_tick(self, now: float) -> None: ...


def config() -> InstanceConfig:
    key = InstanceKey(DEVICE, 4, 51)
    spec = InstanceSpec(
        key, "one", HERE4, version=3, priority=100, interval=INTERVAL, addresses=(VIP,)
    )
    held = (HeldAddress(VIP, 32, VMAC.name),)
    rules = Rules(3, 51, INTERVAL, addresses=(VIP,))
    return InstanceConfig(spec, rules, addresses=held, vmac=VMAC)


@asynccontextmanager
async def router(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Router]:
    with two_hosts() as (here, _), namespace(here.name):
        line = Line()
        monkeypatch.setattr(guard_module, "RouteClient", lambda: RouteClient(line.open))
        made = Router(here, folder, line)
        try:
            yield made
            assert made.broken == []
        finally:
            line.cut = False
            made.shell.stop()
            made.guard.close()


async def test_a_vmac_that_cannot_be_mended_at_once_is_mended_at_the_next_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with router(tmp_path, monkeypatch) as it:
        it.begin(config())
        await until(lambda: it.shows("192.0.2.100/32"))
        it.line.cut = True
        it.host.ip(f"link set {VMAC.name} down")
        await until(lambda: it.told(UpkeepFailed) or it.broken)
        assert it.broken == []
        assert not it.shows(",UP")
        it.line.cut = False
        it.guard.upkeep()
        assert it.shows(",UP")
        assert it.shows("192.0.2.100/32")


async def test_what_cannot_be_held_at_a_take_over_is_held_at_the_next_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with router(tmp_path, monkeypatch) as it:
        one = config()
        it.begin(one)
        it.line.cut = True
        await until(lambda: it.told(VipRefused) or it.broken)
        assert it.broken == []
        assert it.shell.state(one.spec.key) is State.MASTER
        assert not it.shows("192.0.2.100/32")
        it.line.cut = False
        it.guard.upkeep()
        assert it.shows("192.0.2.100/32")
