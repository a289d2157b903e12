"""The machine of one check: from the results of its probes to *up* or *down*.

Rules of keepalived, with its names:

- without *alpha* a server serves from the start, and its very first failed probe takes it down
  without a retry; with *alpha* it serves after its first good probe;
- while up, a failed probe is followed by up to ``retry`` more, ``delay_before_retry`` after each
  failure, before the check is down;
- while down, it is asked every ``delay_loop``, and one good answer brings it back.

Ours: a *prior* (the state that the kernel's table shows when the director starts) holds until a
result decides, and a prior *up* gets its retries; ``delay_loop`` counts from start to start, so a
slow answer does not stretch it; a check that flaps can be held down until it has been well for a
while; one that has found out nothing for three intervals is *unknown* again, which changes nothing
for its server, but is told; an HTTP check with several URLs asks all of them in one probe,
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


SILENT_INTERVALS: Final = 3
"""Intervals without anything found out after which a check is unknown."""


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


@final
@dataclass(frozen=True, slots=True)
class CheckHeld:
    """The check would be up, but it flaps: it has to answer well for *seconds* more."""

    result: ProbeResult
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class CheckSilent:
    """Nothing was found out for so many *seconds*: the state is unknown, and its server goes on."""

    seconds: float


CheckEffect: TypeAlias = CheckUp | CheckDown | CheckFailed | CheckBroken | CheckHeld


@final
class Checker:
    """State of one check. Times are seconds on the caller's monotonic clock."""

    __slots__ = ("_assumed", "_due", "_failed", "_falls", "_found", "_heard", "_last", "_patient",
                 "_phase", "_shift", "_silent", "_since", "_spec", "_started", "_state", "_weight",
                 "_well")  # fmt: skip

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
        self._found = due
        self._silent = False
        self._falls: tuple[float, ...] = ()
        """When it went down lately; as many times as damping counts."""
        self._well = inf
        """Since when it answers well again, while it is held down."""
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
    def fresh(self) -> bool:
        """Whether no probe has started yet."""
        return self._started == inf and not self.in_flight

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

    def defer(self, due: float, *, whole: bool) -> None:
        """Let the first probe start at *due*, as many others begin at the same time.

        With *whole* they are spread over all of ``delay_loop``, and so the second cycle needs no
        part of its own.
        """
        if not self.fresh:
            raise IllegalTransitionError(f"{self._spec}: its first probe has started already")
        self._due = self._found = max(self._due, due)
        if whole:
            self._phase = 1.0

    def on_rest_over(self, now: float, due: float) -> None:
        """Note that until *now* nobody was to find out anything; the next probe starts by *due*."""
        self._found = now
        if not self.in_flight:
            self._due = due if self._due <= now else min(self._due, due)

    def on_silence(self, now: float) -> list[CheckSilent]:
        """Turn unknown, once, where nothing has been found out for three intervals."""
        silent = now - self._found
        if self._silent or silent <= self._patience():
            return []
        self._assumed, self._patient, self._silent = self.up, True, True
        self._well = inf
        self._enter(State.UNKNOWN, now)
        return [CheckSilent(silent)]

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
        self._found, self._silent = now, False
        if result.ok:
            return self._succeed(result, now)
        return self._fail(result, now) if self.up else self._stay_down(result, now)

    def with_spec(self, spec: CheckSpec, now: float) -> "Checker":
        """Return a copy that goes on *now* with the times of *spec*, which has the same target.

        A longer ``delay_loop`` counts after the next probe. A shorter one counts at once: the time
        until that probe is cut in proportion, so that checks which were spread stay spread.
        """
        if spec.target != self._spec.target:
            raise IllegalTransitionError(f"{spec} does not continue {self._spec}")
        twin = copy(self)
        twin._spec = spec  # noqa: SLF001 - a copy of this class
        part = spec.delay_loop / self._spec.delay_loop
        if self._failed and not self.in_flight:
            again = self._heard + spec.delay_before_retry
            twin._due = min(self._due, again)  # noqa: SLF001 - the same
        elif part < 1 and not (self.in_flight or self.fresh):
            twin._due = min(self._due, now + (self._due - now) * part)  # noqa: SLF001 - the same
        # It was not silent by its old times, and has not had its new ones yet.
        twin._found += max(0.0, self._patience() - twin._patience())  # noqa: SLF001 - the same
        return twin

    def _patience(self) -> float:
        """Return the seconds without anything found out after which it is unknown."""
        spec = self._spec
        retry = spec.delay_before_retry if self._failed else 0.0
        return SILENT_INTERVALS * max(spec.delay_loop, spec.longest, retry)

    def _succeed(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        was_up = self.up
        self._weight, self._shift = result.weight, result.shift
        if not was_up and (wait := self._hold(now)) > 0:
            first = self._well == now
            self._enter(State.DOWN, now)
            self._next_cycle(now)
            return [CheckHeld(result, wait)] if first else []
        self._enter(State.UP, now)
        self._failed = 0
        self._next_cycle(now)
        return [] if was_up else [CheckUp(result)]

    def _hold(self, now: float) -> float:
        """Return the seconds for which it has to go on being well, as it flaps."""
        if self._spec.damping is None:
            return 0.0
        count, seconds = self._spec.damping
        falls = self._falls
        if len(falls) < count or falls[-1] - falls[-count] > seconds:
            return 0.0
        self._well = min(self._well, now)
        return self._well + seconds - now

    def _fail(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        untested = self._state is State.UNKNOWN and not self._patient
        attempts = 1 if untested else 1 + self._spec.retry
        self._failed += 1
        if self._failed < attempts:
            self._due = now + self._spec.delay_before_retry
            return [CheckFailed(result, self._failed, attempts)]
        made = self._failed
        if self._spec.damping is not None:
            self._falls = (*self._falls, now)[-self._spec.damping[0] :]
            self._well = inf
        self._enter(State.DOWN, now)
        self._failed = 0
        self._next_cycle(now)
        return [CheckDown(result, made)]

    def _stay_down(self, result: ProbeResult, now: float) -> list[CheckEffect]:
        first = self._state is State.UNKNOWN
        self._enter(State.DOWN, now)
        self._well = inf
        self._next_cycle(now)
        return [CheckFailed(result, 1, 1)] if first else []

    def _enter(self, state: State, now: float) -> None:
        if self._state is not state:
            self._state = state
            self._since = now

    def _next_cycle(self, now: float) -> None:
        self._due = max(now, self._started + self._spec.delay_loop * self._phase)
        self._phase = 1.0
