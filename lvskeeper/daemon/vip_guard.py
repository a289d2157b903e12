"""Guards what instances hold: puts it in place, brings back what others remove, takes it away."""

import asyncio
from collections.abc import Mapping
from itertools import chain
from math import inf
from pathlib import Path
from typing import Final, TypeAlias, final

from lvskeeper.daemon.holder import AddressName, Holder, Holdings, Result
from lvskeeper.daemon.links import Links
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_shell import Shell
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.rtnetlink import RouteClient
from lvskeeper.observe import vrrp_events as told
from lvskeeper.observe.events import UpkeepFailed
from lvskeeper.units import Address, format_duration
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.holdings import Rule
from lvskeeper.vrrp.states import Occasion, State
from lvskeeper.vrrp.types import InstanceKey

STATIC: Final = "static"
"""Owner of static addresses, routes and rules."""
RESTORE_PAUSE: Final = 0.2
"""Least time between two restorations for one instance, in seconds: others may be stubborn."""
ROUTE_PAUSE: Final = 0.1
"""Routes are looked for so long after news that may have taken them along."""
FENCE_SHARE: Final = 3
"""A fenced address is refreshed this many times in its lifetime."""

Lost: TypeAlias = Mapping[tuple[Address, int, str], int]
"""Addresses that went, with the netlink port of who asked for it."""


@final
class VipGuard:
    """What instances hold, and the static things that are always held."""

    def __init__(self, shell: Shell, client: RouteClient, links: Links, run_dir: Path) -> None:
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._links = links
        self._holder = Holder(client, links, run_dir)
        self._names: dict[str, str] = {}
        """Owners' names for the operator."""
        self._refused: dict[str, set[str]] = {}
        """What the kernel refused each owner, told once."""
        self._restored: dict[str, float] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        """Restorations that are put off."""
        self._tried: dict[str, set[AddressName]] = {}
        """What the kernel took from each owner at the last :meth:`retry`."""
        self._route_look: asyncio.TimerHandle | None = None
        self._fence: asyncio.TimerHandle | None = None

    def prepare(self, spec: RouterSpec, *, first: bool) -> None:
        """Go by *spec*; the *first* time, remove what an earlier router left."""
        possible, owned = _possible(spec), _owned(spec)
        if first:
            self._clear(possible, owned)
        self._note(possible, owned, devices_of(spec))
        self._set_fence(spec.fence)
        self._names = {STATIC: STATIC} | {
            str(config.spec.key): config.spec.name for config in spec.instances
        }
        static = Holdings(spec.static_addresses, spec.static_routes, spec.static_policies)
        if static or STATIC in self._holder.held:
            self._tell_held(STATIC, static, self._holder.hold(STATIC, static, own=True))

    def _note(self, possible: Holdings, owned: set[Address], devices: tuple[str, ...]) -> None:
        try:
            self._holder.note(possible, owned, devices)
        except OSError as error:
            # What a later router is to clear away is worth less than what this one is to do.
            self._shell.tell(
                UpkeepFailed(
                    f"the runtime directory cannot be written: {error.strerror}",
                    "It must be writable and have room; /run is usual.",
                )
            )

    @property
    def left_behind(self) -> bool:
        """Whether an earlier router has not left in order; to be asked before :meth:`prepare`."""
        return self._holder.noted

    @property
    def left_devices(self) -> tuple[str, ...]:
        """Virtual devices that an earlier router has left, to be asked before :meth:`prepare`."""
        return self._holder.left_devices

    def sweep(self) -> None:
        """Remove what an earlier router has noted."""
        self._clear(Holdings(), set())

    def _clear(self, possible: Holdings, owned: set[Address]) -> None:
        names, result = self._holder.remove_leftovers(possible, owned)
        if names:
            took = format_duration(result.seconds)
            self._shell.tell(told.VipsReleased("earlier run", names, took))

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

    def holds(self, seat: Seat) -> bool:
        """Whether *seat* has what it holds as master already."""
        return str(seat.key) in self._holder.held

    def hold(self, seat: Seat) -> None:
        """Put in place what *seat* holds as master."""
        owner, wanted = str(seat.key), _holdings(seat.config)
        if wanted or owner in self._holder.held:
            own = seat.config.spec.owner
            self._tell_held(owner, wanted, self._holder.hold(owner, wanted, own=own))

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

    # -- losses

    def on_renamed(self, old: str, new: str) -> None:
        """Take what is ours from the device *new*, which was called *old*: it is another one."""
        self._tell_refused(f"{old}, now {new}", self._holder.leave(old, new))

    @property
    def has_routes(self) -> bool:
        """Whether any route is held, which the kernel may take away in silence."""
        return any(held.routes for held in self._holder.held.values())

    def look_for_routes(self) -> None:
        """See soon which routes are still there."""
        if self._route_look is None:
            self._route_look = self._loop.call_later(ROUTE_PAUSE, self._look_for_routes)

    def _look_for_routes(self) -> None:
        self._route_look = None
        try:
            missing = self._holder.missing_routes()
        except OperatorError as error:
            self._shell.tell(UpkeepFailed(error.message, error.hint))
            self.look_for_routes()
            return
        now = self._shell.turn()
        for owner, routes in missing.items():
            gone = [route for route in routes if not self._holder.was_refused(route)]
            if gone:
                self._lost(owner, ", ".join(f"route {route}" for route in gone), "", now)
            else:
                # Nobody took it, and the neighbours of the addresses need not hear of it.
                self._tell_refused(owner, self._holder.restore(owner))
        self._shell.end_turn(now)

    def on_gone(self, lost: Lost, now: float) -> None:
        """Bring back those of the addresses *lost* that are held."""
        for name, port in lost.items():
            if self._links.stands(*name):
                continue
            for owner in self._holder.owners_of_address(*name):
                held = self._holder.held[owner].addresses
                what = next(str(each) for each in held if each.name == name)
                self._lost(owner, what, _who(port), now)

    def on_rule_gone(self, rule: Rule, now: float) -> None:
        """Bring back *rule* if it is held."""
        for owner in self._holder.owners_of_rule(rule):
            self._lost(owner, f"rule {rule}", "", now)

    def recover(self, now: float, wanted: RouterSpec) -> None:
        """Compare with what is there: news were lost. What is not *wanted* any more may be gone.

        Raises :class:`OperatorError` where the kernel does not answer.
        """
        possible = _possible(wanted)
        names, rules = {each.name for each in possible.addresses}, set(possible.rules)
        missing = self._holder.missing_rules()
        for owner, held in [*self._holder.held.items()]:
            addresses = [
                str(each)
                for each in held.addresses
                if each.name in names and not self._links.stands(*each.name)
            ]
            gone = [f"rule {rule}" for rule in missing.get(owner, ()) if rule in rules]
            if addresses or gone:
                self._lost(owner, ", ".join((*addresses, *gone)), "", now)
        if self.has_routes:
            self.look_for_routes()

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

    def retry(self) -> None:
        """Put in place what could not be: its device was not there, or the kernel not to be asked.

        The neighbours hear of it when it is: some addresses are refused for good, and of IPv6 one
        that is there with another prefix length is taken each time, and stays as it is.
        """
        before, self._tried = self._tried, {}
        unsure, self._holder.unsure = self._holder.unsure, False
        for owner, held in [*self._holder.held.items()]:
            missing = [
                each
                for each in held.addresses
                if self._links.link(each.device)
                and not self._links.stands(*each.name)
                and (each.watched or self._holder.was_refused(each))
            ]
            if not missing and not unsure:
                continue
            self._tell_refused(owner, self._holder.restore(owner))
            taken = {each.name for each in missing if not self._holder.was_refused(each)}
            self._tried[owner] = taken
            seat = self._seat(owner)
            if seat is not None and taken - before.get(owner, set()):
                now = self._shell.turn()
                self._shell.event(seat.key, ev.AnnouncementDue(Occasion.RESTORED), now)
                self._shell.end_turn(now)

    def close(self) -> None:
        """Take away all that is still held."""
        for handle in (self._fence, self._route_look, *self._waiting.values()):
            if handle is not None:
                handle.cancel()
        self._waiting.clear()
        for owner in [*self._holder.held]:
            self._tell_refused(owner, self._holder.release(owner))
        self._holder.forget()


def _holdings(config: InstanceConfig) -> Holdings:
    return Holdings(config.addresses, config.routes, config.policies)


def devices_of(spec: RouterSpec) -> tuple[str, ...]:
    """Return the names of the virtual devices of *spec*."""
    own = (config.vmac.name for config in spec.instances if config.vmac)
    others = (vmac.name for config in spec.instances for _, vmac in config.address_vmacs)
    return tuple(dict.fromkeys((*own, *others)))


def _owned(spec: RouterSpec) -> set[Address]:
    """Return the addresses that the machine may have by itself."""
    owners = (config for config in spec.instances if config.spec.owner)
    addresses = chain(spec.static_addresses, *(config.addresses for config in owners))
    return {held.address for held in addresses}


def _possible(spec: RouterSpec) -> Holdings:
    """Return all that may come to be held."""
    configs = spec.instances
    return Holdings(
        (*spec.static_addresses, *(each for one in configs for each in one.addresses)),
        (*spec.static_routes, *(each for one in configs for each in one.routes)),
        (*spec.static_policies, *(each for one in configs for each in one.policies)),
    )


def _who(port: int) -> str:
    """Return who has a netlink port: by default it is the process id."""
    if not port:
        return "the kernel itself"
    try:
        name = Path("/proc", str(port), "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return f"process {port}, which has ended"
    return f"process {port} ({name})"
