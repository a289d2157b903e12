"""The shell around the VRRP machines: packets in, effects out, and one timer.

Everything in here is synchronous and quick. In each turn of the loop comes first what is bound to
a time: the sockets, the machines, their adverts. Announcements follow in slices, and what is told
of it all waits until then: no log line delays an advert.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final, Protocol, final

from lvskeeper.daemon.crier import Crier
from lvskeeper.daemon.router_spec import InstanceConfig
from lvskeeper.daemon.seat import Seat, WireKey
from lvskeeper.daemon.vrrp_log import address_text, event_of, report
from lvskeeper.daemon.wires import Wires
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.vrrp_socket import Receiver
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import Emit
from lvskeeper.units import NO_ADDRESS
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.announce import Announcement, Planner
from lvskeeper.vrrp.router import Effects, Faults, Router
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.tape import Tape
from lvskeeper.vrrp.tracking import Status, TrackId
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Accepted, Received, Reject

TICK_MAX: Final = 1.0
"""Longest time between two looks at how late the loop is, in seconds."""
EVENTS_A_TURN: Final = 16
"""Events told in one turn: some two milliseconds."""
MAX_EVENTS: Final = 4096
"""Events that may wait; the oldest is lost before a state is late."""
AWAY: Final = 0.5
"""Seconds of suspension that count."""


class Duties(Protocol):
    """What the shell asks of those around it; all of it has to be quick."""

    def hold(self, seat: Seat) -> None:
        """Put the addresses, routes and rules of *seat* in place."""

    def release(self, seat: Seat) -> None:
        """Take them away."""

    def on_state(self, seat: Seat, change: fx.StateChanged) -> None:
        """Hear of a transition."""

    def on_group(self, change: fx.GroupChanged) -> None:
        """Hear of the transition of a sync group."""

    def on_effect(self, seat: Seat, effect: fx.Effect) -> None:
        """Hear of anything else that a machine says."""

    def on_tick(self, now: float) -> None:
        """Look after whatever has to be looked after now and then."""


def suspended() -> float:
    """Return how long this machine has been suspended since its boot, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


@final
class Shell:
    """Drives one router; *away* tells the time that the monotonic clock left out."""

    def __init__(self, emit: Emit, duties: Duties, away: Callable[[], float] = suspended) -> None:
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._duties = duties
        self._away = away
        self._gone = away()
        self.seats: dict[InstanceKey, Seat] = {}
        self.unknown_vrids = False
        self._by_wire: dict[WireKey, dict[int, Seat]] = {}
        self._foreign: set[tuple[object, ...]] = set()
        """What was told of packets that belong to no instance."""
        self._core = Router(())
        self._running = False
        self.planner: Final = Planner()
        self.wires: Final = Wires(self._on_readable, self._on_socket_failure)
        self.crier: Final = Crier(self._on_unannounced)
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._telling: asyncio.Handle | None = None
        self._seen = self._loop.time()
        self._tick = TICK_MAX
        self._tick_due = self._seen + TICK_MAX
        self._timer: asyncio.TimerHandle | None = None
        self._armed = inf

    @property
    def core(self) -> Router:
        """The machines; to look at."""
        return self._core

    def state(self, key: InstanceKey) -> State:
        """Return the state of an instance; INIT for one that is not there."""
        instance = self._core.instances.get(key)
        return instance.state if instance else State.INIT

    def tell(self, event: Event) -> None:
        """Tell *event* when nothing bound to a time is left in this turn."""
        self._events.append(event)
        if self._telling is None:
            self._telling = self._loop.call_soon(self._tell_some)

    def _tell_some(self) -> None:
        self._telling = None
        for _ in range(min(EVENTS_A_TURN, len(self._events))):
            self._emit(self._events.popleft())
        if self._events:
            self._telling = self._loop.call_soon(self._tell_some)

    # -- the life of the router

    def begin(
        self,
        configs: Iterable[InstanceConfig],
        groups: Iterable[GroupSpec],
        statuses: Mapping[TrackId, Status],
        faults: Faults,
    ) -> None:
        """Make the machines; they take part from :meth:`start` on."""
        self.seats = {config.spec.key: Seat(config) for config in configs}
        specs = [seat.config.spec for seat in self.seats.values()]
        self._core = Router(specs, groups, statuses, faults)
        self._core.tape = Tape()
        self._seat_all()

    def start(self) -> None:
        """Let all instances take part."""
        now = self.turn()
        self._running = True
        self.apply(self._core.start(now), now)
        self.end_turn(now)

    def retire(self, keys: set[InstanceKey]) -> None:
        """Let the instances *keys* leave in order, and forget them."""
        now = self.turn()
        staying = [
            instance.spec for key, instance in self._core.instances.items() if key not in keys
        ]
        groups = [group.spec for group in self._core.groups.values()]
        self.apply(self._core.reload(staying, groups, now), now)
        for key in keys:
            del self.seats[key]
        self.end_turn(now)

    def reload(
        self,
        configs: Iterable[InstanceConfig],
        groups: Iterable[GroupSpec],
        faults: Faults,
    ) -> None:
        """Go on with *configs*; what has to leave was retired before."""
        now = self.turn()
        specs: list[InstanceSpec] = []
        for config in configs:
            seat = self.seats.get(config.spec.key)
            if seat is None:
                seat = self.seats[config.spec.key] = Seat(config)
            else:
                seat.configure(config)
            specs.append(config.spec)
        self._seat_all()
        if self._running:
            self.apply(self._core.reload(specs, groups, now, faults), now)
        self.end_turn(now)

    def _seat_all(self) -> None:
        """Follow the seats with sockets and tick."""
        self._foreign.clear()
        self._by_wire = {}
        for seat in self.seats.values():
            self._by_wire.setdefault(seat.wire, {})[seat.key.vrid] = seat
        self.wires.replace(self.seats.values())
        shortest = min((seat.config.spec.interval for seat in self.seats.values()), default=inf)
        self._tick = min(shortest / 2, TICK_MAX)
        self._tick_due = min(self._tick_due, self._seen + self._tick)
        self._arm()

    def stop(self) -> None:
        """Let all instances leave, and tell all that is still to be told."""
        now = self.turn()
        if self._running:
            self.apply(self._core.stop(now), now)
        self._running = False
        self.close()

    def close(self) -> None:
        """Give all back; the machines stand still."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wires.close()
        self.crier.close()
        while self._events:
            self._emit(self._events.popleft())

    def report(self) -> None:
        """Tell how every instance is."""
        now = self._seen
        for key, instance in self._core.instances.items():
            self.tell(report(self.seats[key], instance, self.planner, max(now, self._loop.time())))

    # -- turns of the loop

    def turn(self) -> float:
        """Begin a turn: return the time, after telling the machines what they slept through."""
        now = self._seen = max(self._seen, self._loop.time())
        gone = self._away()
        if gone - self._gone > AWAY and self._running:
            self.tell(told.RouterResumed(f"{gone - self._gone:.1f} s"))
            self.apply(self._core.on_all(ev.Resumed(), now), now)
        self._gone = gone
        late = now - self._tick_due
        if late >= 0:
            self._tick_due = now + self._tick
            if late > self._tick and self._running:
                self.apply(self._core.on_all(ev.LoopStalled(late), now), now)
            self._duties.on_tick(now)
        return now

    def end_turn(self, now: float) -> None:
        """End a turn: announce what may be announced, and arm the timer."""
        if self._core.wake_at() > now and self.planner.deadline() <= now:
            self.crier.announce(self.planner.on_timer(now))
        self._arm()

    def _arm(self) -> None:
        """Set the timer; one that is armed for earlier than needed fires, and is set anew."""
        due = min(self._tick_due, self._core.wake_at(), self.planner.deadline())
        if self._timer is not None:
            if due >= self._armed:
                return
            self._timer.cancel()
        self._armed = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # The clock of the loop may be a hair before what was armed.
        self._seen = max(self._seen, min(self._armed, self._loop.time() + 0.001))
        now = self.turn()
        self.apply(self._core.on_timer(now), now)
        self.end_turn(now)

    def event(self, key: InstanceKey, event: ev.Event, now: float) -> None:
        """Let *event* happen to an instance."""
        self.apply(self._core.on(key, event, now), now)

    def event_for_all(self, event: ev.Event) -> None:
        """Let *event* happen to every instance."""
        now = self.turn()
        self.apply(self._core.on_all(event, now), now)
        self.end_turn(now)

    def on_status(self, track: TrackId, status: Status) -> None:
        """Take news of a tracked thing."""
        now = self.turn()
        self.apply(self._core.on_status(track, status, now), now)
        self.end_turn(now)

    # -- packets

    def _on_readable(self, wire: WireKey, receiver: Receiver) -> None:
        now = self.turn()
        self._hear(wire, receiver, now)
        self.end_turn(self._seen)

    def _on_socket_failure(self, wire: WireKey, error: OperatorError) -> None:
        self.tell(told.VrrpSocketFailed(wire.device or "any", error.message, error.hint))

    def announce_aside(self, now: float) -> None:
        """Let masters speak from interfaces on which they send no adverts (``garp_extra_if``)."""
        for seat in self.seats.values():
            period = seat.config.extra_refresh
            if not period or now < seat.aside + period or self.state(seat.key) is not State.MASTER:
                continue
            seat.aside = now
            places = {p.interface: p for p in reversed(seat.places) if p.interface != seat.device}
            self.crier.announce(Announcement(seat.key, place) for place in places.values())

    def _on_unannounced(self, key: InstanceKey, device: str, reason: str) -> None:
        seat = self.seats.get(key)
        if seat is not None:
            self.tell(told.VrrpAnnounceFailed(seat.name, device, reason))

    def _hear(self, wire: WireKey, receiver: Receiver, now: float) -> None:
        try:
            packets = receiver.drain()
        except OperatorError as error:
            if self._once(wire, error.message):
                self._on_socket_failure(wire, error)
            self.wires.drop(wire)
            return
        # Whatever was read had come by now, and perhaps not yet when the turn began.
        now = self._seen = max(now, self._loop.time())
        seats = self._by_wire.get(wire, {})
        for packet in packets:
            if isinstance(packet, Reject):
                self._refuse_foreign(wire, packet)
                continue
            seat = seats.get(packet.message.vrid)
            if seat is None:
                self._note_foreign(wire, packet)
            elif (known := seat.recall(packet)) is not None:
                self._take(seat, known, now)
            else:
                self._hear_one(seat, packet, now)

    def _hear_one(self, seat: Seat, packet: Received, now: float) -> None:
        instance = self._core.instances.get(seat.key)
        if instance is None:
            return
        master = instance.master
        verdict = seat.judge(packet, master.address if master else NO_ADDRESS, time.time())
        if isinstance(verdict, Reject):
            seat.counters.rejected[verdict.kind] += 1
            if seat.first(verdict.kind):
                self.tell(told.VrrpAdvertRejected(
                    seat.name, str(seat.key), verdict.kind.value, verdict.detail,
                    address_text(packet.source),
                ))  # fmt: skip
            return
        for note in verdict.notes:
            if seat.first(note.kind):
                peer = address_text(verdict.source)
                self.tell(told.VrrpAdvertNoted(seat.name, note.kind.value, note.detail, peer))
        self._take(seat, verdict, now)

    def _take(self, seat: Seat, accepted: Accepted, now: float) -> None:
        seat.note_peer(accepted, now)
        effects = self._core.on_advert(seat.key, accepted.advert, accepted.source, now)
        if effects:
            self.apply(effects, now)

    def _refuse_foreign(self, wire: WireKey, reject: Reject) -> None:
        """Tell of a packet that names no virtual router, once a kind and wire."""
        if self._once(wire, reject.kind):
            where = wire.device or "any"
            event = told.VrrpAdvertRejected("", where, reject.kind.value, reject.detail, "")
            self.tell(event)

    def _note_foreign(self, wire: WireKey, packet: Received) -> None:
        """Tell of a VRID that is not ours, once, if that is wanted."""
        if not self.unknown_vrids or not wire.device:
            return
        # The interface below a VMAC hears its adverts too.
        ours = any(
            seat.key.vrid == packet.vrid and seat.key.interface == wire.device
            for seat in self.seats.values()
        )
        if not ours and self._once(wire, packet.vrid):
            peer = address_text(packet.source)
            self.tell(told.VrrpUnknownVrid(wire.device, packet.vrid, peer))

    def _once(self, *what: object) -> bool:
        if what in self._foreign or len(self._foreign) >= MAX_EVENTS:
            return False
        self._foreign.add(what)
        return True

    # -- effects

    def apply(self, effects: Effects, now: float) -> None:
        """Do what the machines ask for, in their order."""
        for effect in effects:
            match effect:
                case fx.SendAdvert(key, priority):
                    self._send(self.seats[key], priority)
                case fx.HoldAddresses(key):
                    self._duties.hold(self.seats[key])
                case fx.ReleaseAddresses(key):
                    self.planner.stop(key)
                    self._duties.release(self.seats[key])
                case fx.Announce(key, occasion):
                    seat = self.seats[key]
                    spec = seat.config.spec.announce
                    self.planner.announce(key, spec, seat.places, occasion, now)
                case fx.LookAgain():
                    self._look_again()
                case fx.GroupChanged(name, old, new):
                    self.tell(told.VrrpGroupChanged(name, old.value, new.value))
                    self._duties.on_group(effect)
                case fx.StateChanged(key):
                    self._on_state(self.seats[key], effect, now)
                case _:
                    self._tell_effect(effect, now)

    def _look_again(self) -> None:
        """Read the sockets empty, then let the machines look at their timers once more."""
        now = max(self._seen, self._loop.time())
        self._seen = now
        for wire, receiver in self.wires.receivers():
            self._hear(wire, receiver, now)
        now = self._seen
        self.apply(self._core.on_timer(now), now)

    def _on_state(self, seat: Seat, change: fx.StateChanged, now: float) -> None:
        seat.transition(change)
        if self._core.tape is not None:
            self._core.tape.changed(change, now)
        self._tell_effect(change, now)
        self._duties.on_state(seat, change)

    def _tell_effect(self, effect: fx.Effect, now: float) -> None:
        if isinstance(effect, fx.GroupChanged):
            return
        seat = self.seats[effect.key]
        event = event_of(effect, seat, self.state(effect.key), now)
        if event is not None:
            self.tell(event)
        if not isinstance(effect, fx.StateChanged):
            self._duties.on_effect(seat, effect)

    def _send(self, seat: Seat, priority: int) -> None:
        instance = self._core.instances.get(seat.key)
        seat.source = instance.source if instance else seat.source
        if seat.source == NO_ADDRESS:
            return
        try:
            self.wires.send(seat, priority, time.time())
        except OperatorError as error:
            # A farewell over a link that is gone is nothing new: the fault is told.
            if priority and not seat.mute:
                seat.mute = True
                self.tell(told.VrrpSendFailed(seat.name, error.message, error.hint))
            return
        seat.mute = False
        seat.counters.sent += 1
        if not priority:
            seat.counters.zero_sent += 1
