"""The machine of one check: from the results of its probes to *up* or *down*.

Rules of keepalived, with its names:

- without *alpha* a server serves from the start, and its very first failed probe takes it down
  without a retry; with *alpha* it serves after its first good probe;
- while up, a failed probe is followed by up to ``retry`` more, ``delay_before_retry`` after each
  failure, before the check is down;
- while down, it is asked every ``delay_loop``, and one good answer brings it back.

Ours: a *prior* (the state that the kernel's table shows when the director starts) holds until a
result decides, and a prior *up* gets its retries; ``delay_loop`` counts from start to start, so a
slow answer does not stretch it; an HTTP check with several URLs asks all of them in one probe,
where keepalived asks one a cycle and so needs as many cycles as URLs to see a failure.
"""

from copy import copy
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, TypeAlias, final

from lvskeeper.health.spec import CheckSpec, Phase, ProbeResult

BROKEN_PAUSE: Final = 1.0
"""Least seconds until the next probe after the director could not probe: it is short of something,
and must not be made shorter of it."""


class IllegalTransitionError(RuntimeError):
    """An input that the machine's state does not allow: a bug of the caller. Nothing changed."""


@final
class State(Enum):
    """What the probes have shown so far."""

    UNKNOWN = "unknown"
    """No result has decided yet; whether it serves is policy (alpha) or prior."""
    UP = "up"
    DOWN = "down"


@final
@dataclass(frozen=True, slots=True)
class CheckUp:
    """The check lets its server serve from now on."""

    result: ProbeResult


@final
@dataclass(frozen=True, slots=True)
class CheckDown:
    """The check takes its server out; *result* is the failure that decided."""

    result: ProbeResult
    attempts: int


@final
@dataclass(frozen=True, slots=True)
class CheckFailed:
    """A failure that changes nothing yet: number *attempt* of the *attempts* that would.

    The first failure of a check that starts as down is told too (1 of 1): it says why the server
    is not let in. Later failures of a check that is down are silent, as in keepalived.
    """

    result: ProbeResult
    attempt: int
    attempts: int


@final
@dataclass(frozen=True, slots=True)
class CheckBroken:
    """The director could not probe; the state stays, and the probe is repeated.

    The same reason again and again is told once.
    """

    result: ProbeResult


CheckEffect: TypeAlias = CheckUp | CheckDown | CheckFailed | CheckBroken


@final
class Checker:
    """State of one check. Times are seconds on the caller's monotonic clock."""

    __slots__ = ("_assumed", "_due", "_failed", "_heard", "_last", "_patient", "_phase", "_shift",
                 "_since", "_spec", "_started", "_state", "_weight")  # fmt: skip

    def __init__(
        self, spec: CheckSpec, due: float, *, prior: bool | None = None, phase: float = 1.0
    ) -> None:
        """Make the machine of *spec* whose first probe is to start at *due*.

        *prior* is the state to assume until a result decides (``None``: what alpha says). *phase*
        is the part of ``delay_loop``, above 0 and at most 1, after which the second cycle starts:
        checks that start together drift apart by it.
        """
        self._spec = spec
        self._state = State.UNKNOWN
        self._assumed = (not spec.alpha) if prior is None else prior
        self._patient = prior is not None
        self._phase = phase
        self._failed = 0
        self._due = due
        self._started = inf
        self._last: ProbeResult | None = None
        self._heard = -inf
        self._since = -inf
        self._weight: int | None = None
        self._shift: int | None = None

    @property
    def spec(self) -> CheckSpec:
        """The check's configuration."""
        return self._spec

    @property
    def state(self) -> State:
        """What the probes have shown."""
        return self._state

    @property
    def up(self) -> bool:
        """Whether this check lets its server serve."""
        return self._assumed if self._state is State.UNKNOWN else self._state is State.UP

    @property
    def in_flight(self) -> bool:
        """Whether a probe runs."""
        return self._due == inf

    @property
    def due(self) -> float:
        """When the next probe is to start; infinite while one runs."""
        return self._due

    @property
    def failed(self) -> int:
        """Failures in a row while still up."""
        return self._failed

    @property
    def last(self) -> ProbeResult | None:
        """The latest result."""
        return self._last

    @property
    def heard(self) -> float:
        """When the latest result came; minus infinity before the first."""
        return self._heard

    @property
    def since(self) -> float:
        """When the state was entered; minus infinity while it is unknown."""
        return self._since

    @property
    def weight(self) -> int | None:
        """The weight that the latest success gave the server; ``None`` where it gave none."""
        return self._weight

    @property
    def shift(self) -> int | None:
        """What the latest success adds to the server's weight; ``None`` where it adds nothing."""
        return self._shift

    def on_start(self, now: float) -> None:
        """Note that a probe starts *now*."""
        if self.in_flight:
            raise IllegalTransitionError(f"{self._spec}: a probe is running already")
        self._started = now
        self._due = inf

    def on_result(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        """Take the result of the probe that runs and return what follows from it."""
        if not self.in_flight:
            raise IllegalTransitionError(f"{self._spec}: a result, but no probe is running")
        if now < self._started:
            raise IllegalTransitionError(f"{self._spec}: a result from before its probe's start")
        before, self._last = self._last, result
        self._heard = now
        if result.phase is Phase.INTERNAL:
            self._due = now + max(self._spec.delay_before_retry, BROKEN_PAUSE)
            same = before is not None and (before.phase, before.detail) == (
                result.phase,
                result.detail,
            )
            return [] if same else [CheckBroken(result)]
        if result.ok:
            return self._succeed(result, now)
        return self._fail(result, now) if self.up else self._stay_down(result, now)

    def with_spec(self, spec: CheckSpec) -> "Checker":
        """Return a copy that goes on with the times of *spec*, which has the same target.

        A shorter ``delay_loop`` counts at once, a longer one after the next probe.
        """
        if spec.target != self._spec.target:
            raise IllegalTransitionError(f"{spec} does not continue {self._spec}")
        twin = copy(self)
        twin._spec = spec  # noqa: SLF001 - a copy of this class
        if not self.in_flight:
            twin._due = min(self._due, self._started + spec.delay_loop)  # noqa: SLF001 - the same
        return twin

    def _succeed(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        was_up = self.up
        self._weight, self._shift = result.weight, result.shift
        self._enter(State.UP, now)
        self._failed = 0
        self._next_cycle(now)
        return [] if was_up else [CheckUp(result)]

    def _fail(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        untested = self._state is State.UNKNOWN and not self._patient
        attempts = 1 if untested else 1 + self._spec.retry
        self._failed += 1
        if self._failed < attempts:
            self._due = now + self._spec.delay_before_retry
            return [CheckFailed(result, self._failed, attempts)]
        made = self._failed
        self._enter(State.DOWN, now)
        self._failed = 0
        self._next_cycle(now)
        return [CheckDown(result, made)]

    def _stay_down(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        first = self._state is State.UNKNOWN
        self._enter(State.DOWN, now)
        self._next_cycle(now)
        return [CheckFailed(result, 1, 1)] if first else []

    def _enter(self, state: State, now: float) -> None:
        if self._state is not state:
            self._state = state
            self._since = now

    def _next_cycle(self, now: float) -> None:
        self._due = max(now, self._started + self._spec.delay_loop * self._phase)
        self._phase = 1.0
