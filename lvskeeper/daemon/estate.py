"""What a director keeps in the kernel: brought there, kept as it is to be, taken out again.

Each keeper has one thing; here is the order in which they act, and when each looks at its own.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, final

from lvskeeper.daemon.addresses import AddressKeeper
from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.capacity import CAPACITY_INTERVAL, CapacityWatch, wanted_entries
from lvskeeper.daemon.channel import Mail
from lvskeeper.daemon.counters import LOOK_INTERVAL, CounterKeeper
from lvskeeper.daemon.coverage import gaps, online_cpus
from lvskeeper.daemon.fullnat import FullnatKeeper
from lvskeeper.daemon.health import HealthLoop
from lvskeeper.daemon.local_vips import LocalVips
from lvskeeper.daemon.native_options import passed_over
from lvskeeper.daemon.offers import OfferBook
from lvskeeper.daemon.overrides import OVERRIDE_INTERVAL, OverrideKeeper
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.state import OwnedState, Past, StateFile
from lvskeeper.daemon.state_sync import STATE_SYNC_INTERVAL, StateSyncKeeper
from lvskeeper.daemon.sync import SyncKeeper
from lvskeeper.daemon.sysctl_keeper import SysctlKeeper
from lvskeeper.daemon.table import DRIFT_BUDGET, Outcome, TableKeeper
from lvskeeper.daemon.upkeep import Upkeep
from lvskeeper.daemon.virtuals import Virtuals, served
from lvskeeper.errors import OperatorError
from lvskeeper.health.pool import PoolEffect
from lvskeeper.ipvs.types import DestKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.nft_hush import Hush
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.probes.dns import load_reader
from lvskeeper.units import format_duration

LOOK_PAUSE: Final = 0.01
"""Seconds between looks at a ruleset that changes all the time."""
DRIFT_INTERVAL: Final = 0.4
"""Seconds between two looks at the kernel's tables; a repair is then done within one second."""

DRIFT_SHARE: Final = 0.2
"""Most of one core that looking may cost; a big table is looked at less often."""

DRIFT_MOST: Final = 10.0
"""Most seconds between two looks. One that took so long as to earn more has stood still, or waited
for a reload; and a long rest looks to the watchdog as if nothing were done any more."""

SLOW_TURN: Final = 2.0
"""Seconds between two looks at LIPs on devices, at sysctls, and for a guard that was refused."""

SCRIPT_PATIENCE: Final = 5.0
"""Seconds that scripts get to end at a stop."""


@final
class Estate:
    """Services, LIPs, virtual addresses, rulesets and sysctls of one life of a director."""

    def __init__(
        self,
        emit: Emit,
        run_dir: Path,
        client: Callable[[], IpvsClient],
        post: Callable[[Mail], None],
    ) -> None:
        """*client* makes the one to IPVS when there is need of it, *post* has a mail sent."""
        self._emit = emit
        self._make_client = client
        self._state_file = StateFile(run_dir)
        self._owned = self._state_file.load()
        self._spec = DirectorSpec()
        self.table: TableKeeper | None = None
        """None as long as nothing is wanted in the kernel."""
        self.fullnat = FullnatKeeper(emit)
        self._addresses = AddressKeeper(emit, self._owned.addresses, self._note_addresses)
        self._announcer = Announcer(emit, post)
        self.sync = SyncKeeper(emit)
        self.state_sync = StateSyncKeeper(emit, run_dir, held=self.fullnat.held, ipvs=self.sync)
        self._sysctls = SysctlKeeper(emit)
        self.counters = CounterKeeper(emit)
        self.capacity = CapacityWatch(emit)
        self._wanted_entries = 0
        self._offers = OfferBook(emit)
        self.health = HealthLoop(self._on_effects, self._offers.note, emit)
        self._vips = LocalVips(emit, self._owned.vips, self.health.rest, self._note_addresses)
        self.overrides = OverrideKeeper(emit, run_dir)
        self.virtuals = Virtuals(emit, self._announcer, self.overrides.book)
        self._flush_wanted = asyncio.Event()
        self.changing = asyncio.Lock()
        """Held while another configuration, or an order, is brought about."""
        self.upkeep = Upkeep(emit)
        self.rounds = 0
        """Looks at the table that were finished, for the watchdog."""

    def tend(self) -> Iterator[Coroutine[object, object, None]]:
        """Yield what has to go on all the while."""
        yield self._flush_forever()
        yield self._watch_table()
        yield self._watch_ruleset()
        yield self._watch_addresses()
        for interval, look in (
            (SLOW_TURN, self._check_surroundings),
            (LOOK_INTERVAL, self._count),
            (SLOW_TURN, self._see_off_addresses),
            (CAPACITY_INTERVAL, self._look_at_capacity),
            (OVERRIDE_INTERVAL, self._look_at_overrides),
            (STATE_SYNC_INTERVAL, self.state_sync.look),
        ):
            yield self.upkeep.repeat(interval, look)

    async def close(self) -> None:
        """Let go of everything, and leave the kernel as it is."""
        await self.health.close()
        self._vips.close()
        await self._announcer.close(SCRIPT_PATIENCE)
        self.fullnat.close()
        self.capacity.close()
        self.overrides.close()

    async def apply(self, spec: DirectorSpec, table: TableKeeper) -> Outcome:
        """Bring *spec* into the kernel: sysctls, LIPs, then the table, then what may go."""
        try:
            return await self._apply(spec, table)
        finally:
            self._announcer.release()

    async def _apply(self, spec: DirectorSpec, table: TableKeeper) -> Outcome:
        self._wanted_entries = await asyncio.to_thread(wanted_entries, spec)
        await asyncio.to_thread(_get_ready, spec)
        changed = self._sysctls.apply(spec, table.traits, self._wanted_entries)
        if changed and table.traits.established_timeout:
            # The timeout of services that ask for none is one of them, and known since the opening.
            table.client.open()
        await self._addresses.add(spec.pools)
        await self._vips.prepare(spec)
        self._announcer.hold()
        leaving = await self.virtuals.adopt(spec, table, self._owned.past)
        # No wait between the adoption and here: a result meanwhile would reach the old pools only.
        self._spec = spec
        self.overrides.follow(spec, asyncio.get_running_loop().time())
        await self.upkeep.guarded("overrides", self.overrides.save)  # it does not wait
        self._offers.follow(spec)
        # A rest that the reload ends is over for the new pools, not for those that go.
        follow = partial(self._vips.follow, spec, self.virtuals)
        await self.health.replace(self.virtuals.pools, follow)
        breath = Breath()
        keys = {key for item in spec.virtual_servers for key in item.keys}
        await self.virtuals.want_all(table)
        # What an earlier director left is ours as well; nothing is let go before what is wanted is
        # known.
        table.forget((table.owned | set(self._owned.services)) - keys)
        await self._note(table)
        for item in leaving:
            self._announcer.leaving(item.spec, item.pool)
        await breath.taken()
        ready = served(self.virtuals)
        await self.upkeep.guarded("SYN cookies", partial(self.fullnat.withdraw_others, ready))
        await self.upkeep.guarded("virtual addresses", self._vips.withdraw)
        outcome = await table.sync()
        self._announcer.release()
        await self.upkeep.guarded("virtual addresses", self._vips.settle)
        for gap in gaps(spec, table.traits.dialect, online_cpus()):
            self._emit(gap)
        if table.traits.native_fullnat:
            for told in passed_over(spec):
                self._emit(told)
        else:
            self.fullnat.measured = self._offers.measured(spec)
            # Servers that came meanwhile follow with the next results, after the table.
            await self.fullnat.settle(spec, ready & served(self.virtuals))
        countable = not table.traits.native_fullnat
        await self._addresses.dismiss_others(spec.pools, countable=countable)
        self.sync.configure(spec.sync)
        # A kernel that refuses it serves all the same.
        await self.upkeep.guarded("sync daemon", self.follow)
        await self._note_changes(table)
        return outcome

    def needs_table(self, spec: DirectorSpec) -> bool:
        """Whether there is anything to do in the kernel: a router of VRRP alone needs no ip_vs."""
        ours = self._owned.services or self._owned.addresses or self._owned.vips
        return bool(spec.virtual_servers or spec.pools or spec.sync or ours or self.table)

    async def open_table(self) -> TableKeeper:
        """Return the table, which is opened the first time; raise as the kernel does."""
        if self.table is None:
            client = self._make_client()
            # Loading the module may take long, and the beats must go on.
            await asyncio.to_thread(client.open)
            self.table = TableKeeper(client, self._emit, Hush())
            native = self.table.traits.native_fullnat
            self._emit(
                events.KernelReady(
                    self.table.traits.dialect.value, "native" if native else "nftables"
                )
            )
        return self.table

    async def _note(self, table: TableKeeper) -> None:
        """Save what is ours. Where that fails we serve all the same, and soon try again."""
        await self.upkeep.guarded("state", partial(self._save, table))

    async def _save(self, table: TableKeeper) -> None:
        self._owned = OwnedState(
            tuple(sorted(table.owned)),
            self._addresses.ours,
            self.virtuals.past,
            self._vips.ours,
        )
        self._state_file.save(self._owned)

    async def _note_changes(self, table: TableKeeper) -> None:
        """:meth:`_note` what changed since the last time under the same configuration, if anything.

        To gather the state of thousands takes far longer than to see that it is as it was.
        """
        noted = self._owned
        if not (
            self._state_file.holds(noted)
            and self._addresses.ours == noted.addresses
            and self._vips.ours == noted.vips
            and table.owned == frozenset(noted.services)
            and self.virtuals.are_as(noted.past)
        ):
            await self._note(table)

    def _note_addresses(self) -> None:
        """Save which addresses on devices are ours, and nothing else that may be half changed."""
        self._owned = replace(self._owned, addresses=self._addresses.ours, vips=self._vips.ours)
        with contextlib.suppress(OperatorError):  # :meth:`_note_changes` tells it, and tries again
            self._state_file.save(self._owned)

    async def _save_turned(self, turned: dict[str, Past]) -> None:
        """Save which virtual servers *turned*, and which virtual addresses are ours.

        Nothing else: what an earlier director left is known only once a reload has come to it.
        """
        self._owned = replace(self._owned, past=self._owned.past | turned, vips=self._vips.ours)
        self._state_file.save(self._owned)

    def _on_effects(self, name: str, effects: list[PoolEffect[DestKey]]) -> None:
        if self.virtuals.on_effects(name, effects):
            self._flush_wanted.set()

    async def flush(self) -> None:
        """Carry what health has changed into the kernel; raise as that does."""
        if self.table is None:
            return
        changed, since = self.virtuals.take_changed()
        if not changed:
            return
        self.virtuals.want(changed, self.table)
        self._vips.hold(changed)
        await self.upkeep.guarded("virtual addresses", self._vips.withdraw)
        keys = {key for item in changed for key in item.spec.keys}
        ready = served(changed)
        await self.upkeep.guarded("SYN cookies", partial(self.fullnat.withdraw, keys - ready))
        outcome = await self.table.sync(keys)
        await self.upkeep.guarded("virtual addresses", self._vips.settle)
        ready &= served(changed)
        await self.upkeep.guarded("SYN cookies", partial(self.fullnat.admit, ready))
        if outcome.operations:
            took = format_duration(time.monotonic() - since)
            names = ", ".join(item.spec.name for item in changed)
            self._emit(events.HealthApplied(names, outcome.operations, outcome.refused, took))
        # Of all that the state holds, health changes the quorum. A reload meanwhile has noted its
        # own, perhaps without these virtual servers, or has yet to do so.
        noted = self._owned.past
        turned = {
            item.spec.name: replace(noted[item.spec.name], had_quorum=item.pool.has_quorum)
            for item in changed
            if item.spec.name in noted
            and item.pool.has_quorum is not noted[item.spec.name].had_quorum
        }
        if turned or self._vips.ours != self._owned.vips:
            await self.upkeep.guarded("state", partial(self._save_turned, turned))

    async def follow(self) -> None:
        """Let the kernel's sync daemon be as it is to be; raise as the kernel does."""
        if self.table is not None:
            self.sync.settle(self.table.client)

    async def remove_all(self) -> tuple[str, ...]:
        """Take out of the kernel what is ours, and nothing else; return what could not be."""
        for item in self.virtuals.clear():
            self._announcer.leaving(item.spec, item.pool, stopping=True)
        await self.health.replace({})
        self._spec = DirectorSpec()
        left: list[str] = []
        self.sync.configure(None)
        for work in (
            self._vips.release, self.follow, self._remove_services, self.fullnat.remove,
            self._remove_addresses,
        ):  # fmt: skip
            try:
                await work()
            except OperatorError as error:
                left.append(error.message)
        if self.table is not None and self.table.owned:
            left.append(f"services: {', '.join(map(str, sorted(self.table.owned)))}")
        return tuple(left)

    async def _remove_services(self) -> None:
        table = await self.open_table()
        table.forget(table.owned | set(self._owned.services))
        await table.sync()
        await self._save(table)

    async def _remove_addresses(self) -> None:
        await self._addresses.remove_all()
        if self.table is not None:
            await self._save(self.table)

    async def _flush_forever(self) -> None:
        """Carry what the results of one loop turn changed into the kernel, as one batch."""
        while True:
            await self._flush_wanted.wait()
            self._flush_wanted.clear()
            await self.upkeep.guarded("health", self.flush)

    async def _watch_table(self) -> None:
        """Look for drift again and again; the more it costs, the less often."""
        while True:
            started = time.monotonic()
            await self.upkeep.guarded("table", self._check_table)
            self.rounds += 1
            cost = time.monotonic() - started
            # A table that is read in one go is small; a slow turn of the loop is no measure of it.
            rest = cost / DRIFT_SHARE if cost > DRIFT_BUDGET else DRIFT_INTERVAL
            await asyncio.sleep(min(rest, DRIFT_MOST))

    async def _check_table(self) -> None:
        if self.table is not None:
            await self.flush()
            # What a reload wants by and by is no drift, and it looks at the whole table itself.
            if not self.changing.locked():
                await self.table.check_drift()

    async def _watch_ruleset(self) -> None:
        """Look at the ruleset at every news of a change, and without news all the same."""
        while True:
            await self.upkeep.guarded("ruleset", self.fullnat.check_drift)
            await asyncio.sleep(LOOK_PAUSE)
            await self.fullnat.changed(DRIFT_INTERVAL)

    async def _watch_addresses(self) -> None:
        """Look at the addresses of this host at every news of a change."""
        while True:
            await self._vips.changed()
            await self.upkeep.guarded("virtual addresses", self._check_addresses)

    async def _check_addresses(self) -> None:
        if self.table is not None and not self.changing.locked():
            await self._vips.look()
            await self._note_changes(self.table)

    async def _check_surroundings(self) -> None:
        if self.table is None or self.changing.locked() or not self.virtuals:
            # Without virtual servers nothing was taken over yet: a save would forget, after a first
            # configuration that was refused, what an earlier director left.
            return
        await self.fullnat.guard()
        self._sysctls.check(self._spec, self.table.traits, self._wanted_entries)
        await self._addresses.add(self._spec.pools)
        await self._vips.look()
        if self._offers.changed and not self.table.traits.native_fullnat:
            async with self.changing:
                self.fullnat.measured = self._offers.measured(self._spec)
                await self.fullnat.settle(self._spec, frozenset())
        await self._note_changes(self.table)

    async def _count(self) -> None:
        self.counters.look(self._spec, asyncio.get_running_loop().time())

    async def _look_at_capacity(self) -> None:
        if self.table is not None:
            await self.capacity.look(self._spec, self.table.client)

    async def _see_off_addresses(self) -> None:
        before = self._addresses.ours
        await self._addresses.see_off()
        if self.table is not None and self._addresses.ours != before and not self.changing.locked():
            await self._note(self.table)

    async def _look_at_overrides(self) -> None:
        if self.table is None or self.changing.locked():
            return
        async with self.changing:
            now = asyncio.get_running_loop().time()
            changed = await self.overrides.look(self.virtuals, self.table.client, now)
            await self.virtuals.reorder(changed)
            await self.upkeep.guarded("overrides", self.overrides.save)
        await self.flush()
        await self.overrides.see_off()


def _get_ready(spec: DirectorSpec) -> None:
    """Import what only some checks need: amid the first answer it would hold up the loop."""
    checks = (
        check
        for virtual in spec.virtual_servers
        for server in virtual.real_servers
        for check in server.checks
    )
    if any(check.dns and check.dns.wanted is not None for check in checks):
        load_reader()
