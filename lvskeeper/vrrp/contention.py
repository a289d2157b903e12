"""Two masters at once, as something that operators can look at: who, since when, who yields, why.

A master that hears another one is in contention until that one has been silent for three of its
intervals. A backup sees contention when two routers advertise by turns.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple, final

from lvskeeper.units import Address, format_address

MAX_CLAIMS: Final = 8
"""Most routers remembered at a time; the one that was silent for longest goes first."""
SILENT_AFTER: Final = 3
"""Missed adverts after which a claim is over."""


@final
class Claim(NamedTuple):
    """A router that advertises as master."""

    address: Address
    priority: int
    interval: float
    heard: float
    """When last; infinite for ourselves."""

    def __str__(self) -> str:
        return (
            f"{format_address(self.address)} (priority {self.priority}, every {self.interval:g} s)"
        )

    @property
    def strength(self) -> tuple[int, Address]:
        """What decides between two masters (RFC 5798 6.4.3): priority, then address."""
        return self.priority, self.address

    def over(self, now: float) -> bool:
        """Whether the claim has not been renewed for so long that it is none any more."""
        return now - self.heard > SILENT_AFTER * self.interval


@final
@dataclass(frozen=True, slots=True)
class Contention:
    """Two routers that hold the same addresses."""

    stronger: Claim
    weaker: Claim
    """Who is to yield, as soon as it hears the other."""
    since: float

    @property
    def why(self) -> str:
        """By what the stronger one is stronger."""
        same = self.stronger.priority == self.weaker.priority
        return "equal priority, higher address" if same else "higher priority"

    def __str__(self) -> str:
        return f"{self.stronger} and {self.weaker}: the latter is to yield ({self.why})"


@final
class ContentionWatch:
    """Remembers who advertised since the last transition."""

    __slots__ = ("_claims", "current")

    def __init__(self) -> None:
        self._claims: dict[Address, Claim] = {}
        self.current: Contention | None = None

    def hear(self, claim: Claim, holder: Claim | None) -> Contention | None:
        """Note *claim*; return the contention with *holder* if it began just now.

        *holder* is whom we take for the master: ourselves, or the last one heard.
        """
        known = self._claims.pop(claim.address, None)
        self._claims[claim.address] = claim
        if len(self._claims) > MAX_CLAIMS:
            del self._claims[next(iter(self._claims))]
        if holder is None or holder.address == claim.address or holder.over(claim.heard):
            return None
        if holder.heard != inf:
            self._claims[holder.address] = holder
            # The first advert of a second router may simply be a change of master
            if known is None or known.over(claim.heard):
                return None
        weaker, stronger = sorted((claim, holder), key=lambda c: c.strength)
        before = self.current
        since = before.since if before else claim.heard
        self.current = Contention(stronger, weaker, since)
        return None if before else self.current

    def end(self, now: float, *, gone: Address | None = None) -> Contention | None:
        """Return the contention if it ended: one side was silent for too long, or is *gone*."""
        if gone is not None:
            self._claims.pop(gone, None)
        if self.current is None:
            return None
        sides = (self.current.stronger, self.current.weaker)
        if not any(side.address == gone or self._silent(side, now) for side in sides):
            return None
        ended, self.current = self.current, None
        return ended

    def clear(self) -> Contention | None:
        """Forget all at a transition; return the contention that it ended."""
        ended, self.current = self.current, None
        self._claims.clear()
        return ended

    def _silent(self, side: Claim, now: float) -> bool:
        return side.heard != inf and self._claims.get(side.address, side).over(now)
