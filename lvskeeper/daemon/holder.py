"""Holds addresses, routes and rules for instances, puts back what is lost, and takes them away.

The calls are synchronous: the kernel needs some ten microseconds for an address. What a router may
come to hold stands in ``router.json`` of the runtime directory, so that the next one can remove
what a killed one has left.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias, final

import msgspec

from lvskeeper.daemon.links import Links
from lvskeeper.daemon.state import this_kernel
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.rtnetlink import Refusal, RouteClient
from lvskeeper.kernel.rtnetlink_changes import (
    AddAddress,
    AddRoute,
    AddRule,
    Change,
    DeleteAddress,
    DeleteRoute,
    DeleteRule,
)
from lvskeeper.kernel.rtnetlink_codec import comparable
from lvskeeper.units import Address
from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule

STATE_FILE: Final = "router.json"
AddressName: TypeAlias = tuple[Address, int, str]


@final
@dataclass(frozen=True, slots=True)
class Holdings:
    """What one instance holds while it is master."""

    addresses: tuple[HeldAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.routes or self.rules)

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.addresses, *self.routes, *self.rules)))


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What came of a change."""

    seconds: float
    refusals: tuple[Refusal, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class _Saved:
    kernel: str
    holdings: Holdings = field(default_factory=Holdings)
    devices: tuple[str, ...] = ()
    """VMACs and ipvlans."""


@final
class Holder:
    """The only writer of what the instances hold; *fence* is in seconds, 0 for none."""

    def __init__(self, client: RouteClient, links: Links, run_dir: Path) -> None:
        self._client = client
        self._links = links
        self._path = run_dir / STATE_FILE
        self._held: dict[str, Holdings] = {}
        self._foreign: set[AddressName] = set()
        """The machine's own addresses among those that are held: neither changed nor removed."""
        self._absent: set[AddressName | Route | Rule] = set()
        """Addresses, routes and rules that the kernel refused."""
        self.fence = 0.0
        self.unsure = False
        """The kernel did not answer to additions: who finds this has them made again."""

    @property
    def held(self) -> Mapping[str, Holdings]:
        """What is held by name of the owner."""
        return self._held

    @property
    def addresses(self) -> set[Address]:
        """All addresses that are held."""
        return {each.address for held in self._held.values() for each in held.addresses}

    def hold(self, owner: str, wanted: Holdings, *, own: bool = False) -> Result:
        """Put *wanted* in place, and take away what *owner* held besides.

        Where they are the machine's *own* addresses, those that are there already stay as they are
        for good. Any other is ours from now on, whoever put it there.
        """
        before = self._held.get(owner, Holdings())
        if own:
            ours = self._names()
            self._foreign |= {
                each.name
                for each in wanted.addresses
                if each.name not in ours and self._links.stands(*each.name)
            }
        self._held[owner] = wanted
        return self._apply([*self._removals(before, wanted), *self._additions(wanted)])

    def release(self, owner: str) -> Result:
        """Take away what *owner* holds; nothing held is nothing done."""
        before = self._held.pop(owner, Holdings())
        return self._apply(self._removals(before, Holdings()))

    def leave(self, device: str, renamed: str) -> Result:
        """Take away what is held on *device* from where it stands now that it is *renamed*."""
        ours = dict.fromkeys(
            each
            for held in self._held.values()
            for each in held.addresses
            if each.device == device and each.name not in self._foreign
        )
        return self._apply(DeleteAddress(replace(each, device=renamed)) for each in ours)

    def refresh(self) -> Result:
        """Give fenced addresses their lifetime anew."""
        return self._apply(
            change
            for held in self._held.values()
            for change in self._additions(Holdings(held.addresses))
        )

    def _names(self) -> set[AddressName]:
        return {each.name for held in self._held.values() for each in held.addresses}

    def restore(self, owner: str) -> Result:
        """Put in place again what *owner* holds."""
        return self._apply(self._additions(self._held.get(owner, Holdings())))

    def remove_leftovers(self, configured: Holdings, owned: set[Address]) -> tuple[str, Result]:
        """Take away what an earlier router left; return its names, and what came of it.

        That is what it has noted, and of what is *configured* now, whatever is there: a keepalived
        that was killed leaves it as well. Addresses in *owned* are the machine's own, which it may
        have from elsewhere, so they go only where they were noted.
        """
        noted = self._load().holdings
        addresses = dict.fromkeys(
            (*noted.addresses, *(a for a in configured.addresses if a.address not in owned))
        )
        there = [each for each in addresses if self._links.stands(*each.name)]
        left = Holdings(tuple(there), noted.routes, noted.rules)
        result = self._apply(self._removals(left, Holdings()))
        return ", ".join(map(str, there)), result

    @property
    def noted(self) -> bool:
        """Whether there is a note: a router runs, or one did not leave in order."""
        return self._path.exists()

    @property
    def left_devices(self) -> tuple[str, ...]:
        """Virtual devices that an earlier router had noted."""
        return self._load().devices

    def note(self, possible: Holdings, owned: set[Address], devices: tuple[str, ...] = ()) -> None:
        """Write down what may come to be held, before it is; a failure raises ``OSError``.

        Of the addresses in *owned*, those that the machine has by itself are left out: nobody is to
        take them away.
        """
        ours = self._names() - self._foreign
        addresses = tuple(
            each
            for each in possible.addresses
            if each.name in ours or each.address not in owned or not self._links.stands(*each.name)
        )
        possible = replace(possible, addresses=addresses)
        # Neither synced nor waited for: after a crash of the machine nothing of it is there.
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(_Saved(this_kernel(), possible, devices)))
        draft.replace(self._path)

    def forget(self) -> None:
        """Remove the note: nothing is held any more."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _load(self) -> _Saved:
        return _load(self._path)

    def _additions(self, wanted: Holdings) -> list[Change]:
        lifetime = self.fence or None
        return [
            *(
                AddAddress(each, lifetime)
                for each in wanted.addresses
                if each.name not in self._foreign or not self._links.stands(*each.name)
            ),
            *map(AddRoute, wanted.routes),
            *map(AddRule, wanted.rules),
        ]

    def _removals(self, before: Holdings, wanted: Holdings) -> list[Change]:
        """Return what takes away *before* but *wanted* and what others still hold."""
        addresses = {each.name for each in wanted.addresses}
        routes, rules = set(wanted.routes), set(wanted.rules)
        for held in self._held.values():
            addresses |= {each.name for each in held.addresses}
            routes |= set(held.routes)
            rules |= set(held.rules)
        gone = [each for each in before.addresses if each.name not in addresses]
        names = {each.name for each in gone}
        kept, self._foreign = self._foreign, self._foreign - names
        self._absent -= names
        self._absent -= {route for route in before.routes if route not in routes}
        self._absent -= {rule for rule in before.rules if rule not in rules}
        return [
            *(DeleteRule(rule) for rule in reversed(before.rules) if rule not in rules),
            *(DeleteRoute(route) for route in reversed(before.routes) if route not in routes),
            *(DeleteAddress(each) for each in reversed(gone) if each.name not in kept),
        ]

    def _apply(self, changes: Iterable[Change]) -> Result:
        changes = [*changes]
        started = time.monotonic()
        refusals = self._made(changes)
        refused = {refusal.change for refusal in refusals}
        for change in changes:
            # The kernel's news of it are still to come.
            if isinstance(change, DeleteAddress) and change not in refused:
                self._links.forget(*change.held.name)
            elif (what := _added(change)) is not None:
                (self._absent.add if change in refused else self._absent.discard)(what)
        return Result(time.monotonic() - started, refusals)

    def _made(self, changes: list[Change]) -> tuple[Refusal, ...]:
        """Make *changes*; without an answer of the kernel additions are as good as refused."""
        try:
            return self._client.apply(changes)
        except OperatorError as error:
            if any(isinstance(each, DeleteAddress | DeleteRoute | DeleteRule) for each in changes):
                # Another router may have them by now: the next one here begins by taking them away.
                raise
            self.unsure = True
            return tuple(Refusal(change, error.message, error.hint) for change in changes)

    def was_refused(self, held: HeldAddress | Route) -> bool:
        """Tell whether the kernel did not take it when it was last put there."""
        return (held if isinstance(held, Route) else held.name) in self._absent

    def owners_of_address(self, address: Address, prefix: int, device: str) -> list[str]:
        """Return who holds this address and wants it back when it is lost."""
        return [
            owner
            for owner, held in self._held.items()
            for each in held.addresses
            if each.name == (address, prefix, device) and each.watched
        ]

    def owners_of_rule(self, rule: Rule) -> list[str]:
        """Return who holds *rule*, in its comparable form, and wants it back."""
        return [
            owner
            for owner, held in self._held.items()
            for each in held.rules
            if each.watched and comparable(each) == rule
        ]

    def missing_rules(self) -> dict[str, list[Rule]]:
        """Return the watched rules that the kernel does not have and did not refuse, by owner."""
        watched = {
            owner: [rule for rule in held.rules if rule.watched and rule not in self._absent]
            for owner, held in self._held.items()
        }
        present = set(self._client.rules()) if any(watched.values()) else set()
        missing = {
            owner: [rule for rule in rules if comparable(rule) not in present]
            for owner, rules in watched.items()
        }
        return {owner: rules for owner, rules in missing.items() if rules}

    def missing_routes(self) -> dict[str, list[Route]]:
        """Return the watched routes that the kernel does not have, by owner."""
        watched = {
            owner: [route for route in held.routes if route.watched]
            for owner, held in self._held.items()
        }
        places = {(route.table, route.protocol) for routes in watched.values() for route in routes}
        present = [route for place in places for route in self._client.routes(*place)]
        missing: dict[str, list[Route]] = {}
        for owner, routes in watched.items():
            for route in routes:
                link = self._links.link(route.device) if route.device else None
                index = link.index if link else 0
                if not any(found.is_like(route, index) for found in present):
                    missing.setdefault(owner, []).append(route)
        return missing


def _added(change: Change) -> AddressName | Route | Rule | None:
    """Return what *change* puts in place, or nothing."""
    match change:
        case AddAddress(held):
            return held.name
        case AddRoute(route):
            return route
        case AddRule(rule):
            return rule
        case _:
            return None


def noted_holdings(run_dir: Path) -> Holdings | None:
    """Return what a router that runs, or did not leave in order, may hold; ``None``: no router."""
    path = run_dir / STATE_FILE
    return _load(path).holdings if path.exists() else None


def _load(path: Path) -> _Saved:
    here = this_kernel()
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
    except (OSError, msgspec.DecodeError):
        return _Saved(here)
    return saved if saved.kernel == here else _Saved(here)
