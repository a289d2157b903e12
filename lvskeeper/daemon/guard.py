"""Guards what instances stand on: interfaces and source addresses.

It follows the kernel's news and turns them into faults and sources of instances; what concerns
their addresses, routes and rules it hands on.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import inf
from pathlib import Path
from typing import Final, assert_never, final

from lvskeeper.daemon.links import Links
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec, VmacKind
from lvskeeper.daemon.seat import Seat, WireKey
from lvskeeper.daemon.vip_guard import VipGuard
from lvskeeper.daemon.vmac_keeper import VmacKeeper
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.monitor import Overrun
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.kernel.rtnetlink_monitor import (
    AddressNews,
    LinkNews,
    News,
    RouteMonitor,
    RouteNews,
    RuleNews,
)
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import UpkeepFailed
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.holdings import PROTOCOL
from lvskeeper.vrrp.states import Fault, FaultKind, Occasion, State
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind
from lvskeeper.vrrp.types import InstanceKey


@final
class Guard:
    """The kernel's side of the router role, but for the packets."""

    def __init__(self, shell: Shell, run_dir: Path) -> None:
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._client = RouteClient()
        self._links: Final = Links()
        self.vips: Final = VipGuard(shell, self._client, self._links, run_dir)
        self._vmacs = VmacKeeper(self._client, self._links, shell.tell)
        self._monitor: RouteMonitor | None = None
        self._protocols: frozenset[int] = frozenset()
        self._spec = RouterSpec()
        self._virtual: frozenset[Address] = frozenset()
        """All virtual addresses: no source of adverts but for their owner."""
        self._named_sources: dict[InstanceKey, Address] = {}
        """Those that the configuration names."""
        self._faults: dict[InstanceKey, set[Fault]] = {}
        self._words: dict[str, str] = {}
        """Last word told of each interface."""
        self._hold_timer: asyncio.TimerHandle | None = None
        self._behind = False
        """News were lost, or could not be acted on: the next upkeep reads all anew."""

    def prepare(self, spec: RouterSpec) -> None:
        """Look at the kernel for *spec*; the first time, remove what an earlier router left.

        Raises :class:`OperatorError` where the kernel does not answer.
        """
        first = self._monitor is None
        self._virtual = frozenset(
            held.address for config in spec.instances for held in config.addresses
        )
        self._named_sources = {config.spec.key: config.spec.source for config in spec.instances}
        routes = chain(spec.static_routes, *(config.routes for config in spec.instances))
        self._listen(frozenset({PROTOCOL, *(route.protocol for route in routes)}))
        # What is up at the start has not just come up: its first failure is no flap.
        self._fill()
        self._links.watch(_interfaces(spec), dict(spec.link_delays))
        if self._vmacs.prepare(spec, left=self.vips.left_devices if first else ()):
            self._fill()
        self._spec = spec
        if not first:
            self.vips.recover(self._shell.turn(), spec)
        self.vips.prepare(spec, first=first)

    @property
    def left_behind(self) -> bool:
        """Whether an earlier router has not left in order; to be asked before :meth:`prepare`."""
        return self.vips.left_behind

    def drop_leftovers(self) -> None:
        """Take away the addresses that an earlier router has left; its devices may be adopted."""
        if not self.left_behind:
            return
        try:
            self._links.fill(self._client.links(), self._client.addresses(), self._loop.time())
            self.vips.sweep()
        except OperatorError as error:
            self._shell.tell(UpkeepFailed(error.message, error.hint))

    def sweep(self) -> None:
        """Remove what an earlier router has left, where there is no configuration to go by."""
        try:
            self._links.fill(self._client.links(), self._client.addresses(), self._loop.time())
            self._vmacs.sweep(self.vips.left_devices)
            self.vips.sweep()
        except OperatorError as error:
            self._shell.tell(UpkeepFailed(error.message, error.hint))

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
        """Take all from dumps; what was told before them is history."""
        while self._monitor is not None and self._monitor.drain():
            pass
        self._links.fill(self._client.links(), self._client.addresses(), self._loop.time())

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
            yield TrackId(TrackKind.INTERFACE, name), self._links.status(name)

    # -- news of the kernel

    def _on_news(self) -> None:
        self._go_by(self._monitor.drain() if self._monitor is not None else [])

    def _go_by(self, news: Sequence[News]) -> None:
        if not news:
            return
        now = self._shell.turn()
        lost: dict[tuple[Address, int, str], int] = {}
        touched = False
        for item in news:
            touched = self._take(item, lost, now) or touched
        # First the faults: who lost its interface has nothing to restore.
        self.survey(now)
        self._repair()
        self.vips.on_gone(lost, now)
        if touched:
            self.vips.look_for_routes()
        self._shell.end_turn(now)

    def _take(self, item: News, lost: dict[tuple[Address, int, str], int], now: float) -> bool:
        """Take one piece of news; return whether routes may have been touched."""
        match item:
            case LinkNews(link, gone):
                before = self._links.name(link.index)
                self._links.on_link(link, now, gone=gone)
                if gone:
                    self._shell.crier.forget(link.name)
                elif before not in {"", link.name}:
                    self._shell.crier.forget(before)
                    self._shell.crier.forget(link.name)
                    self.vips.on_renamed(before, link.name)
                return self.vips.has_routes
            case AddressNews(present, gone, port):
                device = self._links.name(present.index)
                self._links.on_address(present, gone=gone)
                if gone:
                    lost[present.address, present.prefix, device] = port
                return gone and self.vips.has_routes
            case RouteNews(_, gone, replaces):
                return gone or replaces
            case RuleNews(rule, gone):
                if gone:
                    self.vips.on_rule_gone(rule, now)
                return False
            case Overrun():
                self._catch_up(now)
                return False
            case _:
                assert_never(item)

    def _repair(self) -> None:
        """Put right what others did to devices; if that cannot be, at the next upkeep."""
        try:
            self._vmacs.repair()
        except OperatorError as error:
            self._behind = True
            self._shell.tell(UpkeepFailed(error.message, error.hint))

    def _catch_up(self, now: float) -> None:
        """Read anew what was told while nobody could listen; if it fails, at the next upkeep."""
        self._behind = True
        try:
            self._fill()
            self.vips.recover(now, self._spec)
        except OperatorError as error:
            self._shell.tell(UpkeepFailed(error.message, error.hint))
            return
        self._behind = False

    # -- faults and sources

    def survey(self, now: float) -> None:
        """Let instances know what became of their interfaces and source addresses."""
        self._links.on_timer(now)
        back = self._tell_links()
        self._shell.wires.repair()
        self._shell.wires.renew(self._regained())
        for key, seat in self._shell.seats.items():
            self._survey_one(key, seat, now)
            if back and _stands_on(seat, back) and self._shell.state(key) is State.MASTER:
                self._shell.event(key, ev.AnnouncementDue(Occasion.LINK), now)
        for track, status in self.statuses():
            self._shell.apply(self._shell.core.on_status(track, status, now), now)
        self._arm_holds()

    def _arm_holds(self) -> None:
        """Come back when a link that flaps may count again."""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        due = self._links.deadline()
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
            view = self._links.view(name)
            link = self._links.link(name)
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

    def _regained(self) -> set[WireKey]:
        """Return where instances have a source address again, before they are told."""
        instances = self._shell.core.instances
        return {
            seat.wire
            for key, seat in self._shell.seats.items()
            if key in instances and instances[key].source == NO_ADDRESS != self._source(seat.config)
        }

    def _survey_one(self, key: InstanceKey, seat: Seat, now: float) -> None:
        if key not in self._shell.core.instances:
            return
        wanted = self._faults_of(seat.config)
        if seat.wire in self._shell.wires.failures:
            # Deaf and dumb, it would take itself for the only router there is.
            wanted.add(Fault(FaultKind.NO_SOCKET, seat.device))
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
            view = self._links.view(base)
            if not view.present:
                faults.add(Fault(FaultKind.INTERFACE_MISSING, base))
            elif not view.well and config.track_primary:
                kind = FaultKind.BASE_INTERFACE_DOWN if vmac else FaultKind.INTERFACE_DOWN
                faults.add(Fault(kind, base))
        if vmac and not self._links.view(vmac.name).present:
            faults.add(Fault(FaultKind.INTERFACE_MISSING, vmac.name))
        return faults

    def _source(self, config: InstanceConfig) -> Address:
        """Return the address that adverts of an instance come from now, or none."""
        named = self._named_sources.get(config.spec.key, NO_ADDRESS)
        if named != NO_ADDRESS:
            return named if self._links.has(named) else NO_ADDRESS
        key, vmac = config.spec.key, config.vmac
        device = key.interface
        if vmac and not vmac.xmit_base and (key.family == 6 or vmac.kind is VmacKind.IPVLAN):
            device = vmac.name
        found = self._links.source(device, key.family, self._virtual)
        if found == NO_ADDRESS and config.spec.owner:
            # It may have none but those that it owns.
            others = self._virtual - {held.address for held in config.addresses}
            found = self._links.source(device, key.family, others)
        return found

    # -- the end

    def upkeep(self) -> None:
        """Try again what did not work: devices, sockets, addresses whose device is back."""
        if self._behind:
            self._go_by([Overrun()])
        else:
            self._on_news()
        self._shell.wires.repair()
        if self._shell.wires.failures:
            now = self._shell.turn()
            self.survey(now)
            self._shell.end_turn(now)
        self.vips.retry()

    def close(self) -> None:
        """Take away what is static and what is virtual, and leave the kernel alone."""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
        self._deafen()
        self.vips.close()
        self._vmacs.close()
        self._client.close()


def _stands_on(seat: Seat, names: set[str]) -> bool:
    return seat.key.interface in names or any(place.interface in names for place in seat.places)


def _interfaces(spec: RouterSpec) -> set[str]:
    """Return the interfaces that instances depend on, or have addresses on."""
    names = {config.spec.key.interface for config in spec.instances}
    names |= {config.vmac.name for config in spec.instances if config.vmac}
    names |= {held.device for config in spec.instances for held in config.addresses}
    return (names | set(_tracked(spec))) - {""}


def _tracked(spec: RouterSpec) -> set[str]:
    tracks = chain(
        *(config.spec.tracks for config in spec.instances),
        *(group.spec.tracks for group in spec.groups),
    )
    return {track.id.name for track in tracks if track.id.kind is TrackKind.INTERFACE}
