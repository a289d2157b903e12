"""Routers in memory: a virtual clock, and a link that loses, delays, duplicates and cuts one way.

The nodes are the real pure core (router and announcement planner) under a shell of a few lines. A
neighbour on the same link remembers which node announced the addresses last, as an ARP cache does.
Every step is watched: once nothing was disturbed for ``bound`` seconds exactly one node holds the
addresses of each instance, and a sync group is never split.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

from lvskeeper.units import Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.announce import Place, Planner
from lvskeeper.vrrp.instance import TRANSITIONS
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.states import Fault, FaultKind, State
from lvskeeper.vrrp.tape import Tape
from lvskeeper.vrrp.timers import master_down_time
from lvskeeper.vrrp.types import Advert, InstanceKey

VIP = Address(bytes([192, 0, 2, 100]))
MAX_DELAY = 0.02
"""Of a packet on a link that works, in seconds."""
LOOP_LAG = 0.002
OVERLAP = 2 * (MAX_DELAY + LOOP_LAG)
"""How long two nodes hold the addresses while one preempts the other."""
MAX_STEPS = 200_000
MAINTENANCE = Fault(FaultKind.MAINTENANCE)


@dataclass(eq=False)
class Node:
    """One router with its kernel: sockets that buffer, and the addresses that it holds."""

    name: str
    specs: tuple[InstanceSpec, ...]
    groups: tuple[GroupSpec, ...]
    router: Router = field(init=False)
    planner: Planner = field(init=False)
    inbox: deque[tuple[InstanceKey, Advert, Address]] = field(default_factory=deque)
    holds: set[InstanceKey] = field(default_factory=set)
    on: bool = False
    frozen: bool = False
    deaf: bool = False
    """Frozen with the whole machine: the sockets buffer nothing."""
    told: list[tuple[float, fx.Effect]] = field(default_factory=list)
    tape: Tape | None = None
    """The flight recorder, which a boot goes on with."""

    def boot(self) -> None:
        self.router = Router(self.specs, self.groups)
        if self.tape is not None:
            self.tape.cut()
            self.router.tape = self.tape
        self.planner = Planner()
        self.inbox.clear()
        self.holds.clear()
        self.on = True
        self.frozen = self.deaf = False

    @property
    def able(self) -> bool:
        """Whether the node could hold addresses."""
        return self.on and all(i.state is not State.FAULT for i in self.router.instances.values())

    def deadline(self) -> float:
        if not self.on or self.frozen:
            return inf
        return min(self.router.deadline(), self.planner.deadline())


class World:
    """The link, the clock, the nodes, and what must always hold."""

    def __init__(self, nodes: Iterable[Node], seed: int, *, slack: float = 0.0) -> None:
        self.now = 1000.0
        self.nodes = tuple(nodes)
        self.random = Random(seed)
        self.cuts: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.duplicates = 0.0
        self.caches: dict[InstanceKey, tuple[str, float]] = {}
        """Who announced the addresses last, and when, as the neighbour sees it."""
        self.undisturbed = self.now
        self._wrong: dict[InstanceKey, float] = {}
        """Since when there is none, or more than one."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()
        self._due: dict[str, tuple[float, float]] = {}
        self.specs = [spec for node in self.nodes for spec in node.specs]
        self.keys = sorted({spec.key for spec in self.specs})
        self.bound = bound(self.specs) + slack

    # What the schedules do

    def boot(self, node: Node) -> None:
        self.disturb()
        if not node.on:
            node.boot()
            self.apply(node, node.router.start(self.now))

    def power_off(self, node: Node) -> None:
        self.disturb()
        node.on = False
        node.holds.clear()

    def stop(self, node: Node) -> None:
        self.disturb()
        if node.on and not node.frozen:
            self.apply(node, node.router.stop(self.now))
            self.power_off(node)

    def freeze(self, node: Node, seconds: float, *, machine: bool) -> None:
        self.disturb()
        if node.on and not node.frozen:
            node.frozen, node.deaf = True, machine
            self.at(self.now + seconds, lambda: self.thaw(node, seconds))

    def thaw(self, node: Node, seconds: float) -> None:
        self.disturb()
        if not (node.on and node.frozen):
            return
        node.frozen = node.deaf = False
        if seconds > min(spec.interval for spec in node.specs) / 2:
            self.apply(node, node.router.on_all(ev.LoopStalled(seconds), self.now))
        # The loop may see its timer or its sockets first
        if self.random.random() < 0.5:
            self.fire(node)
        self.drain(node)

    def suspend(self, node: Node) -> None:
        """Come back from a suspension, of which only the other nodes felt the time."""
        self.disturb()
        if node.on and not node.frozen:
            node.inbox.clear()
            self.apply(node, node.router.on_all(ev.Resumed(), self.now))

    def fault(self, node: Node, *, heal: bool) -> None:
        self.disturb()
        if node.on and not node.frozen:
            event = ev.Healed(MAINTENANCE) if heal else ev.Faulted(MAINTENANCE)
            self.apply(node, node.router.on(node.specs[0].key, event, self.now))

    def lose(self, part: float) -> None:
        self.disturb()
        self.loss = part

    def duplicate(self, part: float) -> None:
        self.duplicates = part

    def heal(self) -> None:
        self.disturb()
        self.cuts.clear()
        self.loss = self.duplicates = 0.0

    def disturb(self) -> None:
        self.undisturbed = self.now

    # The clock

    def at(self, time: float, action: Callable[[], None]) -> None:
        heappush(self._queue, (time, next(self._serial), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(MAX_STEPS):
            at, node = self._next_wake()
            queued = self._queue[0][0] if self._queue else inf
            if min(at, queued) > end:
                break
            self.watch(min(at, queued))
            self.now = max(self.now, min(at, queued))
            if queued <= at:
                heappop(self._queue)[2]()
            elif node:
                self.fire(node)
        else:
            raise AssertionError(f"more than {MAX_STEPS} steps in {seconds} s")
        self.now = end
        self.watch(end)

    def _next_wake(self) -> tuple[float, Node | None]:
        first: tuple[float, Node | None] = (inf, None)
        for node in self.nodes:
            deadline = node.deadline()
            known, wake = self._due.get(node.name, (inf, inf))
            if deadline != known:
                # A loop wakes up a little late
                wake = max(deadline, self.now) + self.random.random() * LOOP_LAG
                self._due[node.name] = (deadline, wake)
            if wake < first[0]:
                first = (wake, node)
        return first

    # The shell of a node

    def fire(self, node: Node) -> None:
        self._due.pop(node.name, None)
        self.apply(node, node.router.on_timer(self.now))
        if node.router.deadline() <= self.now:
            return
        for said in node.planner.on_timer(self.now):
            self.caches[said.key] = (node.name, self.now)

    def drain(self, node: Node) -> None:
        while node.inbox and node.on and not node.frozen:
            key, advert, source = node.inbox.popleft()
            self.apply(node, node.router.on_advert(key, advert, source, self.now))

    def apply(self, node: Node, effects: list[fx.Effect]) -> None:
        again = False
        for effect in effects:
            node.told.append((self.now, effect))
            match effect:
                case fx.SendAdvert(key, priority):
                    self.send(node, key, priority)
                case fx.HoldAddresses(key):
                    node.holds.add(key)
                case fx.ReleaseAddresses(key):
                    node.holds.discard(key)
                    node.planner.stop(key)
                case fx.Announce(key, occasion):
                    spec = node.router.instances[key].spec
                    place = Place(key.interface, VIP)
                    node.planner.announce(key, spec.announce, [place], occasion, self.now)
                case fx.StateChanged() if node.tape is not None:
                    node.tape.changed(effect, self.now)
                case fx.LookAgain():
                    again = True
                case _:
                    pass
        if again:
            self.drain(node)
            self.apply(node, node.router.on_timer(self.now))

    def send(self, sender: Node, key: InstanceKey, priority: int) -> None:
        instance = sender.router.instances[key]
        spec = instance.spec
        advert = Advert(spec.version, key.vrid, priority, spec.interval, (VIP,))
        for node in self.nodes:
            if node is sender:
                continue
            copies = 2 if self.random.random() < self.duplicates else 1
            for _ in range(copies):
                delay = self.random.random() * MAX_DELAY
                self.at(self.now + delay, self._delivery(sender, node, key, advert))

    def _delivery(
        self, sender: Node, node: Node, key: InstanceKey, advert: Advert
    ) -> Callable[[], None]:
        source = sender.router.instances[key].source

        def deliver() -> None:
            if (sender.name, node.name) in self.cuts or self.random.random() < self.loss:
                return
            if node.on and not node.deaf and key in node.router.instances:
                node.inbox.append((key, advert, source))
                self.drain(node)

        return deliver

    # What must hold

    @property
    def disturbed(self) -> bool:
        return bool(self.cuts or self.loss or any(node.frozen for node in self.nodes))

    def watch(self, now: float) -> None:
        for node in self.nodes:
            if node.on:
                self._watch_groups(node)
        if self.disturbed:
            self.undisturbed = now
        if now - self.undisturbed <= self.bound:
            self._wrong.clear()
            return
        for key in self.keys:
            holders = [node.name for node in self.nodes if key in node.holds]
            able = [n.name for n in self.nodes if n.able and key in n.router.instances]
            if len(holders) == min(1, len(able)):
                self._wrong.pop(key, None)
                if holders:
                    self._watch_cache(key, holders[0], now)
            else:
                lasted = now - self._wrong.setdefault(key, now)
                assert lasted <= OVERLAP, f"{now - 1000:.3f}: {key} held by {holders}"

    def _watch_groups(self, node: Node) -> None:
        for group in node.router.groups.values():
            masters = {member.state is State.MASTER for member in group.members}
            held = {member.key in node.holds for member in group.members}
            assert len(masters) == 1, f"{node.name}: group split"
            assert masters == held, f"{node.name}: addresses do not follow the state"

    def _watch_cache(self, key: InstanceKey, holder: str, now: float) -> None:
        spec = next(spec for spec in self.specs if spec.key == key)
        late = spec.announce.delay + spec.announce.refresh + LOOP_LAG
        if now - self.undisturbed > self.bound + late:
            assert self.caches[key][0] == holder, f"{now - 1000:.3f}: neighbours have the old MAC"

    def masters(self, key: InstanceKey) -> list[str]:
        return [node.name for node in self.nodes if node.on and key in node.holds]


def bound(specs: Iterable[InstanceSpec]) -> float:
    """Return how long it may take to have one master again, on a link that works.

    The slowest backup waits its master-down time, once more an interval and its skew if it was
    late itself, and a second master yields at the next advert.
    """
    specs = list(specs)
    longest = max(spec.interval for spec in specs)
    down = max(master_down_time(s.version, _least(s), longest, s.down_timer_adverts) for s in specs)
    skew = max(down - s.down_timer_adverts * longest for s in specs)
    return down + (longest + skew) + longest + 4 * (MAX_DELAY + LOOP_LAG)


def _least(spec: InstanceSpec) -> int:
    lowest = sum(track.weight for track in spec.tracks if track.weight < 0)
    return max(1, spec.priority + lowest)


def transitions_are_declared(node: Node) -> bool:
    """Return whether all changes of state are ones that the table names."""
    declared = {(state, to) for (state, _), entry in TRANSITIONS.items() for to in entry.to}
    return all(
        (effect.old, effect.new) in declared
        for _, effect in node.told
        if isinstance(effect, fx.StateChanged)
    )
