"""What operators order for real servers at runtime: drains, weights, virtual servers out of use.

An order holds until it is lifted, until its time is over, or while its subject is configured. A
drain is weight 0 until the server's connections are gone or its deadline is over; then the server
leaves the table. Pure: time comes in as ``now``, the monotonic clock of one boot, so that orders
outlive the daemon. Whoever carries out what is decided here reads :meth:`Book.orders_of`.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, final

from lvskeeper.ipvs.types import DestKey

ORPHAN_LIFE: Final = 3600.0
"""Seconds that an order waits for a subject that left the configuration: a roll-back, or a
deployment that takes a server out of the file while it is worked at, brings it back."""

LOOKS: Final = 2
"""Looks in a row that must find no connection: one may have been scheduled before weight 0."""

MAX_ORDERS: Final = 10_000


@final
class Kind(Enum):
    """Kind of an order; the value is the command's word."""

    DRAIN = "drain"
    WEIGHT = "weight"
    DISABLE = "disable"
    """All real servers of a virtual server are drained; a sorry server stands in."""


@final
class Subject(NamedTuple):
    """What an order is for: a real server of a virtual server, or all of them."""

    virtual: str
    server: DestKey | None = None

    def __str__(self) -> str:
        return f"{self.server} of {self.virtual}" if self.server else self.virtual


@final
@dataclass(frozen=True, slots=True)
class Order:
    """What is ordered for one subject."""

    kind: Kind
    since: float
    weight: int = 0
    until: float | None = None
    """When it ends by itself."""
    deadline: float | None = None
    """When a drain no longer waits for connections."""
    by: str = ""
    reason: str = ""
    gone: tuple[DestKey, ...] = ()
    """Servers whose drain is over: they are out of the table."""
    orphaned: float | None = None
    """Since when the configuration does not name the subject."""

    @property
    def drains(self) -> bool:
        """Whether it waits for connections to end."""
        return self.kind is not Kind.WEIGHT


@final
@dataclass(frozen=True, slots=True)
class Orders:
    """What is in force for the servers of one virtual server."""

    weights: Mapping[DestKey, int] = field(default_factory=dict)
    gone: AbstractSet[DestKey] = frozenset()


NO_ORDERS: Final = Orders()


@final
@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a draining server in the kernel."""

    connections: int
    """Active and inactive ones: those that are closing need the server as well."""
    templates: int = 0
    """Templates of persistence, which bring clients back to it."""


@final
@dataclass(frozen=True, slots=True)
class Service:
    """How the kernel treats what a drain leaves, for one virtual server."""

    persistent: bool = False
    templates_hold: bool = False
    """``expire_quiescent_template`` is 0: a template leads to a server of weight 0, too."""
    moves: bool = False
    """It is UDP, and ``expire_nodest_conn`` is 1: the flows of a server that left the table go to
    another one at their next packet. UDP has no end to wait for."""
    sticks: bool = False
    """It is UDP, and ``expire_nodest_conn`` is 0: a flow stays with its server until it pauses for
    its timeout, and its packets are dropped where that left the table before."""

    def note(self, left: Left | None) -> str:
        """Return what an operator should know of a drain with so much *left*; empty for nothing."""
        if self.persistent and self.templates_hold and (left is None or left.templates):
            return (
                "persistent clients go on coming until they pause for the persistence timeout: "
                "net.ipv4.vs.expire_quiescent_template is 0"
            )
        if self.sticks and (left is None or left.connections):
            return (
                "UDP flows end by a pause of their timeout alone, and are dropped until then where "
                "the deadline comes first: net.ipv4.vs.expire_nodest_conn is 0"
            )
        return ""


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """An order ended by itself."""

    subject: Subject
    order: Order
    expired: bool
    """Its time is over; else nobody missed its subject for :data:`ORPHAN_LIFE`."""


@final
@dataclass(frozen=True, slots=True)
class Drained:
    """The drain of a server is over: it leaves the table."""

    virtual: str
    server: DestKey
    order: Order
    left: Left | None
    overdue: bool
    """Its deadline is over; what is left is cut."""


Effect: TypeAlias = Ended | Drained


@final
class Book:
    """All orders. What :meth:`orders_of` says changes with the calls that return or take one."""

    def __init__(self, entries: Mapping[Subject, Order] | None = None) -> None:
        self._entries = dict(entries or {})
        self._empty_looks: dict[tuple[str, DestKey], int] = {}
        self._left: dict[tuple[str, DestKey], Left] = {}

    @property
    def entries(self) -> Mapping[Subject, Order]:
        """The orders, to be kept over restarts."""
        return self._entries

    def left(self, virtual: str, server: DestKey) -> Left | None:
        """Return what the last look at a draining server found."""
        return self._left.get((virtual, server))

    def give(self, subject: Subject, order: Order) -> None:
        """Let *order* hold for *subject*, in place of any other; ``ValueError`` where it is full.

        A server that is drained already stays out of the table with a new drain.
        """
        before = self._entries.get(subject)
        if before is None and len(self._entries) >= MAX_ORDERS:
            raise ValueError(f"there are {MAX_ORDERS} orders already")
        if before is not None and before.drains and order.drains:
            order = replace(order, gone=before.gone)
        else:
            self._forget_looks(subject)
        self._entries[subject] = order

    def restore(self, entries: Mapping[Subject, Order]) -> None:
        """Let *entries* hold, and nothing else: what was given or lifted since is undone."""
        self._entries = dict(entries)

    def lift(self, subject: Subject) -> Order | None:
        """Let nothing hold for *subject*; return what held."""
        order = self._entries.pop(subject, None)
        if order is not None:
            self._forget_looks(subject)
        return order

    def orders_of(self, virtual: str, servers: Iterable[DestKey]) -> Orders:
        """Return what holds for the *servers* of *virtual*.

        A virtual server that is out of use drains them all, whatever is ordered for one of them.
        """
        if not self._entries:
            return NO_ORDERS
        whole = self._entries.get(Subject(virtual))
        weights: dict[DestKey, int] = {}
        gone: set[DestKey] = set()
        for server in servers:
            own = self._entries.get(Subject(virtual, server))
            if whole is not None or own is not None:
                weights[server] = 0 if whole is not None or own is None else own.weight
            if any(order and server in order.gone for order in (whole, own)):
                gone.add(server)
        return Orders(weights, gone) if weights else NO_ORDERS

    def draining(self, virtual: str, servers: Iterable[DestKey]) -> list[DestKey]:
        """Return those of *servers* whose connections are waited for."""
        return [server for server in servers if self._drains_of(virtual, server)]

    def follow(self, known: Mapping[str, AbstractSet[DestKey]], now: float) -> list[Subject]:
        """Hear which servers are configured; return subjects that are not, and were."""
        orphans = []
        for subject, order in self._entries.items():
            servers = known.get(subject.virtual)
            here = servers is not None and (subject.server is None or subject.server in servers)
            if here and order.orphaned is not None:
                self._entries[subject] = replace(order, orphaned=None)
            elif not here and order.orphaned is None:
                self._entries[subject] = replace(order, orphaned=now)
                orphans.append(subject)
        return orphans

    def on_time(self, now: float) -> list[Effect]:
        """Return what ended by itself; it holds no longer."""
        ended: list[Effect] = []
        for subject, order in [*self._entries.items()]:
            expired = order.until is not None and now >= order.until
            if expired or (order.orphaned is not None and now >= order.orphaned + ORPHAN_LIFE):
                self.lift(subject)
                ended.append(Ended(subject, order, expired))
        return ended

    def on_left(
        self, virtual: str, service: Service, found: Mapping[DestKey, Left], now: float
    ) -> list[Effect]:
        """Take a look at draining servers of *virtual*; return whose drain is over.

        A server that is not in *found* is not in the table.
        """
        effects: list[Effect] = []
        for server, left in found.items():
            drains = self._drains_of(virtual, server)
            if not drains:
                continue
            where = (virtual, server)
            self._left[where] = left
            holds = left.templates if service.persistent and service.templates_hold else 0
            empty = not left.connections and not holds
            self._empty_looks[where] = self._empty_looks.get(where, 0) + 1 if empty else 0
            deadlines = [order.deadline for _, order in drains if order.deadline is not None]
            overdue = bool(deadlines) and now >= min(deadlines)
            if service.moves or overdue or self._empty_looks[where] >= LOOKS:
                cut = overdue and not empty
                effects.append(Drained(virtual, server, drains[0][1], left, cut))
                for subject, order in drains:
                    self._entries[subject] = replace(order, gone=(*order.gone, server))
        return effects

    def _drains_of(self, virtual: str, server: DestKey) -> list[tuple[Subject, Order]]:
        """Return the orders that wait for connections of *server*; none once it is drained."""
        subjects = (Subject(virtual), Subject(virtual, server))
        held = [(each, self._entries[each]) for each in subjects if each in self._entries]
        drains = [(each, order) for each, order in held if order.drains]
        return [] if any(server in order.gone for _, order in drains) else drains

    def _forget_looks(self, subject: Subject) -> None:
        for looks in (self._empty_looks, self._left):
            for where in [*looks]:
                if where[0] == subject.virtual and subject.server in (None, where[1]):
                    del looks[where]
