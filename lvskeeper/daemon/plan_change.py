"""A change that a plan tells of, and whom it touches."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never, final

from lvskeeper.ipvs.operation import DelService, Impact, Operation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@final
class Effect(StrEnum):
    """What a change does to clients; the worse comes later."""

    NOTHING = "nothing"
    """No client can notice it."""
    IN_PLACE = "in place"
    """New connections find it; established ones go on."""
    CONNECTIONS = "affects connections"
    """Established connections may end, or move to the peer."""
    INTERRUPTS = "interrupts"
    """A service or an address is away, for a moment or for good."""
    RESTART = "needs a restart"
    """It is read at the start of the daemon, and has no effect before."""


EFFECTS: Final = tuple(Effect)


@final
@dataclass(frozen=True, slots=True)
class Change:
    """One change in words, and whom it touches."""

    what: str
    impact: Effect
    area: str = "services"
    """What it is about: services, checks, addresses, rules, vrrp, scripts or settings."""
    waiting: bool = False
    """Not done at once, but by what is to come: a good check, an election."""


Meaning: TypeAlias = tuple[str, Effect]
"""The keyword, or other words for a field, and what its change does."""


def effect_of(operation: Operation) -> Effect:
    """Return what an operation on the IPVS table does to clients."""
    if isinstance(operation, DelService):
        return Effect.INTERRUPTS
    match operation.impact:
        case Impact.NONE:
            return Effect.NOTHING
        case Impact.NEW_FLOWS:
            return Effect.IN_PLACE
        case Impact.BREAKS_FLOWS:
            return Effect.CONNECTIONS
        case other:
            assert_never(other)


def field_changes(
    old: object, new: object, meanings: Mapping[str, Meaning], prefix: str, area: str
) -> Iterator[Change]:
    """Yield a change for each field of *meanings* in which two dataclasses of one type differ.

    Simple values are shown; what may hold a secret, or is long, is only named.
    """
    for name, (words, effect) in meanings.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            shown = f" {_shown(before)} -> {_shown(after)}" if _simple(before, after) else ""
            verb = "" if shown else " changed"
            yield Change(f"{prefix}{words}{shown}{verb}", effect, area)


def other_changes(
    old: "DataclassInstance", new: object, known: Collection[str], prefix: str
) -> Iterator[Change]:
    """Yield changes of the fields besides those *known*: none is passed over in silence."""
    for one in fields(old):
        if one.name not in known and getattr(old, one.name) != getattr(new, one.name):
            yield Change(f"{prefix}{one.name} changed", Effect.IN_PLACE, "settings")


def _simple(*values: object) -> bool:
    return all(value is None or isinstance(value, bool | int | float | str) for value in values)


def _shown(value: object) -> str:
    match value:
        case None | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
