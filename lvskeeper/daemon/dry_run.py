"""The director of a dry run: runs the checks, reads the kernel, tells what it would do.

It has nothing that writes: what it runs by is stripped of scripts, pipes, mails and addresses, the
IPVS table is behind a socket that only asks, and sysctls are compared alone.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, assert_never, final

import msgspec

from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    Report,
    Stop,
    Stopped,
    SyncRole,
    ToDirector,
)
from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.director_view import encode_view, view_director
from lvskeeper.daemon.forward import Forwarder
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.daemon.local_vips import LocalVips
from lvskeeper.daemon.override_file import OverrideFile
from lvskeeper.daemon.plan import is_idle, plan
from lvskeeper.daemon.plan_change import Change, Effect
from lvskeeper.daemon.process import end_on_bug
from lvskeeper.daemon.questions import Ask, ListOverrides, Override, Reply, TakeFlight
from lvskeeper.daemon.roles import DirectorSpec, MailSpec, Script, VirtualServerSpec
from lvskeeper.daemon.state import StateFile
from lvskeeper.daemon.sysctl_keeper import SysctlKeeper
from lvskeeper.daemon.table import TableKeeper
from lvskeeper.daemon.upkeep import Upkeep
from lvskeeper.daemon.virtuals import Virtuals
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.health.pool import (
    PoolEffect,
    QuorumGained,
    QuorumLost,
    ServerDown,
    ServerUp,
    Serving,
)
from lvskeeper.ipvs.types import DestKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.ipvs_reader import ReadingSocket
from lvskeeper.observe import dry_run_events as events
from lvskeeper.observe.log import Emit
from lvskeeper.observe.snapshot import Problem
from lvskeeper.observe.views import OverridesView

BEAT_INTERVAL: Final = 1.0
"""Seconds between two beats to the supervisor."""

LOOK_INTERVAL: Final = 2.0
"""Seconds between two looks at the kernel where no check has changed anything."""

LASTS: Final = 10.0
"""Seconds until a difference that others have made is told: two daemons check at different moments,
and what one has done the other finds out soon."""

LOOK_SHARE: Final = 0.1
"""Most of one core that looking may cost; a big table is looked at less often."""

LEFT_OUT: Final = "VRRP, lvs_sync_daemon, state_sync"


def reading_client() -> IpvsClient:
    """Return a client that only asks, and loads no module."""
    return IpvsClient(ReadingSocket, load=lambda: None)


def harmless(spec: DirectorSpec) -> DirectorSpec:
    """Return *spec* with its services and checks, and without what touches anything else."""
    return DirectorSpec(
        router_id=spec.router_id,
        virtual_servers=tuple(map(_harmless, spec.virtual_servers)),
        pools=spec.pools,
        script_security=spec.script_security,
        mail=MailSpec(),
    )


def _harmless(virtual: VirtualServerSpec) -> VirtualServerSpec:
    servers = (
        replace(server, notify_up=None, notify_down=None, mail=False)
        for server in virtual.real_servers
    )
    return replace(
        virtual,
        real_servers=tuple(servers),
        quorum_up=None,
        quorum_down=None,
        mail=False,
        vip_device="",
    )


@final
class DryRun:
    """One life of the role; *beside* is the runtime directory of the daemon that it stands for."""

    def __init__(
        self,
        channel: Channel,
        beside: Path,
        emit: Emit,
        client: Callable[[], IpvsClient] = reading_client,
    ) -> None:
        self._channel = channel
        self._beside = beside
        self._emit = emit
        self._make_client = client
        self._table: TableKeeper | None = None
        self._spec = DirectorSpec()
        self._health = HealthLoop(self._on_effects, lambda *_: None, emit)
        self._vips = LocalVips(emit, (), self._health.rest, lambda: None)
        self._announcer = Announcer(emit, lambda _mail: None)
        self._virtuals = Virtuals(emit, self._announcer, OverrideFile(beside).load())
        self._sysctls = SysctlKeeper(emit)
        self._upkeep = Upkeep(emit)
        self._changed = asyncio.Event()
        self._looking = asyncio.Lock()
        self._told: frozenset[str] = frozenset()
        self._since: dict[str, float] = {}
        """When each difference that is there was seen first, monotonic seconds."""
        self._rounds = 0

    async def run(self) -> None:
        """Obey the supervisor until it says stop or is gone."""
        self._emit(events.DryRunBegan(str(self._beside), LEFT_OUT))
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(work)
                for work in (self._beat(), self._look_forever(), self._watch_addresses())
            ]
            await self._obey()
            for task in background:
                task.cancel()
        await self._health.close()
        self._vips.close()
        await self._announcer.close(0.0)
        self._channel.close()

    async def _obey(self) -> None:
        decoder: msgspec.json.Decoder[ToDirector] = msgspec.json.Decoder(ToDirector)
        while (message := await self._channel.receive(decoder)) is not None:
            match message:
                case Apply():
                    await self._send(await self._carry_out(message))
                case Stop():
                    await self._send(Stopped(kept=True))
                    return
                case Ask():
                    await self._send(await self._reply(message))
                case SyncRole() | Report():
                    pass
                case _:
                    assert_never(message)

    async def _carry_out(self, message: Apply) -> Applied | Failed:
        spec = msgspec.json.decode(message.spec, type=DirectorSpec)
        intact = True
        try:
            if self._table is not None or not is_idle(spec, self._beside):
                table = await self._open_table()
                intact = False
                await self._adopt(spec, table)
        except OperatorError as error:
            return Failed(message.generation, error.message, error.hint, error.status, intact)
        servers = sum(len(item.real_servers) for item in spec.virtual_servers)
        return Applied(message.generation, 0, 0, len(spec.virtual_servers), servers)

    async def _open_table(self) -> TableKeeper:
        if self._table is None:
            client = self._make_client()
            client.open()
            self._table = TableKeeper(client, self._emit)
        return self._table

    async def _adopt(self, spec: DirectorSpec, table: TableKeeper) -> None:
        async with self._looking:
            playable = harmless(spec)
            await self._vips.prepare(playable)
            await self._virtuals.adopt(playable, table, StateFile(self._beside).load().past)
            # No wait between the adoption and the new pools: a result is of what is in the spec.
            self._spec = spec
            self._vips.follow(playable, self._virtuals)
            await self._health.replace(self._virtuals.pools)
            self._sysctls.check(replace(spec, manage_sysctls=False), table.traits)
            await self._look(table, ours=True, first=True)

    def _on_effects(self, name: str, effects: list[PoolEffect[DestKey]]) -> None:
        if self._virtuals.on_effects(name, effects):
            self._changed.set()
        virtual = next(item for item in self._spec.virtual_servers if item.name == name)
        for what, script in _scripts(virtual, effects):
            words = " ".join(script.argv)
            self._emit(events.WouldDo(f"run {what}: {words}", Effect.NOTHING, "scripts"))

    async def _look_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._changed.wait()
            started = time.monotonic()
            await self._upkeep.guarded("table", self._look_again)
            self._rounds += 1
            await asyncio.sleep((time.monotonic() - started) / LOOK_SHARE)

    async def _look_again(self) -> None:
        async with self._looking:
            ours = self._changed.is_set()
            self._changed.clear()
            if self._table is not None:
                await self._look(self._table, ours=ours)

    async def _look(self, table: TableKeeper, *, ours: bool, first: bool = False) -> None:
        """Compare the kernel with what health asks for; it differs by *ours*, or by others."""
        self._virtuals.take_changed()
        health: dict[str, tuple[Serving[DestKey], bool]] = {}
        breath = Breath()
        for item in self._virtuals:
            health[item.spec.name] = item.pool.serving(), item.pool.has_quorum
            await breath.taken()
        changes = await asyncio.to_thread(plan, self._spec, table.client, self._beside, health)
        self._tell(changes, ours=ours, first=first)

    def _tell(self, changes: Iterable[Change], *, ours: bool, first: bool) -> None:
        found = {change.what: change for change in changes}
        now = time.monotonic()
        self._since = {what: self._since.get(what, now) for what in found}
        fresh = {
            what
            for what, since in self._since.items()
            if what not in self._told and (ours or now - since >= LASTS)
        }
        for what, change in found.items():
            if what in fresh:
                self._emit(events.WouldDo(what, change.impact, change.area))
        if not found and (first or self._told):
            up, servers = self._virtuals.count_up()
            self._emit(events.WouldDoNothing(len(self._virtuals), up, servers))
        self._told = (self._told & found.keys()) | fresh

    async def _watch_addresses(self) -> None:
        while True:
            await self._vips.changed()
            await self._upkeep.guarded("virtual addresses", self._vips.look)

    async def _reply(self, asked: Ask) -> Reply:
        now = asyncio.get_running_loop().time()
        body = msgspec.Raw(b"null")
        match asked.question:
            case TakeFlight():
                body = msgspec.Raw(msgspec.json.encode(await self._health.flight()))
            case ListOverrides():
                body = msgspec.Raw(msgspec.json.encode(OverridesView(now, ())))
            case Override():
                problem = Problem("refused", "a dry run changes nothing", "Ask the daemon itself.")
                return Reply(asked.number, body, problem)
            case _:
                view = await view_director(
                    self._virtuals, now, table=self._table, tally=self._health.tally
                )
                body = await encode_view(view)
        return Reply(asked.number, body)

    async def _beat(self) -> None:
        while True:
            good, total = self._virtuals.count_up()
            await self._send(Beat(self._rounds, good, total))
            await asyncio.sleep(BEAT_INTERVAL)

    async def _send(self, message: msgspec.Struct) -> None:
        # A supervisor that is gone ends the channel, and that ends the role.
        with contextlib.suppress(ConnectionError):
            await self._channel.send(message)


def _scripts(
    virtual: VirtualServerSpec, effects: Iterable[PoolEffect[DestKey]]
) -> Iterator[tuple[str, Script]]:
    """Yield the scripts that a daemon would run for *effects*, and of whom they are."""
    servers = {server_key(server): server for server in virtual.real_servers}
    for effect in effects:
        match effect:
            case ServerUp(key=key):
                what, script = f"notify_up of {key}", servers[key].notify_up
            case ServerDown(key=key):
                what, script = f"notify_down of {key}", servers[key].notify_down
            case QuorumGained():
                what, script = f"quorum_up of {virtual.name}", virtual.quorum_up
            case QuorumLost():
                what, script = f"quorum_down of {virtual.name}", virtual.quorum_down
            case _:
                continue
        if script is not None:
            yield what, script


def dry_run_main(sock: socket.socket, beside: Path, emit: Emit) -> int:
    """Play the director of a dry run on *sock* until its supervisor stops it or is gone."""

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(end_on_bug)
        channel = await Channel.connect(sock)
        await DryRun(channel, beside, Forwarder(channel, emit).tell).run()

    asyncio.run(main())
    return ExitStatus.OK
