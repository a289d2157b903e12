"""The virtual servers of a director with their health, and which of them changed."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.desired import (
    LocalPools,
    Prior,
    changes_service,
    entries,
    is_served,
    local_pools,
    make_pool,
    prior_of,
    server_key,
)
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.daemon.state import Past
from lvskeeper.daemon.table import TableKeeper
from lvskeeper.health.pool import Pool, PoolEffect
from lvskeeper.ipvs.overrides import Book, Orders
from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit


@final
@dataclass(frozen=True, slots=True)
class Virtual:
    """A virtual server and its health, which goes on changing."""

    spec: VirtualServerSpec
    pool: Pool[DestKey]


@final
class Virtuals:
    """The virtual servers of the configuration that runs; what happens to them is announced."""

    def __init__(self, emit: Emit, announcer: Announcer, book: Book | None = None) -> None:
        """Make it; *book* has what operators order, and may change at any time."""
        self._emit = emit
        self._announcer = announcer
        self._book = book or Book()
        self._items: dict[str, Virtual] = {}
        self._groups: LocalPools = {}
        self._changed: set[str] = set()
        self._changed_since = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Virtual]:
        return iter(self._items.values())

    @property
    def pools(self) -> dict[str, Pool[DestKey]]:
        """The health of each by name."""
        return {name: item.pool for name, item in self._items.items()}

    @property
    def past(self) -> dict[str, Past]:
        """What the next director is to know of each."""
        return {
            name: Past(item.pool.has_quorum, tuple(map(server_key, item.spec.real_servers)))
            for name, item in self._items.items()
        }

    async def adopt(
        self, spec: DirectorSpec, table: TableKeeper, past: Mapping[str, Past]
    ) -> list[Virtual]:
        """Let those of *spec* be the virtual servers from now on; return those that leave.

        A virtual server that ran before goes on; one that the kernel already has starts from what
        its *table* shows and its *past*; any other starts by its own policy (alpha). Nothing is
        left to :meth:`take_changed`. The old ones are there until all is ready.
        """
        now = asyncio.get_running_loop().time()
        fresh = [item for item in spec.virtual_servers if item.name not in self._items]
        actual = table.read({key for item in fresh for key in item.keys}) if fresh else {}
        priors = {
            item.name: prior_of(item, actual, past.get(item.name), self._orders(item))
            for item in fresh
        }
        if adopted := [prior for prior in priors.values() if prior is not None]:
            self._emit(
                events.TableAdopted(
                    sum(prior.services for prior in adopted),
                    sum(prior.destinations for prior in adopted),
                    sum(not live for prior in adopted for live in prior.live.values()),
                )
            )
        made = []
        breath = Breath()
        for item in spec.virtual_servers:
            before = self._items.get(item.name)
            if before is not None and before.spec == item:
                made.append(before)  # most of a big reload: its health just goes on
            else:
                prior = priors.get(item.name)
                made.append(Virtual(item, make_pool(item, now, prior, self._orders(item))))
            await breath.taken()
        # No wait from here on: what a result changes in an old pool would not be carried over.
        self._announcer.configure(spec)
        for virtual in made:
            before = self._items.get(virtual.spec.name)
            if virtual is before:
                continue
            effects = virtual.pool.carry(before.pool) if before else virtual.pool.start()
            self._tell_changed(virtual, before, priors.get(virtual.spec.name))
            self._announcer.tell(virtual.spec, effects)
        items = {virtual.spec.name: virtual for virtual in made}
        leaving = [item for name, item in self._items.items() if name not in items]
        self._items, self._groups = items, local_pools(spec)
        self._changed.clear()
        return leaving

    def _tell_changed(self, virtual: Virtual, before: Virtual | None, prior: Prior | None) -> None:
        """Tell of servers that are no longer configured, and of new ones that are up."""
        known = before.pool.up if before else prior.live if prior else {}
        if known.keys() == virtual.pool.up.keys():
            return
        for server in virtual.spec.real_servers if self._announcer.tells_present else ():
            key = server_key(server)
            if key not in known and virtual.pool.up[key]:
                self._announcer.present(virtual.spec, server)
        for server in before.spec.real_servers if before else ():
            key = server_key(server)
            if known[key] and key not in virtual.pool.up:
                self._announcer.gone(virtual.spec, server)

    def count_up(self) -> tuple[int, int]:
        """Return how many real servers are up, and of how many."""
        up = [list(item.pool.up.values()) for item in self._items.values()]
        return sum(map(sum, up)), sum(map(len, up))

    def are_as(self, past: Mapping[str, Past]) -> bool:
        """Return whether *past* tells their names and quorums; their servers are then the same."""
        return past.keys() == self._items.keys() and all(
            item.pool.has_quorum is past[name].had_quorum for name, item in self._items.items()
        )

    def clear(self) -> list[Virtual]:
        """Forget all; return them, as they leave."""
        leaving = list(self)
        self._items, self._groups = {}, {}
        self._changed.clear()
        return leaving

    def on_effects(self, name: str, effects: list[PoolEffect[DestKey]]) -> bool:
        """Announce *effects* on the virtual server *name*; return if they change who serves."""
        changes = changes_service(effects)
        if changes:
            if not self._changed:
                self._changed_since = time.monotonic()
            self._changed.add(name)
        self._announcer.tell(self._items[name].spec, effects)
        return changes

    async def reorder(self, names: Iterable[str]) -> None:
        """Let the virtual servers *names* have what operators order for them now.

        No reload may come in between.
        """
        now = asyncio.get_running_loop().time()
        breath = Breath()
        for name in names:
            await breath.taken()
            virtual = self._items.get(name)
            if virtual is None:
                continue
            effects = virtual.pool.order(self._orders(virtual.spec).weights, now)
            if not self._changed:
                self._changed_since = time.monotonic()
            self._changed.add(name)
            self._announcer.tell(virtual.spec, effects)

    def take_changed(self) -> tuple[list[Virtual], float]:
        """Return whose servers changed since the last call, by name, and when that began."""
        changed = [self._items[name] for name in sorted(self._changed)]
        self._changed.clear()
        return changed, self._changed_since

    def _orders(self, spec: VirtualServerSpec) -> Orders:
        return self._book.orders_of(spec.name, map(server_key, spec.real_servers))

    def want(self, virtuals: Iterable[Virtual], table: TableKeeper) -> None:
        """Let *table* want of *virtuals* what their health asks for."""
        for item in virtuals:
            group = self._groups.get(item.spec.pool)
            gone = self._orders(item.spec).gone
            table.want(entries(item.spec, item.pool.serving(), group, gone))

    async def want_all(self, table: TableKeeper) -> None:
        """Let *table* want of all of them what their health asks for at the time of each."""
        breath = Breath()
        for item in self:
            self.want((item,), table)
            await breath.taken()


def served(virtuals: Iterable[Virtual]) -> set[ServiceKey]:
    """Return the services of *virtuals* behind SYN cookies that have a real server."""
    return {
        key
        for item in virtuals
        if item.spec.syn_proxy and is_served(item.spec, item.pool.serving())
        for key in item.spec.keys
    }
