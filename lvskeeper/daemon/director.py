"""The director role: probes, health, quorum, the IPVS table and FULLNAT.

It obeys the supervisor's messages and keeps the kernel as they say. When the channel ends without
a stop it leaves everything in place: the next director adopts it.
"""

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never, final

import msgspec

from lvskeeper.daemon.addresses import AddressKeeper
from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    Stop,
    Stopped,
    ToDirector,
)
from lvskeeper.daemon.desired import entries, make_pool, pool_specs, prior_of
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.daemon.state import OwnedState, StateFile
from lvskeeper.daemon.table import Outcome, TableKeeper
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.health.pool import Pool, PoolEffect
from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit, silence_libraries
from lvskeeper.units import format_duration

BEAT_INTERVAL: Final = 1.0
"""Seconds between two beats to the supervisor."""

DRIFT_INTERVAL: Final = 0.4
"""Seconds between two looks at the kernel's tables; a repair is then done within one second."""

SCRIPT_PATIENCE: Final = 5.0
"""Seconds that scripts get to end at a stop."""


@final
@dataclass(slots=True)
class _Virtual:
    """A virtual server with its health; only the director changes it."""

    spec: VirtualServerSpec
    pool: Pool[DestKey]


@final
class Director:
    """One life of the director role."""

    def __init__(self, channel: Channel, run_dir: Path, emit: Emit) -> None:
        self._channel = channel
        self._emit = emit
        self._state_file = StateFile(run_dir)
        self._owned = self._state_file.load()
        self._table: TableKeeper | None = None
        self._fullnat = FullnatKeeper(emit)
        self._addresses = AddressKeeper(emit, self._owned.addresses)
        self._announcer = Announcer(emit)
        self._health = HealthLoop(self._on_effects)
        self._spec = DirectorSpec()
        self._virtuals: dict[str, _Virtual] = {}
        self._dirty: set[str] = set()
        self._dirty_since = 0.0
        self._flush_wanted = asyncio.Event()
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Obey the supervisor until it says stop or is gone."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._beat()),
                tasks.create_task(self._flush_forever()),
                tasks.create_task(self._watch_drift()),
            ]
            await self._obey()
            for task in background:
                task.cancel()
        await self._health.close()
        await self._announcer.close(SCRIPT_PATIENCE)
        self._fullnat.close()

    async def _obey(self) -> None:
        decoder: msgspec.json.Decoder[ToDirector] = msgspec.json.Decoder(ToDirector)
        while (message := await self._channel.receive(decoder)) is not None:
            match message:
                case Apply():
                    await self._channel.send(await self._answer(message))
                case Stop(remove=remove):
                    kept = not remove or self._spec.keep_on_stop
                    if not kept:
                        await self._remove_all()
                    await self._channel.send(Stopped(kept=kept))
                    return
                case _:
                    assert_never(message)

    async def _answer(self, message: Apply) -> Applied | Failed:
        spec = msgspec.json.decode(message.spec, type=DirectorSpec)
        try:
            async with self._changing:
                outcome = await self._apply(spec)
        except OperatorError as error:
            return Failed(message.generation, error.message, error.hint, error.status)
        gc.collect()
        gc.freeze()
        return Applied(
            message.generation,
            outcome.operations,
            outcome.refused,
            len(spec.virtual_servers),
            sum(len(item.real_servers) for item in spec.virtual_servers),
        )

    async def _apply(self, spec: DirectorSpec) -> Outcome:
        """Bring *spec* into the kernel: LIPs and ruleset, then the table, then what may go."""
        table = self._open_table()
        native = table.traits.native_fullnat
        await self._addresses.add(spec.pools)
        if not native:
            await self._fullnat.prepare(spec)
        virtuals = self._adopt(spec, table)
        keys = {key for item in spec.virtual_servers for key in item.keys}
        leaving = set(self._owned.services) - keys
        self._save(keys | leaving)
        # No wait between the adoption and here: a result meanwhile would reach the old pool only.
        self._spec, self._virtuals = spec, virtuals
        self._health.replace({name: item.pool for name, item in virtuals.items()})
        table.forget(leaving)
        self._want(virtuals.values(), table)
        self._dirty.clear()
        outcome = await table.sync(keys | leaving)
        self._save(keys)
        if not native:
            await self._fullnat.settle(spec)
        await self._addresses.remove_others(spec.pools)
        self._save(keys)
        return outcome

    def _open_table(self) -> TableKeeper:
        if self._table is None:
            client = IpvsClient()
            client.open()
            self._table = TableKeeper(client, self._emit)
            native = self._table.traits.native_fullnat
            self._emit(
                events.KernelReady(
                    self._table.traits.dialect.value, "native" if native else "nftables"
                )
            )
        return self._table

    def _adopt(self, spec: DirectorSpec, table: TableKeeper) -> dict[str, _Virtual]:
        """Return the virtual servers of *spec*, with what is known of their health.

        A virtual server that ran before goes on; one that the kernel already has starts from what
        its table shows; any other starts by its own policy (alpha).
        """
        now = asyncio.get_running_loop().time()
        fresh = [item for item in spec.virtual_servers if item.name not in self._virtuals]
        actual = table.read({key for item in fresh for key in item.keys})
        priors = [prior for item in fresh if (prior := prior_of(item, actual)) is not None]
        if priors:
            self._emit(
                events.TableAdopted(
                    sum(prior.services for prior in priors),
                    sum(prior.destinations for prior in priors),
                    sum(not live for prior in priors for live in prior.live.values()),
                )
            )
        virtuals = {}
        for item in spec.virtual_servers:
            before = self._virtuals.get(item.name)
            if before is None:
                pool = make_pool(item, now, prior_of(item, actual))
                effects = pool.start()
            else:
                pool = make_pool(item, now)
                effects = pool.carry(before.pool)
            virtuals[item.name] = _Virtual(item, pool)
            self._announcer.tell(item, effects)
        return virtuals

    def _want(self, virtuals: Iterable[_Virtual], table: TableKeeper) -> None:
        groups = pool_specs(self._spec)
        for item in virtuals:
            pool = groups.get(item.spec.pool)
            table.want(entries(item.spec, item.pool.serving(), pool))

    def _save(self, services: Iterable[ServiceKey]) -> None:
        self._owned = OwnedState(tuple(sorted(services)), self._addresses.ours)
        self._state_file.save(self._owned)

    def _on_effects(self, name: str, effects: list[PoolEffect[DestKey]]) -> None:
        if self._announcer.tell(self._virtuals[name].spec, effects):
            if not self._dirty:
                self._dirty_since = time.monotonic()
            self._dirty.add(name)
            self._flush_wanted.set()

    async def _flush_forever(self) -> None:
        """Carry what the results of one loop turn changed into the kernel, as one batch."""
        while True:
            await self._flush_wanted.wait()
            self._flush_wanted.clear()
            async with self._changing:
                try:
                    await self._flush()
                except OperatorError as error:
                    self._emit(events.ApplyFailed(error.message, error.hint))

    async def _flush(self) -> None:
        if self._table is None or not self._dirty:
            return
        names = sorted(self._dirty & self._virtuals.keys())
        changed = [self._virtuals[name] for name in names]
        since = self._dirty_since
        self._dirty.clear()
        self._want(changed, self._table)
        outcome = await self._table.sync({key for item in changed for key in item.spec.keys})
        took = format_duration(time.monotonic() - since)
        self._emit(
            events.HealthApplied(", ".join(names), outcome.operations, outcome.refused, took)
        )

    async def _watch_drift(self) -> None:
        while True:
            await asyncio.sleep(DRIFT_INTERVAL)
            if self._table is None:
                continue
            async with self._changing:
                try:
                    await self._flush()
                    await self._fullnat.check_drift()
                    await self._table.check_drift()
                except OperatorError as error:
                    self._emit(events.ApplyFailed(error.message, error.hint))

    async def _beat(self) -> None:
        # A supervisor that is gone ends the channel, and that ends the director.
        with contextlib.suppress(ConnectionError):
            while True:
                await self._channel.send(Beat())
                await asyncio.sleep(BEAT_INTERVAL)

    async def _remove_all(self) -> None:
        """Take out of the kernel what is ours, and nothing else."""
        async with self._changing:
            self._announcer.stopping(item.spec for item in self._virtuals.values())
            self._health.replace({})
            if self._table is not None:
                table, keys = self._table, set(self._owned.services)
                table.forget(keys)
                await table.sync(keys)
                self._table = None
            await self._fullnat.remove()
            await self._addresses.remove_others(())
            self._save(())


def director_main(sock: socket.socket, run_dir: Path, emit: Emit) -> int:
    """Run the director role on *sock* until its supervisor stops it or is gone."""
    silence_libraries()

    async def main() -> None:
        channel = await Channel.connect(sock)
        await Director(channel, run_dir, emit).run()

    asyncio.run(main())
    return ExitStatus.OK
