"""What pools of LIPs can carry, and when one of them, or connection tracking, comes to its end.

A LIP holds as many connections toward one real server's address and port as it has source ports.
When they run out the kernel drops new connections without a word, so the judge here warns before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import sqrt
from typing import Final, TypeAlias, final

from lvskeeper.fullnat.pools import FIRST_PORT, LAST_PORT
from lvskeeper.ipvs.types import DestKey, Family, Protocol

WARNING_SHARE: Final = 0.8
"""Use from which something is nearly full. A stock kernel tries some 240 ports for a connection
(``nf_nat_l4proto_unique_tuple``), so first failures come at about 98 %."""
CLEAR_SHARE: Final = 0.7
"""Use below which it is roomy again."""

LOST_SHARE: Final = 0.5
"""Of the TCP connections that IPVS knows, tracked by fewer than this: the others were forgotten.

Both keep a connection for about as long in each state of TCP; UDP, IPVS keeps far longer."""
LOST_LEAST: Final = 8
"""TCP connections below which nothing is made of it."""

QUIET_LOOKS: Final = 6
"""Looks without a failure after which an exhaustion is over."""

TRIES: Final = 10_000
"""Ports that a FULLNAT kernel tries for a connection (``fullnat_lport_tries``), and so conflicts
that are counted for one that finds none."""

ENTRY_SIZE: Final = 400
"""Bytes of an entry of connection tracking with translation, and of its share of the hash."""
MEMORY_PART: Final = 8
"""One part in so many of the memory may be spent on connection tracking."""


@final
@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where ports are used up: toward one real server, from one range of ports of one pool."""

    pool: str
    first: int
    last: int
    protocol: Protocol
    server: DestKey

    def __str__(self) -> str:
        return f"{self.protocol.name.lower()} {self.server}"


@final
@dataclass(frozen=True, slots=True)
class Load:
    """The connections of a place, those of all virtual services together."""

    place: Place
    lips: int
    """LIPs of the pool in the family of the real server."""
    connections: int
    leaning: float = 0.0
    """Share of the fullest LIP in all connections of the pool; 0 where LIPs are not counted."""

    @property
    def capacity(self) -> int:
        """Connections that fit here, all LIPs together."""
        return self.lips * (self.place.last - self.place.first + 1)

    @property
    def share(self) -> float:
        """Share of the ports of the fullest LIP that are in use; 1.0 and more is full.

        A hash spreads *m* connections a LIP with a deviation of about sqrt(*m*); the fullest of
        some dozen LIPs is seldom more than three of these above.
        """
        if not self.lips:
            return 0.0
        mean = self.connections / self.lips
        fullest = self.connections * self.leaning if self.leaning else mean + 3 * sqrt(mean)
        return fullest * self.lips / self.capacity


@final
@dataclass(frozen=True, slots=True)
class Room:
    """What a pool can carry, by configuration; ``str()`` is for the operator."""

    pool: str
    family: Family
    first: int
    last: int
    lips: int
    servers: int
    """Real-server addresses and ports that it is used toward, by protocol."""

    @property
    def each(self) -> int:
        """Connections that fit toward each real server."""
        return self.lips * (self.last - self.first + 1)

    @property
    def total(self) -> int:
        """Connections that fit toward all real servers together."""
        return self.each * self.servers

    def __str__(self) -> str:
        family = " (IPv6)" if self.family is Family.INET6 else ""
        ports = f"{self.last - self.first + 1} ports"
        if (self.first, self.last) != (FIRST_PORT, LAST_PORT):
            ports += f" ({self.first}-{self.last})"
        lips = f"{self.lips} LIP{'s' * (self.lips != 1)}"
        text = f"pool {self.pool}{family}: {lips} x {ports} = {self.each} connections"
        if self.servers == 1:
            return f"{text} to its real server"
        return f"{text} to each real server ({self.servers} real servers: {self.total} at most)"


def conntrack_limit(rooms: Iterable[Room], memory: int) -> int:
    """Return the ``nf_conntrack_max`` that fits *rooms*, in *memory* bytes; 0 without rooms.

    An entry stands for a connection of any pool. The kernel allocates none before it is used, so
    the bound by memory only keeps a flood from taking all of it.
    """
    wanted = sum(room.total for room in rooms)
    return min(wanted, memory // MEMORY_PART // ENTRY_SIZE)


@final
@dataclass(frozen=True, slots=True)
class ConntrackStats:
    """What connection tracking counts in a network namespace; the last three only grow."""

    entries: int
    limit: int
    """``nf_conntrack_max``; 0 for none."""
    insert_failed: int = 0
    """New connections dropped because their translated tuple was taken: no port was free."""
    dropped: int = 0
    """The same, and new connections dropped because the table was full."""
    early_dropped: int = 0
    """Entries that had to go early to make room in a full table."""

    @property
    def overflows(self) -> int:
        """What a full table has cost, in packets dropped and entries pushed out."""
        return max(0, self.dropped - self.insert_failed) + self.early_dropped


@final
class State(Enum):
    """How full something is."""

    ROOMY = "roomy"
    NEARLY_FULL = "nearly full"
    EXHAUSTED = "exhausted"


@final
@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool as the last look found it."""

    pool: str
    connections: int
    worst: Load
    """The place with the least room."""
    state: State


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the last look found; the value of before the first look is empty."""

    pools: tuple[PoolUse, ...] = ()
    conntrack: ConntrackStats | None = None


@final
@dataclass(frozen=True, slots=True)
class PoolTurned:
    """A pool is fuller, or less full, than it was."""

    use: PoolUse
    before: State
    failures: int
    """Since the last look; at the end of an exhaustion, in all of it."""


@final
@dataclass(frozen=True, slots=True)
class ConntrackTurned:
    """The table of connection tracking is fuller, or less full, than it was."""

    stats: ConntrackStats
    state: State
    before: State
    failures: int
    """As with :class:`PoolTurned`."""


@final
@dataclass(frozen=True, slots=True)
class ConntrackLost:
    """Connection tracking has forgotten connections that IPVS still knows: somebody flushed it."""

    entries: int
    connections: int
    """TCP connections of FULLNAT services, by IPVS."""


Turn: TypeAlias = PoolTurned | ConntrackTurned | ConntrackLost


@final
class _Gauge:
    """One thing that fills up: its state, with hysteresis, and its failures."""

    def __init__(self) -> None:
        self.state = State.ROOMY
        self.failures = 0
        self._quiet = 0

    def on_look(self, share: float, failures: int, *, certain: bool = False) -> bool:
        """Take what a look found; return whether the state is another now.

        *failures* may have another cause where it is roomy, unless *certain*.
        """
        before = self.state
        if before is not State.EXHAUSTED:
            self.failures = 0
        near = share >= (WARNING_SHARE if before is State.ROOMY else CLEAR_SHARE)
        if failures and (near or certain):
            self.failures += failures
            self._quiet = 0
            self.state = State.EXHAUSTED
            return before is not self.state
        if before is State.EXHAUSTED:
            self._quiet += 1
            if near and self._quiet < QUIET_LOOKS:
                return False
        self.state = State.NEARLY_FULL if near else State.ROOMY
        return before is not self.state


@final
class Judge:
    """Tells from looks, a few seconds apart, what turns full or roomy; nothing in between."""

    def __init__(self) -> None:
        self._pools: dict[str, _Gauge] = {}
        self._table = _Gauge()
        self._conflicts: dict[str, int] = {}
        self._lost = False
        self.snapshot = Snapshot()

    def on_look(
        self,
        loads: Iterable[Load],
        conntrack: ConntrackStats | None,
        conflicts: Mapping[str, int] | None = None,
        *,
        synced: bool = False,
    ) -> list[Turn]:
        """Take a look's findings and return what turned, pools in the order of their names.

        *conntrack* is ``None`` where there is none. *conflicts* are those of FULLNAT kernels in
        total, by pool; there they tell who found no port, else connection tracking does. *synced*:
        IPVS also knows connections of a peer, which connection tracking never had.
        """
        past = self.snapshot
        failed, overflows = 0, 0
        if conntrack and past.conntrack:
            failed = max(0, conntrack.insert_failed - past.conntrack.insert_failed)
            overflows = max(0, conntrack.overflows - past.conntrack.overflows)
        loads = list(loads)
        turns: list[Turn] = list(self._losses(loads, conntrack, synced=synced))
        uses = self._uses(loads)
        for pool, (connections, worst) in sorted(uses.items()):
            gauge = self._pools.setdefault(pool, _Gauge())
            before = gauge.state
            if conflicts is not None:
                count = conflicts.get(pool, 0)
                failed = max(0, count - self._conflicts.get(pool, count)) // TRIES
            turned = gauge.on_look(worst.share, failed, certain=conflicts is not None)
            if turned:
                use = PoolUse(pool, connections, worst, gauge.state)
                turns.append(PoolTurned(use, before, gauge.failures))
        before = self._table.state
        if conntrack is not None and conntrack.limit:
            share = conntrack.entries / conntrack.limit
            if self._table.on_look(share, overflows):
                turned_to = self._table.state
                turns.append(ConntrackTurned(conntrack, turned_to, before, self._table.failures))
        self._conflicts = dict(conflicts or {})
        self.snapshot = Snapshot(
            tuple(
                PoolUse(pool, *use, self._pools[pool].state) for pool, use in sorted(uses.items())
            ),
            conntrack,
        )
        self._pools = {
            pool: gauge for pool, gauge in self._pools.items() if gauge.state is not State.ROOMY
        }
        return turns

    def _losses(
        self, loads: Iterable[Load], conntrack: ConntrackStats | None, *, synced: bool
    ) -> Iterator[ConntrackLost]:
        """Tell a loss once, until most connections are tracked again.

        What a peer had is none, nor is it one when this director takes over from it.
        """
        if conntrack is None:
            return
        known = sum(each.connections for each in loads if each.place.protocol is Protocol.TCP)
        lost = known >= LOST_LEAST and conntrack.entries < known * LOST_SHARE
        if lost and not self._lost and not synced:
            yield ConntrackLost(conntrack.entries, known)
        self._lost = lost

    def _uses(self, loads: Iterable[Load]) -> dict[str, tuple[int, Load]]:
        """Return connections and worst place by pool, those included that ended while full."""
        uses: dict[str, tuple[int, Load]] = {
            use.pool: (0, replace(use.worst, connections=0))
            for use in self.snapshot.pools
            if use.state is not State.ROOMY
        }
        for load in loads:
            connections, worst = uses.get(load.place.pool, (0, load))
            worst = max(worst, load, key=lambda each: (each.share, each.place))
            uses[load.place.pool] = connections + load.connections, worst
        return uses
