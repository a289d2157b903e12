"""Lets the machines live through a recorded segment again, input by input, with its times."""

from dataclasses import dataclass
from typing import assert_never, final

from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.router import Effects, Router
from lvskeeper.vrrp.tape import Change, Input, Kind, Segment, event_of


@final
@dataclass(frozen=True, slots=True)
class Step:
    """An input, and what followed from it."""

    at: float
    input: Input
    effects: tuple[fx.Effect, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The transitions among the effects."""
        return tuple(
            Change(self.at, effect.key, effect.old, effect.new, effect.cause)
            for effect in self.effects
            if isinstance(effect, fx.StateChanged)
        )


def replay(segment: Segment) -> list[Step]:
    """Return what follows from each input of *segment*; raise ``ValueError`` for what is no input.

    Like any shell it reads no sockets at ``LookAgain``: what was read then is on the tape as well.
    """
    router = Router.resume(segment.start)
    return [Step(at, one, tuple(_apply(router, one, at))) for at, one in segment.inputs]


def _apply(router: Router, one: Input, now: float) -> Effects:
    match one.kind:
        case Kind.ADVERT if one.key is not None and one.advert is not None:
            return router.on_advert(one.key, one.advert, one.source, now)
        case Kind.TIMER:
            return router.on_timer(now)
        case Kind.EVENT if one.key is not None:
            return router.on(one.key, event_of(one), now)
        case Kind.ALL:
            return router.on_all(event_of(one), now)
        case Kind.STATUS if one.track is not None and one.status is not None:
            return router.on_status(one.track, one.status, now)
        case Kind.ADVERT | Kind.EVENT | Kind.STATUS:
            raise ValueError(f"an input of kind {one.kind.value} lacks a part")
        case _:
            assert_never(one.kind)


def differences(segment: Segment, steps: list[Step]) -> list[str]:
    """Return in what the transitions of a replay differ from those that were recorded."""
    again = [change for step in steps for change in step.changes]
    told = []
    for number in range(max(len(again), len(segment.changes))):
        before = segment.changes[number] if number < len(segment.changes) else None
        after = again[number] if number < len(again) else None
        if before is None or after is None or _what(before) != _what(after):
            told.append(f"recorded {_words(before)}, replayed {_words(after)}")
    return told


def _what(change: Change) -> tuple[object, ...]:
    return change.key, change.old, change.new, change.cause


def _words(change: Change | None) -> str:
    if change is None:
        return "nothing"
    return f"{change.key} {change.old.value} to {change.new.value} ({change.cause.value})"
