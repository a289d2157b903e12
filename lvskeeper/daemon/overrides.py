"""Carries out what operators order at runtime: finds its subjects, saves it, follows drains."""

import asyncio
import errno
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, assert_never, final

from lvskeeper.daemon.breath import Breath
from lvskeeper.daemon.desired import server_key
from lvskeeper.daemon.override_file import OverrideFile
from lvskeeper.daemon.override_subjects import check, is_named, parse_server, select, unnamed
from lvskeeper.daemon.questions import AskError, Override
from lvskeeper.daemon.roles import DirectorSpec, VirtualServerSpec
from lvskeeper.daemon.virtuals import Virtual
from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.overrides import Drained, Ended, Kind, Left, Order, Service, Subject
from lvskeeper.ipvs.types import DestKey, Protocol
from lvskeeper.kernel.conntrack import ConntrackClient
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.netlink import NetlinkError
from lvskeeper.kernel.sysctls import read_number
from lvskeeper.observe import order_events as events
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import Emit
from lvskeeper.observe.views import OrderView, OverridesView, OverrideView
from lvskeeper.units import format_count, format_duration

OVERRIDE_INTERVAL: Final = 1.0
"""Seconds between two looks at what drains and at what is over."""

SEE_OFF_TURN: Final = 2.0
"""Seconds for the flows of drained servers in one turn; other orders have their times, too."""

_TEMPLATES: Final = "net/ipv4/vs/expire_quiescent_template"
_NODEST: Final = "net/ipv4/vs/expire_nodest_conn"


@final
class OverrideKeeper:
    """All orders of one director, and how far they are."""

    def __init__(self, emit: Emit, run_dir: Path) -> None:
        self._emit = emit
        self._file = OverrideFile(run_dir)
        self.book: Final = self._file.load()
        self._unsaved = False
        self._over: deque[tuple[VirtualServerSpec, Drained, float]] = deque()
        self._conntrack = ConntrackClient()

    def close(self) -> None:
        """Let go of connection tracking."""
        self._conntrack.close()

    def order(
        self, asked: Override, virtuals: Collection[Virtual], now: float, by: str
    ) -> list[Subject]:
        """Give or lift what is *asked*; return for whom. It is saved, and not yet in the kernel.

        Raises :class:`AskError` where a subject is not there, or nobody would be left to serve, and
        :class:`OperatorError` where it cannot be saved; then all is as it was.
        """
        check(asked)
        before = dict(self.book.entries)
        try:
            subjects, told = self._do(asked, virtuals, now, by)
            self._save()
        except (AskError, OperatorError):
            self.book.restore(before)
            raise
        for event in told:
            self._emit(event)
        return subjects

    def _do(
        self, asked: Override, virtuals: Collection[Virtual], now: float, by: str
    ) -> tuple[list[Subject], list[Event]]:
        """Give or lift what is *asked*; return for whom, and what is to be told of it."""
        match asked.action:
            case "drain" | "weight" | "disable":
                whole = asked.action == "disable"
                subjects = select(asked, virtuals, whole=whole)
                if not asked.force and not whole:
                    self._refuse_emptiness(asked, subjects, virtuals)
                kind = Kind(asked.action)
                order = Order(
                    kind,
                    now,
                    asked.weight if kind is Kind.WEIGHT else 0,
                    None if asked.for_seconds is None else now + asked.for_seconds,
                    None if asked.deadline_seconds is None else now + asked.deadline_seconds,
                    by,
                    asked.reason,
                )
                return subjects, self._give(subjects, order, asked)
            case "undrain" | "enable":
                subjects = self._ordered(asked, whole=asked.action == "enable")
                why = f"lifted by {by}" if by else "lifted"
                lifted = [(subject, self.book.lift(subject)) for subject in subjects]
                return subjects, [_ended(of, held, why) for of, held in lifted if held]
            case _:
                assert_never(asked.action)

    def follow(self, spec: DirectorSpec, now: float) -> None:
        """Hear of the virtual servers of *spec*, which hold from now on; see :meth:`save`."""
        if not self.book.entries:
            return
        known = {
            virtual.name: {server_key(server) for server in virtual.real_servers}
            for virtual in spec.virtual_servers
        }
        for subject in self.book.follow(known, now):
            order = self.book.entries[subject]
            self._emit(events.OverrideOrphaned(*_words(subject), order.kind.value))
        self._unsaved = True

    async def look(self, virtuals: Iterable[Virtual], client: IpvsClient, now: float) -> set[str]:
        """Look at drains and at what is over; return the virtual servers that it changes.

        That holds whether or not it can be saved, for which :meth:`save` is there. Whose drain is
        over waits for :meth:`see_off`.
        """
        if not self.book.entries:
            return set()
        changed = set()
        for effect in self.book.on_time(now):
            assert isinstance(effect, Ended)
            changed.add(effect.subject.virtual)
            why = "its time is over" if effect.expired else "its subject did not come back"
            self._emit(_ended(effect.subject, effect.order, why))
        breath = Breath()
        kernel = _Kernel()
        for virtual in list(virtuals):
            servers = virtual.spec.real_servers
            draining = self.book.draining(virtual.spec.name, map(server_key, servers))
            if draining:
                found = _left(virtual.spec, draining, client)
                service = service_of(virtual.spec, kernel)
                for effect in self.book.on_left(virtual.spec.name, service, found, now):
                    assert isinstance(effect, Drained)
                    changed.add(virtual.spec.name)
                    self._over.append((virtual.spec, effect, now))
                await breath.taken()
        self._unsaved = self._unsaved or bool(changed)
        return changed

    async def see_off(self) -> None:
        """Forget the flows of servers whose drain is over, and tell it, once they left the table.

        With many connections that takes seconds a service: no reload is to wait for it, and what
        is left after :data:`SEE_OFF_TURN` has its turn the next time.
        """
        began = time.monotonic()
        while self._over and time.monotonic() - began < SEE_OFF_TURN:
            await self._drained(*self._over.popleft())

    async def save(self) -> None:
        """Write what has changed since the last time; raise :class:`OperatorError`."""
        if self._unsaved:
            self._save()

    def view(
        self, subjects: Iterable[Subject] | None, virtuals: Iterable[Virtual], now: float
    ) -> OverridesView:
        """Return what holds for *subjects*, or all that holds."""
        specs = {virtual.spec.name: virtual.spec for virtual in virtuals}
        kernel = _Kernel()
        chosen = [*(self.book.entries if subjects is None else subjects)]
        held = [
            (subject, order)
            for subject in chosen
            if (order := self.book.entries.get(subject)) is not None
        ]
        return OverridesView(
            now,
            tuple(
                OrderView(
                    *_words(subject),
                    self._view(subject, order, specs.get(subject.virtual), now, kernel),
                    order.orphaned is not None,
                )
                for subject, order in held
            ),
        )

    def view_of(self, virtual: VirtualServerSpec, now: float) -> OverrideView | None:
        """Return what holds for *virtual* as a whole."""
        order = self.book.entries.get(Subject(virtual.name))
        return order and self._view(Subject(virtual.name), order, virtual, now)

    def view_server(
        self, virtual: VirtualServerSpec, server: DestKey, now: float
    ) -> OverrideView | None:
        """Return what holds for one *server* of *virtual*."""
        if not self.book.entries:
            return None  # as nearly always, for each of thousands
        for subject in (Subject(virtual.name), Subject(virtual.name, server)):
            order = self.book.entries.get(subject)
            if order is not None:
                return self._view(Subject(virtual.name, server), order, virtual, now)
        return None

    def _view(
        self,
        subject: Subject,
        order: Order,
        virtual: VirtualServerSpec | None,
        now: float,
        kernel: "_Kernel | None" = None,
    ) -> OverrideView:
        servers = [subject.server] if subject.server else []
        if virtual is not None and not servers:
            servers = [server_key(server) for server in virtual.real_servers]
        # A server may be drained for itself and with all of them; it leaves once, for both.
        gone = self.book.orders_of(subject.virtual, servers).gone
        # Just after a start nobody knows yet what servers a virtual server has.
        unknown = virtual is None and not servers and order.orphaned is None
        waits = order.drains and (unknown or not set(servers) <= gone)
        looks = [self.book.left(subject.virtual, server) for server in servers]
        seen = [left for left in looks if left is not None]
        left = Left(sum(one.connections for one in seen), sum(one.templates for one in seen))
        return OverrideView(
            order.kind.value,
            ("draining" if waits else "drained") if order.drains else "set",
            order.weight,
            now - order.since,
            None if order.until is None else max(0.0, order.until - now),
            None if order.deadline is None or not waits else max(0.0, order.deadline - now),
            left.connections if seen else None,
            left.templates if seen else None,
            service_of(virtual, kernel or _Kernel()).note(left if seen else None)
            if virtual and waits
            else "",
            order.by,
            order.reason,
        )

    def _give(self, subjects: list[Subject], order: Order, asked: Override) -> list[Event]:
        """Let *order* hold for *subjects*; return what is to be told of it."""
        lasts, deadline = asked.for_seconds, asked.deadline_seconds
        told: list[Event] = []
        for subject in subjects:
            try:
                self.book.give(subject, order)
            except ValueError as error:
                raise AskError("refused", str(error), "Lift some of them.") from None
            told.append(
                events.OverrideGiven(
                    *_words(subject),
                    order.kind.value,
                    order.weight,
                    "" if lasts is None else format_duration(lasts),
                    "" if deadline is None else format_duration(deadline),
                    order.by,
                    order.reason,
                )
            )
        return told

    def _ordered(self, asked: Override, *, whole: bool) -> list[Subject]:
        """Return the subjects of orders that *asked* is to lift."""
        held = [subject.virtual for subject in self.book.entries]
        if unknown := unnamed(asked.virtual_servers, held):
            raise AskError("not_found", f"nothing is ordered for {unknown}")
        address, port = (None, None) if whole else parse_server(asked.server)
        found = [
            subject
            for subject in self.book.entries
            if (subject.server is None) is whole
            and is_named(subject.virtual, asked.virtual_servers)
            and (subject.server is None or subject.server.address == address)
            and (port is None or subject.server is None or subject.server.port in (port, 0))
        ]
        if not found:
            what = ", ".join(asked.virtual_servers) if whole else asked.server
            raise AskError("not_found", f"nothing is ordered for {what or 'any virtual server'}")
        return found

    def _refuse_emptiness(
        self, asked: Override, subjects: Iterable[Subject], virtuals: Iterable[Virtual]
    ) -> None:
        """Raise where nobody would take new connections any more, or others would not serve either.

        These leave with the quorum where a sorry server stands in, or the address goes.
        """
        weight = asked.weight if asked.action == "weight" else 0
        by_name: dict[str, dict[DestKey, int]] = {}
        for subject in subjects:
            if subject.server is not None:
                by_name.setdefault(subject.virtual, {})[subject.server] = weight
        for virtual in virtuals:
            given = by_name.get(virtual.spec.name)
            if given is None:
                continue
            pool, spec = virtual.pool, virtual.spec
            now = {key: each for key, each in pool.weights.items() if pool.up[key] and each}
            then = {key: each for key in now if (each := given.get(key, now[key]))}
            if not now:
                continue
            if not then and spec.sorry_server is None:
                what = "have no server left that takes new connections"
            elif (
                then
                and (spec.sorry_server or spec.vip_device)
                and sum(then.values()) < pool.lose_below
                and pool.has_quorum
            ):
                others = format_count(len(then), "server")
                what = f"lose its quorum, and {others} that serve with it"
            else:
                continue
            raise AskError("refused", f"{spec.name} would {what}", "--force does it all the same.")

    async def _drained(self, virtual: VirtualServerSpec, effect: Drained, now: float) -> None:
        flows = 0
        udp = [key for key in virtual.keys if key.protocol is Protocol.UDP]
        for key in udp:
            port = effect.server.port or key.port
            server = DestKey(effect.server.address, port)
            try:
                flows += await asyncio.to_thread(
                    self._conntrack.forget, Protocol.UDP, DestKey(key.address, key.port), server
                )
            except OperatorError:
                break  # without connection tracking there is nothing to forget
        why = "no connection is left"
        if service_of(virtual, _Kernel()).moves:
            why = "UDP is not waited for: its flows move at their next packet"
        if effect.overdue:
            why = "the deadline is over"
        self._emit(
            events.DrainEnded(
                virtual.name,
                str(effect.server),
                why,
                effect.left.connections if effect.left else 0,
                flows,
                format_duration(now - effect.order.since),
            )
        )

    def _save(self) -> None:
        self._file.save(self.book)
        self._unsaved = False


@final
class _Kernel:
    """The settings that drains depend on, read once for many."""

    def __init__(self) -> None:
        self.templates = read_number(_TEMPLATES)
        self.nodest = read_number(_NODEST)


def service_of(virtual: VirtualServerSpec, kernel: _Kernel) -> Service:
    """Return how *kernel* treats what drains of *virtual* leave."""
    of_udp = all(key.protocol is Protocol.UDP for key in virtual.keys)
    nodest = kernel.nodest if of_udp else None
    return Service(
        persistent=virtual.persistence > 0,
        templates_hold=kernel.templates == 0,
        moves=nodest == 1,
        sticks=nodest == 0,
    )


def _left(
    virtual: VirtualServerSpec, draining: Iterable[DestKey], client: IpvsClient
) -> Mapping[DestKey, Left]:
    """Return what is left of the servers that drain, over all services of *virtual*.

    Nothing where the kernel does not tell it.
    """
    connections: Counter[DestKey] = Counter()
    templates: Counter[DestKey] = Counter()
    servers = [*draining]
    for key in virtual.keys:
        try:
            stats = client.stats(key)
        except OperatorError as error:
            cause = error.__cause__
            if isinstance(cause, NetlinkError) and cause.number == errno.ESRCH:
                continue  # it was refused, or is on its way out
            return {}
        found = {one.key: one for one in stats.destinations}
        for server in servers:
            one = found.get(DestKey(server.address, server.port or key.port))
            if one is not None:
                connections[server] += one.active + one.inactive
                templates[server] += one.persistent
    return {server: Left(connections[server], templates[server]) for server in servers}


def _ended(subject: Subject, order: Order, why: str) -> Event:
    return events.OverrideEnded(*_words(subject), order.kind.value, why)


def _words(subject: Subject) -> tuple[str, str]:
    return subject.virtual, str(subject.server) if subject.server else ""
