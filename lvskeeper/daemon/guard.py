"""Guards what instances stand on and hold: interfaces, source addresses, VIPs, routes, rules.

It follows the kernel's news, turns them into faults and sources of instances, and puts back what
somebody else removed.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from math import inf
from pathlib import Path
from typing import Final, assert_never, final

from lvskeeper.daemon.holder import Holder, Holdings, Result
from lvskeeper.daemon.links import Links
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_monitor import (
    AddressNews,
    LinkNews,
    News,
    Overrun,
    RouteMonitor,
    RouteNews,
    RuleNews,
)
from lvskeeper.observe import vrrp_events as told
from lvskeeper.units import NO_ADDRESS, Address, format_duration
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.holdings import PROTOCOL
from lvskeeper.vrrp.states import Fault, FaultKind, Occasion, State
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind
from lvskeeper.vrrp.types import InstanceKey

STATIC: Final = "static"
"""Owner of static addresses, routes and rules."""
RESTORE_PAUSE: Final = 0.2
"""Least time between two restorations for one instance, in seconds: others may be stubborn."""
ROUTE_PAUSE: Final = 0.1
"""Routes are looked for so long after news that may have taken them along."""
FENCE_SHARE: Final = 3
"""A fenced address is refreshed this many times in its lifetime."""


@final
class Guard:
    """The kernel's side of the router role, but for the packets."""

    def __init__(self, shell: Shell, run_dir: Path) -> None:
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._client = RouteClient()
        self.links: Final = Links()
        self._holder = Holder(self._client, self.links, run_dir)
        self._monitor: RouteMonitor | None = None
        self._protocols: frozenset[int] = frozenset()
        self._spec = RouterSpec()
        self._virtual: frozenset[Address] = frozenset()
        """All virtual addresses: never a source of adverts."""
        self._faults: dict[InstanceKey, set[Fault]] = {}
        self._names: dict[str, str] = {STATIC: STATIC}
        """Owners' names for the operator."""
        self._refused: dict[str, set[str]] = {}
        """What the kernel refused each owner, told once."""
        self._restored: dict[str, float] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        """Restorations that are put off."""
        self._words: dict[str, str] = {}
        """Last word told of each interface."""
        self._route_look: asyncio.TimerHandle | None = None
        self._fence: asyncio.TimerHandle | None = None
        self._hold_timer: asyncio.TimerHandle | None = None

    # -- configuration

    def prepare(self, spec: RouterSpec) -> None:
        """Look at the kernel for *spec*; the first time, remove what an earlier router left.

        Raises :class:`OperatorError` where the kernel does not answer.
        """
        first = self._monitor is None
        self._virtual = frozenset(
            held.address for config in spec.instances for held in config.addresses
        )
        routes = chain(spec.static_routes, *(config.routes for config in spec.instances))
        self._listen(frozenset({PROTOCOL, *(route.protocol for route in routes)}))
        self.links.watch(_interfaces(spec), dict(spec.link_delays))
        self._fill()
        possible = _possible(spec)
        if first:
            self._clear(possible, spec)
        self._spec = spec
        self._holder.note(possible)
        self._set_fence(spec.fence)
        self._names = {STATIC: STATIC} | {
            str(config.spec.key): config.spec.name for config in spec.instances
        }
        static = Holdings(spec.static_addresses, spec.static_routes, spec.static_policies)
        if static or STATIC in self._holder.held:
            self._tell_held(STATIC, static, self._holder.hold(STATIC, static))

    def _listen(self, protocols: frozenset[int]) -> None:
        if self._monitor is not None:
            if protocols == self._protocols:
                return
            self._deafen()
        self._protocols = protocols
        self._monitor = RouteMonitor(protocols=protocols)
        self._loop.add_reader(self._monitor.fileno(), self._on_news)

    def _deafen(self) -> None:
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _fill(self) -> None:
        self.links.fill(self._client.links(), self._client.addresses(), self._loop.time())

    def _clear(self, possible: Holdings, spec: RouterSpec) -> None:
        owned = {
            held.address
            for config in spec.instances
            if config.spec.owner
            for held in config.addresses
        }
        owned |= {held.address for held in spec.static_addresses}
        names, result = self._holder.remove_leftovers(possible, owned)
        if names:
            took = format_duration(result.seconds)
            self._shell.tell(told.VipsReleased("earlier run", names, took))

    def resolve(self, config: InstanceConfig) -> InstanceConfig:
        """Return *config* with the source address that it has now, or none."""
        return replace(config, spec=replace(config.spec, source=self._source(config)))

    def faults(self, configs: Iterable[InstanceConfig]) -> Mapping[InstanceKey, frozenset[Fault]]:
        """Return the faults of *configs* that the kernel's state makes, and remember them."""
        found = {config.spec.key: self._faults_of(config) for config in configs}
        self._faults = {
            key: set(self._faults[key]) if key in self._faults else set(faults)
            for key, faults in found.items()
        }
        return {key: frozenset(faults) for key, faults in found.items()}

    def statuses(self) -> Iterator[tuple[TrackId, Status]]:
        """Yield how the tracked interfaces are."""
        for name in _tracked(self._spec):
            yield TrackId(TrackKind.INTERFACE, name), self.links.status(name)

    def follow(self, before: Mapping[InstanceKey, InstanceConfig]) -> None:
        """After a reload, let masters hold what they are to hold now; *before* is their past."""
        for key, seat in self._shell.seats.items():
            old = before.get(key)
            if old is None or self._shell.state(key) is not State.MASTER:
                continue
            config = seat.config
            if _holdings(old) != _holdings(config):
                self.hold(seat)
            if old.addresses != config.addresses or old.spec.announce != config.spec.announce:
                due = ev.AnnouncementDue(Occasion.RESTORED)
                self._shell.event(key, due, self._shell.turn())

    # -- what instances hold

    def hold(self, seat: Seat) -> None:
        """Put in place what *seat* holds as master."""
        owner, wanted = str(seat.key), _holdings(seat.config)
        if wanted:
            self._tell_held(owner, wanted, self._holder.hold(owner, wanted))

    def release(self, seat: Seat) -> None:
        """Take away what *seat* holds."""
        owner = str(seat.key)
        waiting = self._waiting.pop(owner, None)
        if waiting is not None:
            waiting.cancel()
        held = self._holder.held.get(owner)
        if held is None:
            return
        result = self._holder.release(owner)
        took = format_duration(result.seconds)
        self._shell.tell(told.VipsReleased(seat.name, str(held), took))
        self._tell_refused(owner, result)

    def _tell_held(self, owner: str, held: Holdings, result: Result) -> None:
        self._shell.tell(
            told.VipsHeld(
                self._names.get(owner, owner),
                ", ".join(map(str, held.addresses)),
                len(held.routes),
                len(held.rules),
                format_duration(result.seconds),
            )
        )
        self._tell_refused(owner, result)

    def _tell_refused(self, owner: str, result: Result) -> None:
        known = self._refused.get(owner, set())
        self._refused[owner] = {str(refusal) for refusal in result.refusals}
        for refusal in result.refusals:
            if str(refusal) not in known:
                name = self._names.get(owner, owner)
                self._shell.tell(
                    told.VipRefused(name, str(refusal.change), refusal.reason, refusal.hint)
                )

    def _set_fence(self, fence: float) -> None:
        if self._fence is not None:
            self._fence.cancel()
            self._fence = None
        before, self._holder.fence = self._holder.fence, fence
        if before != fence and self._holder.held:
            self._holder.refresh()
        if fence:
            self._fence = self._loop.call_later(fence / FENCE_SHARE, self._refresh)

    def _refresh(self) -> None:
        fence = self._holder.fence
        self._fence = self._loop.call_later(fence / FENCE_SHARE, self._refresh)
        if self._holder.held:
            self._holder.refresh()

    # -- news of the kernel

    def _on_news(self) -> None:
        if self._monitor is None:
            return
        now = self._shell.turn()
        lost: dict[tuple[Address, int, str], int] = {}
        touched = False
        for item in self._monitor.drain():
            touched = self._take(item, lost, now) or touched
        # First the faults: who lost its interface has nothing to restore.
        self.survey(now)
        for name, port in lost.items():
            if not self.links.stands(*name):
                for owner in self._holder.owners_of_address(*name):
                    what = next(
                        str(held)
                        for held in self._holder.held[owner].addresses
                        if held.name == name
                    )
                    self._lost(owner, what, _who(port), now)
        if touched and self._route_look is None:
            self._route_look = self._loop.call_later(ROUTE_PAUSE, self._look_for_routes)
        self._shell.end_turn(now)

    def _take(self, item: News, lost: dict[tuple[Address, int, str], int], now: float) -> bool:
        """Take one piece of news; return whether routes may have been touched."""
        match item:
            case LinkNews(link, gone):
                self.links.on_link(link, now, gone=gone)
                if gone:
                    self._shell.forget_device(link.name)
                return bool(self._routes())
            case AddressNews(present, gone, port):
                device = self.links.name(present.index)
                self.links.on_address(present, gone=gone)
                if gone:
                    lost[present.address, present.prefix, device] = port
                return gone and bool(self._routes())
            case RouteNews(_, gone, replaces):
                return gone or replaces
            case RuleNews(rule, gone):
                if gone:
                    for owner in self._holder.owners_of_rule(rule):
                        self._lost(owner, f"rule {rule}", "", now)
                return False
            case Overrun():
                self._recover(now)
                return bool(self._routes())
            case _:
                assert_never(item)

    def _routes(self) -> bool:
        return any(held.routes for held in self._holder.held.values())

    def _recover(self, now: float) -> None:
        """Read everything anew: news were lost."""
        self._fill()
        for owner, held in [*self._holder.held.items()]:
            gone = [each for each in held.addresses if not self.links.stands(*each.name)]
            if gone:
                self._lost(owner, ", ".join(map(str, gone)), "", now)

    def _look_for_routes(self) -> None:
        self._route_look = None
        now = self._shell.turn()
        for owner, routes in self._holder.missing_routes().items():
            self._lost(owner, ", ".join(f"route {route}" for route in routes), "", now)
        self._shell.end_turn(now)

    def _lost(self, owner: str, what: str, by: str, now: float) -> None:
        """Put back what *owner* lost, at once or after a pause."""
        seat = self._seat(owner)
        count = 0
        if seat is not None:
            seat.counters.lost += 1
            count = seat.counters.lost
        self._shell.tell(told.VipLost(self._names.get(owner, owner), what, by, count))
        if owner in self._waiting:
            return
        pause = self._restored.get(owner, -inf) + RESTORE_PAUSE - now
        if pause > 0:
            self._waiting[owner] = self._loop.call_later(pause, self._restore_later, owner)
        else:
            self._restore(owner, now)

    def _restore_later(self, owner: str) -> None:
        self._waiting.pop(owner, None)
        now = self._shell.turn()
        self._restore(owner, now)
        self._shell.end_turn(now)

    def _restore(self, owner: str, now: float) -> None:
        self._restored[owner] = now
        seat = self._seat(owner)
        if seat is not None:
            self._shell.event(seat.key, ev.AddressesLost(), now)
        elif owner in self._holder.held:
            self._tell_refused(owner, self._holder.restore(owner))

    def _seat(self, owner: str) -> Seat | None:
        return next((seat for seat in self._shell.seats.values() if str(seat.key) == owner), None)

    # -- faults and sources

    def survey(self, now: float) -> None:
        """Let instances know what became of their interfaces and source addresses."""
        self.links.on_timer(now)
        back = self._tell_links()
        self._shell.wires.repair()
        for key, seat in self._shell.seats.items():
            self._survey_one(key, seat, now)
            if seat.key.interface in back and self._shell.state(key) is State.MASTER:
                self._shell.event(key, ev.AnnouncementDue(Occasion.LINK), now)
        for track, status in self.statuses():
            self._shell.apply(self._shell.core.on_status(track, status, now), now)
        self._arm_holds()

    def _arm_holds(self) -> None:
        """Come back when a link that flaps may count again."""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        due = self.links.deadline()
        if due < inf:
            self._hold_timer = self._loop.call_at(due, self._on_hold_over)

    def _on_hold_over(self) -> None:
        self._hold_timer = None
        now = self._shell.turn()
        self.survey(now)
        self._shell.end_turn(now)

    def _tell_links(self) -> set[str]:
        """Tell what became of interfaces; return those that came back."""
        back: set[str] = set()
        for name in _interfaces(self._spec):
            view = self.links.view(name)
            link = self.links.link(name)
            word = view.word
            if word == "down" and link is not None and link.running:
                word = "held down"
            before = self._words.get(name)
            self._words[name] = word
            if before != word and (before is not None or word != "up"):
                self._shell.tell(told.LinkChanged(name, word, view.flaps))
                if word == "up":
                    back.add(name)
        return back

    def _survey_one(self, key: InstanceKey, seat: Seat, now: float) -> None:
        if key not in self._shell.core.instances:
            return
        wanted = self._faults_of(seat.config)
        present = self._faults.setdefault(key, set())
        source = self._source(seat.config)
        if source != self._shell.core.instances[key].source and source != NO_ADDRESS:
            self._shell.event(key, ev.SourceChanged(source), now)
        for fault in sorted(wanted - present, key=str):
            present.add(fault)
            self._shell.event(key, ev.Faulted(fault), now)
        for fault in sorted(present - wanted, key=str):
            present.discard(fault)
            self._shell.event(key, ev.Healed(fault), now)
        if source != self._shell.core.instances[key].source:
            self._shell.event(key, ev.SourceChanged(source), now)

    def _faults_of(self, config: InstanceConfig) -> set[Fault]:
        faults: set[Fault] = set()
        base, vmac = config.spec.key.interface, config.vmac
        if config.no_peer_fault:
            faults.add(Fault(FaultKind.NO_PEER))
        if base:
            view = self.links.view(base)
            if not view.present:
                faults.add(Fault(FaultKind.INTERFACE_MISSING, base))
            elif not view.well and config.track_primary:
                kind = FaultKind.BASE_INTERFACE_DOWN if vmac else FaultKind.INTERFACE_DOWN
                faults.add(Fault(kind, base))
        if vmac and not self.links.view(vmac.name).present:
            faults.add(Fault(FaultKind.INTERFACE_MISSING, vmac.name))
        return faults

    def _source(self, config: InstanceConfig) -> Address:
        """Return the address that adverts of an instance come from now, or none."""
        named = self._named_source(config.spec.key)
        if named != NO_ADDRESS:
            return named if self.links.has(named) else NO_ADDRESS
        key = config.spec.key
        return self.links.source(key.interface, key.family, self._virtual)

    def _named_source(self, key: InstanceKey) -> Address:
        """Return the source that the configuration names, or none."""
        return next(
            (each.spec.source for each in self._spec.instances if each.spec.key == key), NO_ADDRESS
        )

    # -- the end

    def upkeep(self) -> None:
        """Try again what did not work: sockets, and addresses whose device is back."""
        self._on_news()
        self._shell.wires.repair()
        for owner, held in [*self._holder.held.items()]:
            if any(
                self.links.link(each.device) and not self.links.stands(*each.name)
                for each in held.addresses
            ):
                self._tell_refused(owner, self._holder.restore(owner))
                seat = self._seat(owner)
                if seat is not None:
                    now = self._shell.turn()
                    self._shell.event(seat.key, ev.AnnouncementDue(Occasion.RESTORED), now)
                    self._shell.end_turn(now)

    def close(self) -> None:
        """Take away what is static, and leave the kernel alone."""
        for handle in (self._fence, self._route_look, self._hold_timer, *self._waiting.values()):
            if handle is not None:
                handle.cancel()
        self._waiting.clear()
        self._deafen()
        for owner in [*self._holder.held]:
            self._tell_refused(owner, self._holder.release(owner))
        self._holder.forget()
        self._client.close()


def _holdings(config: InstanceConfig) -> Holdings:
    return Holdings(config.addresses, config.routes, config.policies)


def _possible(spec: RouterSpec) -> Holdings:
    """Return all that may come to be held."""
    configs = spec.instances
    return Holdings(
        (*spec.static_addresses, *(each for one in configs for each in one.addresses)),
        (*spec.static_routes, *(each for one in configs for each in one.routes)),
        (*spec.static_policies, *(each for one in configs for each in one.policies)),
    )


def _interfaces(spec: RouterSpec) -> set[str]:
    """Return the interfaces that instances depend on."""
    names = {config.spec.key.interface for config in spec.instances if config.spec.key.interface}
    names |= {config.vmac.name for config in spec.instances if config.vmac}
    return names | set(_tracked(spec))


def _tracked(spec: RouterSpec) -> set[str]:
    tracks = chain(
        *(config.spec.tracks for config in spec.instances),
        *(group.spec.tracks for group in spec.groups),
    )
    return {track.id.name for track in tracks if track.id.kind is TrackKind.INTERFACE}


def _who(port: int) -> str:
    """Return who has a netlink port: by default it is the process id."""
    if not port:
        return "the kernel itself"
    try:
        name = Path("/proc", str(port), "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return f"process {port}, which has ended"
    return f"process {port} ({name})"
