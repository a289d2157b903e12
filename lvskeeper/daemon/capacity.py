"""Watches how full the pools of LIPs and the table of connection tracking are."""

import asyncio
import os
import time
from collections.abc import Mapping
from itertools import chain
from typing import Final, assert_never, final

from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.rooms import Places, places_of, rooms_of
from lvskeeper.errors import OperatorError
from lvskeeper.fullnat.capacity import (
    ConntrackLost,
    ConntrackStats,
    ConntrackTurned,
    Judge,
    Load,
    PoolTurned,
    Snapshot,
    State,
    Turn,
    conntrack_limit,
)
from lvskeeper.ipvs.control import SyncState
from lvskeeper.ipvs.types import ServiceKey
from lvskeeper.kernel.conntrack import ConntrackClient
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.observe import fullnat_events as events
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import Emit
from lvskeeper.units import Address

CAPACITY_INTERVAL: Final = 5.0
"""Seconds between two looks; one costs some 5 us a destination that is reached by FULLNAT."""

BREATH: Final = 0.005
"""Seconds of reading after which other work of the loop has its turn."""
STEPS: Final = 100
"""Destinations that are read between two looks at the clock."""


@final
class CapacityWatch:
    """Looks at the loads of real servers, and tells what turns full or roomy."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._judge = Judge()
        self._conntrack = ConntrackClient()
        self._spec: DirectorSpec | None = None
        self._places: Places = {}

    @property
    def snapshot(self) -> Snapshot:
        """What the last look found."""
        return self._judge.snapshot

    async def look(self, spec: DirectorSpec, client: IpvsClient) -> None:
        """Look once, in steps that leave the loop its turns.

        Raises :class:`OperatorError` where IPVS does not answer. Connection tracking that does not
        is left out.
        """
        native = client.traits.native_fullnat
        if spec is not self._spec:
            self._places = await asyncio.to_thread(places_of, spec, native=native)
            self._spec = spec
        places = self._places
        if not places and self.snapshot == Snapshot():
            return
        connections = dict.fromkeys(chain.from_iterable(map(dict.values, places.values())), 0)
        counted: dict[str, dict[Address, int]] = {}
        conflicts: dict[str, int] = {}
        breath = time.monotonic()
        for key, known in places.items():
            for step, (server, count) in enumerate(client.loads(key)):
                if server in known:
                    connections[known[server]] += count
                if step % STEPS == 0 and time.monotonic() - breath > BREATH:
                    await asyncio.sleep(0)
                    breath = time.monotonic()
            if native:
                pool = next(iter(known.values()))[0].pool
                _add_locals(client, key, counted.setdefault(pool, {}), conflicts, pool)
        loads = [
            Load(place, lips, count, _leaning(counted.get(place.pool, {})))
            for (place, lips), count in connections.items()
        ]
        found = self._stats() if places and not native else None
        synced = found is not None and _hears_a_peer(client)
        told = self._judge.on_look(loads, found, conflicts if native else None, synced=synced)
        for turn in told:
            self._emit(event_of(turn))

    def close(self) -> None:
        """Let go of connection tracking."""
        self._conntrack.close()

    def _stats(self) -> ConntrackStats | None:
        try:
            return self._conntrack.stats()
        except OperatorError:
            return None


def _hears_a_peer(client: IpvsClient) -> bool:
    return any(daemon.state is SyncState.BACKUP for daemon in client.daemons())


def wanted_entries(spec: DirectorSpec) -> int:
    """Return the ``nf_conntrack_max`` that fits the pools of *spec* in this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return conntrack_limit(rooms_of(spec), memory)


def _add_locals(
    client: IpvsClient,
    key: ServiceKey,
    counted: dict[Address, int],
    conflicts: dict[str, int],
    pool: str,
) -> None:
    for local in client.local_address_stats(key):
        counted[local.address] = counted.get(local.address, 0) + local.connections
        conflicts[pool] = conflicts.get(pool, 0) + local.conflicts


def _leaning(counted: Mapping[Address, int]) -> float:
    total = sum(counted.values())
    return max(counted.values()) / total if total else 0.0


def event_of(turn: Turn) -> Event:
    """Return what is told of *turn*."""
    match turn:
        case PoolTurned(use=use, before=before, failures=failures):
            worst = use.worst
            told = str(worst.place), worst.connections, worst.capacity, f"{worst.share:.0%}"
            if use.state is State.EXHAUSTED:
                return events.PoolExhausted(use.pool, *told, failures)
            if before is State.ROOMY:
                return events.PoolNearlyFull(use.pool, *told)
            return events.PoolRelieved(use.pool, before.value, *told, failures)
        case ConntrackTurned():
            return _table_event(turn)
        case ConntrackLost(entries=entries, connections=connections):
            return events.ConntrackLost(entries, connections)
        case _:
            assert_never(turn)


def _table_event(turn: ConntrackTurned) -> Event:
    stats = turn.stats
    if turn.state is State.EXHAUSTED:
        return events.ConntrackFull(stats.entries, stats.limit, turn.failures)
    if turn.before is State.ROOMY:
        return events.ConntrackNearlyFull(stats.entries, stats.limit)
    was = "full" if turn.before is State.EXHAUSTED else turn.before.value
    return events.ConntrackRelieved(was, stats.entries, stats.limit, turn.failures)
