"""The director role: probes, health, quorum, the IPVS table and FULLNAT.

It obeys the supervisor's messages and keeps the kernel as they say. When the channel ends without
a stop it leaves everything in place: the next director adopts it.
"""

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never, final

import msgspec

from lvskeeper.daemon.addresses import AddressKeeper
from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.capacity import CAPACITY_INTERVAL, CapacityWatch, wanted_entries
from lvskeeper.daemon.channel import (
    Applied,
    Apply,
    Beat,
    Channel,
    Failed,
    Mail,
    Report,
    Stop,
    Stopped,
    SyncRole,
    ToDirector,
)
from lvskeeper.daemon.collector import COLLECTOR
from lvskeeper.daemon.counters import LOOK_INTERVAL, CounterKeeper
from lvskeeper.daemon.coverage import gaps, online_cpus
from lvskeeper.daemon.director_view import encode_view, view_director
from lvskeeper.daemon.forward import Forwarder
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.daemon.local_vips import LocalVips
from lvskeeper.daemon.native_options import passed_over
from lvskeeper.daemon.offers import OfferBook
from lvskeeper.daemon.overrides import OVERRIDE_INTERVAL, OverrideKeeper
from lvskeeper.daemon.process import end_on_bug
from lvskeeper.daemon.questions import Ask, AskError, ListOverrides, Override, Reply, TakeFlight
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.state import OwnedState, StateFile
from lvskeeper.daemon.state_sync import STATE_SYNC_INTERVAL, StateSyncKeeper
from lvskeeper.daemon.sync import SyncKeeper
from lvskeeper.daemon.sysctl_keeper import SysctlKeeper
from lvskeeper.daemon.table import DRIFT_BUDGET, Outcome, TableKeeper
from lvskeeper.daemon.upkeep import Upkeep
from lvskeeper.daemon.virtuals import Virtuals, served
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.health.pool import PoolEffect
from lvskeeper.ipvs.types import DestKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.observe.views import DirectorView, OverridesView
from lvskeeper.units import format_duration

if TYPE_CHECKING:
    from lvskeeper.observe.probe_records import DirectorFlight

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread may go on computing while the loop waits for its turn; usually 5 ms."""

BEAT_INTERVAL: Final = 1.0
"""Seconds between two beats to the supervisor."""

LOOK_PAUSE: Final = 0.01
"""Seconds between looks at a ruleset that changes all the time."""
DRIFT_INTERVAL: Final = 0.4
"""Seconds between two looks at the kernel's tables; a repair is then done within one second."""

DRIFT_SHARE: Final = 0.2
"""Most of one core that looking may cost; a big table is looked at less often."""

SLOW_TURN: Final = 2.0
"""Seconds between two looks at LIPs on devices and at sysctls."""

ORDER_PATIENCE: Final = 10.0
"""Seconds that an order waits for a reload to end."""

SCRIPT_PATIENCE: Final = 5.0
"""Seconds that scripts get to end at a stop."""


@final
class Director:
    """One life of the director role."""

    def __init__(
        self,
        channel: Channel,
        run_dir: Path,
        emit: Emit,
        client: Callable[[], IpvsClient] = IpvsClient,
    ) -> None:
        self._channel = channel
        self._emit = emit
        self._make_client = client
        self._state_file = StateFile(run_dir)
        self._owned = self._state_file.load()
        self._table: TableKeeper | None = None
        self._fullnat = FullnatKeeper(emit)
        self._addresses = AddressKeeper(emit, self._owned.addresses)
        self._announcer = Announcer(emit, self._post)
        self._sync = SyncKeeper(emit)
        self._state_sync = StateSyncKeeper(emit, run_dir, held=self._fullnat.held, ipvs=self._sync)
        self._sysctls = SysctlKeeper(emit)
        self._counters = CounterKeeper(emit)
        self._capacity = CapacityWatch(emit)
        self._wanted_entries = 0
        self._offers = OfferBook(emit)
        self._health = HealthLoop(self._on_effects, self._offers.note, emit)
        self._vips = LocalVips(emit, self._owned.vips, self._health.rest)
        self._spec = DirectorSpec()
        self._keep = False
        self._overrides = OverrideKeeper(emit, run_dir)
        self._virtuals = Virtuals(emit, self._announcer, self._overrides.book)
        self._flush_wanted = asyncio.Event()
        self._changing = asyncio.Lock()
        self._upkeep = Upkeep(emit)
        self._rounds = 0
        """Looks at the table that were finished, for the watchdog."""

    async def run(self) -> None:
        """Obey the supervisor until it says stop or is gone."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            background = [
                tasks.create_task(work)
                for work in (
                    self._beat(),
                    self._flush_forever(),
                    self._watch_table(),
                    self._watch_ruleset(),
                    self._watch_addresses(),
                    self._upkeep.repeat(SLOW_TURN, self._check_surroundings),
                    self._upkeep.repeat(LOOK_INTERVAL, self._count),
                    self._upkeep.repeat(SLOW_TURN, self._see_off_addresses),
                    self._upkeep.repeat(CAPACITY_INTERVAL, self._look_at_capacity),
                    self._upkeep.repeat(OVERRIDE_INTERVAL, self._look_at_overrides),
                    self._upkeep.repeat(STATE_SYNC_INTERVAL, self._state_sync.look),
                )
            ]
            await self._obey()
            for task in background:
                task.cancel()
        await self._health.close()
        self._vips.close()
        await self._announcer.close(SCRIPT_PATIENCE)
        self._fullnat.close()
        self._capacity.close()
        self._overrides.close()
        self._channel.close()

    async def _obey(self) -> None:
        """Do what the supervisor says; its stop, or its end, drops what is being applied."""
        decoder: msgspec.json.Decoder[ToDirector] = msgspec.json.Decoder(ToDirector)
        applying: asyncio.Task[None] | None = None
        while (message := await self._channel.receive(decoder)) is not None:
            match message:
                case Apply():
                    applying = self._tasks.create_task(self._answer(message, after=applying))
                case Stop(remove=remove):
                    await _drop(applying)
                    await self._stop(remove=remove)
                    return
                case SyncRole(master=master):
                    self._sync.follow(master=master)
                    self._state_sync.follow(active=master)
                    await self._upkeep.guarded("sync daemon", self._follow)
                case Report():
                    self._counters.report()
                    self._state_sync.report()
                case Ask():
                    self._tasks.create_task(self._reply(message))
                case _:
                    assert_never(message)
        await _drop(applying)

    async def _reply(self, asked: Ask) -> None:
        """Answer a question about what is in force, or do what an operator orders."""
        now = asyncio.get_running_loop().time()
        problem = None
        view: DirectorView | OverridesView | DirectorFlight | None = None
        try:
            match asked.question:
                case TakeFlight():
                    view = await self._health.flight()
                case ListOverrides():
                    view = self._overrides.view(None, self._virtuals, now)
                case Override():
                    view = await self._override(asked.question, asked.by)
                case _:
                    view = await self._look(now)
        except AskError as error:
            problem = error.problem
        if isinstance(view, DirectorView):
            body = await encode_view(view)
        else:
            body = msgspec.Raw(msgspec.json.encode(view))
        await self._send(Reply(asked.number, body, problem))

    async def _look(self, now: float) -> DirectorView:
        return await view_director(
            self._virtuals,
            now,
            table=self._table,
            capacity=self._capacity.snapshot,
            cookies=self._counters.snapshot,
            tally=self._health.tally,
            state_sync=self._state_sync.view(now),
            overrides=self._overrides,
        )

    async def _override(self, asked: Override, by: str) -> OverridesView:
        """Do what is *asked*; return when the kernel has it. Raises :class:`AskError`."""
        try:
            async with asyncio.timeout(ORDER_PATIENCE):
                await self._changing.acquire()
        except TimeoutError:
            hint = "Try again when it is done."
            raise AskError("unavailable", "a reload is under way", hint) from None
        try:
            now = asyncio.get_running_loop().time()
            subjects = self._overrides.order(asked, list(self._virtuals), now, by)
            self._virtuals.reorder({subject.virtual for subject in subjects})
            await self._flush()
        except OperatorError as error:
            raise AskError("internal", error.message, error.hint) from error
        finally:
            self._changing.release()
        return self._overrides.view(subjects, self._virtuals, now)

    async def _look_at_overrides(self) -> None:
        if self._table is None or self._changing.locked():
            return
        async with self._changing:
            now = asyncio.get_running_loop().time()
            changed = await self._overrides.look(self._virtuals, self._table.client, now)
            self._virtuals.reorder(changed)
        await self._flush()

    async def _answer(self, message: Apply, *, after: "asyncio.Task[None] | None") -> None:
        if after is not None:
            await asyncio.wait({after})
        async with self._changing:
            answer = await self._carry_out(message)
        await self._send(answer)

    async def _carry_out(self, message: Apply) -> Applied | Failed:
        # Nothing of what comes is garbage, and the collector would walk it again and again.
        with COLLECTOR.paused():
            try:
                return await self._bring_about(message)
            finally:
                # What is there now stays: out of the collector's sight, without a last look at it.
                gc.freeze()

    async def _bring_about(self, message: Apply) -> Applied | Failed:
        spec = msgspec.json.decode(message.spec, type=DirectorSpec)
        self._keep = spec.keep_on_stop
        intact = True
        try:
            outcome = Outcome(0, 0)
            if self._needs_table(spec):
                table = await self._open_table()
                if not table.traits.native_fullnat:
                    await self._fullnat.prepare(spec)
                intact = False
                outcome = await self._apply(spec, table)
        except OperatorError as error:
            return Failed(message.generation, error.message, error.hint, error.status, intact)
        self._state_sync.configure(spec.state_sync)
        return Applied(
            message.generation,
            outcome.operations,
            outcome.refused,
            len(spec.virtual_servers),
            sum(len(item.real_servers) for item in spec.virtual_servers),
            changes=dict(outcome.kinds),
        )

    async def _apply(self, spec: DirectorSpec, table: TableKeeper) -> Outcome:
        """Bring *spec* into the kernel: sysctls, LIPs, then the table, then what may go."""
        self._wanted_entries = await asyncio.to_thread(wanted_entries, spec)
        changed = self._sysctls.apply(spec, table.traits, self._wanted_entries)
        if changed and table.traits.established_timeout:
            # The timeout of services that ask for none is one of them, and known since the opening.
            table.client.open()
        await self._addresses.add(spec.pools)
        await self._vips.prepare(spec)
        leaving = await self._virtuals.adopt(spec, table, self._owned.past)
        # No wait between the adoption and here: a result meanwhile would reach the old pools only.
        self._spec = spec
        self._overrides.follow(spec, asyncio.get_running_loop().time())
        self._vips.follow(spec, self._virtuals)
        self._offers.follow(spec)
        await self._health.replace(self._virtuals.pools)
        breath = Breath()
        keys = {key for item in spec.virtual_servers for key in item.keys}
        await self._virtuals.want_all(table)
        # What an earlier director left is ours as well; nothing is let go before what is wanted is
        # known.
        table.forget((table.owned | set(self._owned.services)) - keys)
        self._save(table)
        for item in leaving:
            self._announcer.leaving(item.spec, item.pool)
        await breath.taken()
        ready = served(self._virtuals)
        await self._upkeep.guarded("SYN cookies", partial(self._fullnat.withdraw_others, ready))
        await self._upkeep.guarded("virtual addresses", self._vips.withdraw)
        outcome = await table.sync()
        await self._upkeep.guarded("virtual addresses", self._vips.settle)
        for gap in gaps(spec, table.traits.dialect, online_cpus()):
            self._emit(gap)
        if table.traits.native_fullnat:
            for told in passed_over(spec):
                self._emit(told)
        else:
            self._fullnat.measured = self._offers.measured(spec)
            # Servers that came meanwhile follow with the next results, after the table.
            await self._fullnat.settle(spec, ready & served(self._virtuals))
        countable = not table.traits.native_fullnat
        await self._addresses.dismiss_others(spec.pools, countable=countable)
        self._sync.configure(spec.sync)
        # A kernel that refuses it serves all the same.
        await self._upkeep.guarded("sync daemon", self._follow)
        self._save_changes(table)
        return outcome

    def _needs_table(self, spec: DirectorSpec) -> bool:
        """Whether there is anything to do in the kernel: a router of VRRP alone needs no ip_vs."""
        ours = self._owned.services or self._owned.addresses or self._owned.vips
        return bool(spec.virtual_servers or spec.pools or spec.sync or ours or self._table)

    async def _open_table(self) -> TableKeeper:
        if self._table is None:
            client = self._make_client()
            # Loading the module may take long, and the beats must go on.
            await asyncio.to_thread(client.open)
            self._table = TableKeeper(client, self._emit)
            native = self._table.traits.native_fullnat
            self._emit(
                events.KernelReady(
                    self._table.traits.dialect.value, "native" if native else "nftables"
                )
            )
        return self._table

    def _save(self, table: TableKeeper) -> None:
        self._owned = OwnedState(
            tuple(sorted(table.owned)),
            self._addresses.ours,
            self._virtuals.past,
            self._vips.ours,
        )
        self._state_file.save(self._owned)

    def _save_changes(self, table: TableKeeper) -> None:
        """Save what changed since the last time under the same configuration, if anything.

        To gather the state of thousands takes far longer than to see that it is as it was.
        """
        noted = self._owned
        if not (
            self._state_file.holds(noted)
            and self._addresses.ours == noted.addresses
            and self._vips.ours == noted.vips
            and table.owned == frozenset(noted.services)
            and self._virtuals.are_as(noted.past)
        ):
            self._save(table)

    def _on_effects(self, name: str, effects: list[PoolEffect[DestKey]]) -> None:
        if self._virtuals.on_effects(name, effects):
            self._flush_wanted.set()

    async def _flush_forever(self) -> None:
        """Carry what the results of one loop turn changed into the kernel, as one batch."""
        while True:
            await self._flush_wanted.wait()
            self._flush_wanted.clear()
            await self._upkeep.guarded("health", self._flush)

    async def _flush(self) -> None:
        if self._table is None:
            return
        changed, since = self._virtuals.take_changed()
        if not changed:
            return
        self._virtuals.want(changed, self._table)
        self._vips.hold(changed)
        await self._upkeep.guarded("virtual addresses", self._vips.withdraw)
        keys = {key for item in changed for key in item.spec.keys}
        ready = served(changed)
        await self._upkeep.guarded("SYN cookies", partial(self._fullnat.withdraw, keys - ready))
        outcome = await self._table.sync(keys)
        await self._upkeep.guarded("virtual addresses", self._vips.settle)
        ready &= served(changed)
        await self._upkeep.guarded("SYN cookies", partial(self._fullnat.admit, ready))
        if outcome.operations:
            took = format_duration(time.monotonic() - since)
            names = ", ".join(item.spec.name for item in changed)
            self._emit(events.HealthApplied(names, outcome.operations, outcome.refused, took))
        # The state is as long as the configuration; of all that health changes it holds the quorum.
        # A reload meanwhile has noted its own, perhaps without these virtual servers.
        noted = self._owned.past
        if (
            any(
                item.spec.name in noted
                and item.pool.has_quorum is not noted[item.spec.name].had_quorum
                for item in changed
            )
            or self._vips.ours != self._owned.vips
        ):
            self._save(self._table)

    async def _watch_addresses(self) -> None:
        """Look at the addresses of this host at every news of a change."""
        while True:
            await self._vips.changed()
            await self._upkeep.guarded("virtual addresses", self._check_addresses)

    async def _check_addresses(self) -> None:
        if self._table is not None and not self._changing.locked():
            await self._vips.look()
            self._save_changes(self._table)

    async def _watch_ruleset(self) -> None:
        """Look at the ruleset at every news of a change, and without news all the same."""
        while True:
            await self._upkeep.guarded("ruleset", self._fullnat.check_drift)
            await asyncio.sleep(LOOK_PAUSE)
            await self._fullnat.changed(DRIFT_INTERVAL)

    async def _watch_table(self) -> None:
        """Look for drift again and again; the more it costs, the less often."""
        while True:
            started = time.monotonic()
            await self._upkeep.guarded("table", self._check_table)
            self._rounds += 1
            cost = time.monotonic() - started
            # A table that is read in one go is small; a slow turn of the loop is no measure of it.
            await asyncio.sleep(cost / DRIFT_SHARE if cost > DRIFT_BUDGET else DRIFT_INTERVAL)

    async def _check_table(self) -> None:
        if self._table is not None:
            await self._flush()
            # What a reload wants by and by is no drift, and it looks at the whole table itself.
            if not self._changing.locked():
                await self._table.check_drift()

    async def _count(self) -> None:
        self._counters.look(self._spec, asyncio.get_running_loop().time())

    async def _follow(self) -> None:
        if self._table is not None:
            self._sync.settle(self._table.client)

    async def _check_surroundings(self) -> None:
        if self._table is None or self._changing.locked() or not self._virtuals:
            # Without virtual servers nothing was taken over yet: a save would forget, after a first
            # configuration that was refused, what an earlier director left.
            return
        self._sysctls.check(self._spec, self._table.traits, self._wanted_entries)
        await self._addresses.add(self._spec.pools)
        await self._vips.look()
        if self._offers.changed and not self._table.traits.native_fullnat:
            async with self._changing:
                self._fullnat.measured = self._offers.measured(self._spec)
                await self._fullnat.settle(self._spec, frozenset())
        self._save_changes(self._table)

    async def _look_at_capacity(self) -> None:
        if self._table is not None:
            await self._capacity.look(self._spec, self._table.client)

    async def _see_off_addresses(self) -> None:
        before = self._addresses.ours
        await self._addresses.see_off()
        if (
            self._table is not None
            and self._addresses.ours != before
            and not self._changing.locked()
        ):
            self._save(self._table)

    async def _beat(self) -> None:
        while True:
            good, total = self._virtuals.count_up()
            await self._send(Beat(self._rounds, good, total))
            await asyncio.sleep(BEAT_INTERVAL)

    async def _send(self, message: msgspec.Struct) -> None:
        # A supervisor that is gone ends the channel, and that ends the director.
        with contextlib.suppress(ConnectionError):
            await self._channel.send(message)

    def _post(self, mail: Mail) -> None:
        """Have a mail sent, in the order of these calls."""
        self._tasks.create_task(self._send(mail))

    async def _stop(self, *, remove: bool) -> None:
        kept = not remove or self._keep
        if not kept:
            await self._state_sync.stop()
        if not kept and not self._needs_table(DirectorSpec()):
            await self._send(Stopped())
            return
        left = () if kept else await self._remove_all()
        await self._send(Stopped(kept=kept, left=left))

    async def _remove_all(self) -> tuple[str, ...]:
        """Take out of the kernel what is ours, and nothing else; return what could not be."""
        for item in self._virtuals.clear():
            self._announcer.leaving(item.spec, item.pool, stopping=True)
        await self._health.replace({})
        self._spec = DirectorSpec()
        left: list[str] = []
        self._sync.configure(None)
        for work in (
            self._vips.release, self._follow, self._remove_services, self._fullnat.remove,
            self._remove_addresses,
        ):  # fmt: skip
            try:
                await work()
            except OperatorError as error:
                left.append(error.message)
        if self._table is not None and self._table.owned:
            left.append(f"services: {', '.join(map(str, sorted(self._table.owned)))}")
        return tuple(left)

    async def _remove_services(self) -> None:
        table = await self._open_table()
        table.forget(table.owned | set(self._owned.services))
        await table.sync()
        self._save(table)

    async def _remove_addresses(self) -> None:
        await self._addresses.remove_all()
        if self._table is not None:
            self._save(self._table)


async def _drop(task: "asyncio.Task[None] | None") -> None:
    """Cancel *task* and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


def director_main(sock: socket.socket, run_dir: Path, emit: Emit) -> int:
    """Run the director role on *sock* until its supervisor stops it or is gone."""

    async def main() -> None:
        sys.setswitchinterval(SWITCH_INTERVAL)
        asyncio.get_running_loop().set_exception_handler(end_on_bug)
        channel = await Channel.connect(sock)
        await Director(channel, run_dir, Forwarder(channel, emit).tell).run()

    asyncio.run(main())
    return ExitStatus.OK
