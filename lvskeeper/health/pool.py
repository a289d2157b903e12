"""Health of one virtual server: its real servers, their checks, and the quorum.

A real server is up while every check of it is up; one without checks is always up. A check may
give its server another weight than the configured one; where several do, each adds its difference
from the configured one, and the sum is never below 0 or above 2^31 - 1. The quorum
follows keepalived (``update_quorum_state``): gained when the weight of the live servers reaches
``quorum + hysteresis``, lost when it is 0 or below ``quorum - hysteresis``. While it is lost a
sorry server, where there is one, serves alone; without a sorry server the live servers stay.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar, assert_never, final

from lvskeeper.health.checker import (
    CheckBroken,
    CheckDown,
    CheckEffect,
    Checker,
    CheckFailed,
    CheckHeld,
    CheckUp,
    IllegalTransitionError,
)
from lvskeeper.health.schedule import first_delay, first_phase
from lvskeeper.health.spec import CheckSpec, ProbeResult, QuorumSpec

K = TypeVar("K", bound=Hashable)

MAX_WEIGHT: Final = 2**31 - 1


@final
@dataclass(frozen=True, slots=True)
class Server(Generic[K]):
    """A real server of the pool. *key* is the caller's name for it, unique in the pool."""

    key: K
    weight: int = 1
    checks: tuple[CheckSpec, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class CheckId(Generic[K]):
    """Name of one check: its server and what it asks. It stays the same over a reload."""

    key: K
    target: CheckSpec
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Ids are looked up several times a probe; hashing all of a target each time shows.
        object.__setattr__(self, "_hash", hash((self.key, self.target)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.target} of {self.key}"


@final
@dataclass(frozen=True, slots=True)
class ServerUp(Generic[K]):
    """A real server may serve from now on. A reload that drops a check gives no result."""

    key: K
    check: CheckSpec | None = None
    result: ProbeResult | None = None


@final
@dataclass(frozen=True, slots=True)
class ServerDown(Generic[K]):
    """A real server must not serve any longer; *result* says why, *attempts* how often asked."""

    key: K
    check: CheckSpec
    result: ProbeResult
    attempts: int


@final
@dataclass(frozen=True, slots=True)
class ProbeFailed(Generic[K]):
    """A failure that does not decide: number *attempt* of the *attempts* that would."""

    key: K
    check: CheckSpec
    result: ProbeResult
    attempt: int
    attempts: int


@final
@dataclass(frozen=True, slots=True)
class ProbeBroken(Generic[K]):
    """The director could not probe; nothing is known about the server."""

    key: K
    check: CheckSpec
    result: ProbeResult


@final
@dataclass(frozen=True, slots=True)
class ServerHeld(Generic[K]):
    """A server would be up, but flaps: its check has to succeed for *seconds* more."""

    key: K
    check: CheckSpec
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class CheckUnknown(Generic[K]):
    """A check has found out nothing for so many *seconds*; its server goes on as it was."""

    key: K
    check: CheckSpec
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class WeightChanged(Generic[K]):
    """A check has given its server another weight."""

    key: K
    check: CheckSpec
    before: int
    weight: int


@final
@dataclass(frozen=True, slots=True)
class QuorumGained:
    """The live *weight* has reached the *needed* one."""

    weight: int
    needed: int


@final
@dataclass(frozen=True, slots=True)
class QuorumLost:
    """The live *weight* is 0 or below *needed*."""

    weight: int
    needed: int


@final
@dataclass(frozen=True, slots=True)
class QuorumPresent:
    """The pool starts with its quorum: its servers count as up until a check says otherwise.

    It is no transition; yet it is told like one, as keepalived has it.
    """

    weight: int
    needed: int


@final
@dataclass(frozen=True, slots=True)
class QuorumMissing:
    """The pool starts below the *needed* weight, so a sorry server stands in from the start.

    It is no transition; yet with a sorry server it is told like one, as keepalived has it.
    """

    weight: int
    needed: int
    known: bool = False
    """It was so before, as an earlier director noted."""


PoolEffect: TypeAlias = (
    ServerUp[K]
    | ServerDown[K]
    | ProbeFailed[K]
    | ProbeBroken[K]
    | ServerHeld[K]
    | CheckUnknown[K]
    | WeightChanged[K]
    | QuorumGained
    | QuorumLost
    | QuorumPresent
    | QuorumMissing
)


@final
@dataclass(frozen=True, slots=True)
class Share(Generic[K]):
    """Part of one real server in the service; *weight* is 0 unless it is *live*."""

    key: K
    live: bool
    weight: int


@final
@dataclass(frozen=True, slots=True)
class Serving(Generic[K]):
    """Who serves: every real server in the order of the configuration, and the sorry server.

    A server that is not live is to leave the table, or to stay with weight 0 where it has
    ``inhibit_on_failure``. While *sorry* holds no server is live but those whose weight an operator
    has set to 0: they keep their connections.
    """

    servers: tuple[Share[K], ...]
    sorry: bool


def effective_quorum(spec: QuorumSpec, total: int) -> QuorumSpec:
    """Return *spec* cut to what servers of *total* weight can reach, as keepalived does.

    The quorum is at most *total*, then the hysteresis below the quorum. Mended: where all weights
    are 0 keepalived's hysteresis wraps around to 2^32 - 1; here the quorum stays at 1, so that it
    is just not gained.
    """
    quorum = max(1, min(spec.quorum, total))
    return QuorumSpec(quorum, min(spec.hysteresis, quorum - 1))


@final
class Pool(Generic[K]):
    """State of one virtual server. Call :meth:`start` or :meth:`carry` once before any result."""

    def __init__(
        self,
        servers: Iterable[Server[K]],
        quorum: QuorumSpec,
        now: float,
        *,
        alpha: bool = False,
        sorry: bool = False,
        priors: Mapping[K, bool] = MappingProxyType({}),
        weights: Mapping[K, int] = MappingProxyType({}),
        ordered: Mapping[K, int] = MappingProxyType({}),
        had_quorum: bool | None = None,
    ) -> None:
        """Make a pool at the time *now*.

        *sorry* tells whether there is a sorry server. *priors* gives the present state of servers
        that the kernel's table knows, *weights* what checks had given them, *ordered* what an
        operator wants in place of that, *had_quorum* the state of the quorum (``None``: by alpha
        and weight). Of two checks of a server with the same target the first counts. Raise
        ``ValueError`` where two servers have the same key.
        """
        self._servers: dict[K, Server[K]] = {}
        self._ids: dict[K, tuple[CheckId[K], ...]] = {}
        self._checkers: dict[CheckId[K], Checker] = {}
        for server in servers:
            if server.key in self._servers:
                raise ValueError(f"two servers of the pool are called {server.key}")
            self._servers[server.key] = server
            prior = priors.get(server.key)
            checkers: dict[CheckId[K], Checker] = {}
            for spec in server.checks:
                check_id = CheckId(server.key, spec.target)
                checkers.setdefault(check_id, _fresh(check_id, spec, now, prior))
            self._ids[server.key] = tuple(checkers)
            self._checkers |= checkers
        self._alpha = alpha
        self._sorry = sorry
        self._quorum = effective_quorum(quorum, sum(s.weight for s in self._servers.values()))
        self._up = {key: self._is_up(key) for key in self._servers}
        self._adopted = dict(weights)
        self._ordered = dict(ordered)
        self._weights = {key: self._weigh(key) for key in self._servers}
        self._since = dict.fromkeys(self._servers, now)
        self._quorum_since = now
        self._started = False
        self._past_quorum = had_quorum is not None
        if had_quorum is not None:
            self._has_quorum = had_quorum
        else:
            self._has_quorum = not alpha and self.live_weight >= self.gain_at

    @property
    def checkers(self) -> Mapping[CheckId[K], Checker]:
        """All checks, to be read: state, last result, when due."""
        return MappingProxyType(self._checkers)

    @property
    def up(self) -> Mapping[K, bool]:
        """Whether every check of a server is up, for each server."""
        return MappingProxyType(self._up)

    @property
    def since(self) -> Mapping[K, float]:
        """Since when each server has been up, or down."""
        return MappingProxyType(self._since)

    @property
    def weights(self) -> Mapping[K, int]:
        """The weight of each server whenever it serves, with what its checks give it."""
        return MappingProxyType(self._weights)

    def checkers_of(self, key: K) -> list[Checker]:
        """Return the checks of the server *key*, to be read."""
        return [self._checkers[check_id] for check_id in self._ids[key]]

    @property
    def has_quorum(self) -> bool:
        """Whether the quorum is gained."""
        return self._has_quorum

    @property
    def quorum_since(self) -> float:
        """Since when it has been gained, or lost."""
        return self._quorum_since

    @property
    def gain_at(self) -> int:
        """Live weight at which the quorum is gained."""
        return self._quorum.quorum + self._quorum.hysteresis

    @property
    def lose_below(self) -> int:
        """Live weight below which it is lost."""
        return self._quorum.quorum - self._quorum.hysteresis

    @property
    def quorum(self) -> QuorumSpec:
        """Quorum and hysteresis that are in force."""
        return self._quorum

    @property
    def live_weight(self) -> int:
        """Weight of the servers that are up, whether or not the sorry server stands in."""
        return sum(weight for key, weight in self._weights.items() if self._up[key])

    def serving(self) -> Serving[K]:
        """Return who is to serve now."""
        sorry = self._sorry and not self._has_quorum
        shares = []
        for key, weight in self._weights.items():
            live = self._up[key] and (not sorry or self._ordered.get(key) == 0)
            shares.append(Share(key, live, weight if live else 0))
        return Serving(tuple(shares), sorry)

    def start(self) -> list[PoolEffect[K]]:
        """Begin, and return what is to be told at once.

        What was adopted is known. With alpha the first gain of the quorum is an event, without it
        an initial quorum is told as such. A start without quorum is told, unless alpha explains it
        and no sorry server stands in.
        """
        self._begin()
        effects = self._settle_quorum(self._quorum_since)
        if not effects and self._has_quorum and not self._past_quorum:
            effects.append(QuorumPresent(self.live_weight, self.gain_at))
        if not effects and not self._has_quorum and (self._sorry or not self._alpha):
            effects.append(QuorumMissing(self.live_weight, self.gain_at, known=self._past_quorum))
        return effects

    def carry(self, old: "Pool[K]") -> list[PoolEffect[K]]:
        """Begin with what *old* knows, on a reload; *old* itself is not touched.

        Checks with the same server and target go on, probes in flight included, with the new
        times. Other checks of a server that stays start from its present state. New servers start
        by the policy of alpha.
        """
        self._begin()
        now = self._quorum_since
        for check_id, checker in self._checkers.items():
            if (known := old.checkers.get(check_id)) is not None:
                self._checkers[check_id] = known.with_spec(checker.spec, now)
            elif (up := old.up.get(check_id.key)) is not None:
                self._checkers[check_id] = Checker(
                    checker.spec,
                    checker.due,
                    prior=up,
                    phase=first_phase(str(check_id)),
                )
        self._adopted = {
            key: weight
            for key, weight in old._adopted.items()  # noqa: SLF001 - another of this class
            if key in self._servers and any(spec.weighs for spec in self._servers[key].checks)
        }
        effects: list[PoolEffect[K]] = []
        for key in self._servers:
            self._up[key] = self._is_up(key)
            self._weights[key] = self._weigh(key)
            if self._up[key] and not old.up.get(key, True):
                effects.append(ServerUp(key))
            if self._up[key] is old.up.get(key):
                self._since[key] = old.since[key]
        self._has_quorum = old.has_quorum
        self._quorum_since = old.quorum_since
        return effects + self._settle_quorum(now)

    def order(self, weights: Mapping[K, int], now: float) -> list[PoolEffect[K]]:
        """Let servers have the *weights* that an operator orders, and all others their own."""
        self._ordered = dict(weights)
        self._weights = {key: self._weigh(key) for key in self._servers}
        return self._settle_quorum(now)

    def checker(self, check_id: CheckId[K]) -> Checker | None:
        """Return a check, if it is in the pool."""
        return self._checkers.get(check_id)

    def on_silence(self, check_id: CheckId[K], now: float) -> list[PoolEffect[K]]:
        """Return what is to be told of a check that may have found out nothing for long."""
        checker = self._checkers[check_id]
        return [
            CheckUnknown(check_id.key, checker.spec, effect.seconds)
            for effect in checker.on_silence(now)
        ]

    def on_start(self, check_id: CheckId[K], now: float) -> None:
        """Note that a probe starts; raise ``KeyError`` for a check that is not in the pool."""
        self._checkers[check_id].on_start(now)

    def on_result(
        self, check_id: CheckId[K], result: ProbeResult, now: float
    ) -> list[PoolEffect[K]]:
        """Take a probe's result and return what follows, server before quorum.

        Raise ``KeyError`` for a check that is not in the pool.
        """
        if not self._started:
            raise IllegalTransitionError("a result before start or carry")
        checker = self._checkers[check_id]
        key = check_id.key
        effects: list[PoolEffect[K]] = []
        flipped = False
        given = (checker.weight, checker.shift)
        turned = checker.on_result(result, now)
        # What a check says itself, that it gives no weight too, replaces what was adopted for it.
        said = result.ok and checker.spec.weighs and key in self._adopted
        if said:
            del self._adopted[key]
        if not (turned or said) and (checker.weight, checker.shift) == given:
            return effects  # the usual case, thousands of times a second
        before, self._weights[key] = self._weights[key], self._weigh(key)
        if changed := self._weights[key] != before:
            effects.append(WeightChanged(key, checker.spec, before, self._weights[key]))
        for effect in turned:
            if isinstance(effect, CheckUp | CheckDown) and not (flipped := self._flip(key)):
                continue  # another check of the server decides
            effects.append(_of_server(key, checker.spec, effect))
        if flipped:
            self._since[key] = now
        return effects + self._settle_quorum(now) if flipped or changed else effects

    def _begin(self) -> None:
        if self._started:
            raise IllegalTransitionError("the pool has begun already")
        self._started = True

    def _is_up(self, key: K) -> bool:
        return all(self._checkers[check_id].up for check_id in self._ids[key])

    def _weigh(self, key: K) -> int:
        """Return the weight of a server: what is ordered, or else what its checks give it."""
        if (ordered := self._ordered.get(key)) is not None:
            return ordered
        base = self._servers[key].weight
        checkers = [self._checkers[check_id] for check_id in self._ids[key]]
        shifts = [checker.weight - base for checker in checkers if checker.weight is not None]
        shifts += [checker.shift for checker in checkers if checker.shift is not None]
        if not shifts:
            return self._adopted.get(key, base)
        return max(0, min(base + sum(shifts), MAX_WEIGHT))

    def _flip(self, key: K) -> bool:
        """Bring the server's state up to date and return whether it changed."""
        before = self._up[key]
        self._up[key] = self._is_up(key)
        return self._up[key] is not before

    def _settle_quorum(self, now: float) -> list[PoolEffect[K]]:
        weight = self.live_weight
        if not self._has_quorum and weight >= self.gain_at:
            self._has_quorum, self._quorum_since = True, now
            return [QuorumGained(weight, self.gain_at)]
        # The effective quorum makes the lower end at least 1, so a weight of 0 is below it.
        if self._has_quorum and weight < self.lose_below:
            self._has_quorum, self._quorum_since = False, now
            return [QuorumLost(weight, self.lose_below)]
        return []


def _of_server(key: K, spec: CheckSpec, effect: CheckEffect) -> PoolEffect[K]:
    """Return what an effect of a check means for its server."""
    match effect:
        case CheckFailed(result=result, attempt=attempt, attempts=attempts):
            return ProbeFailed(key, spec, result, attempt, attempts)
        case CheckBroken(result=result):
            return ProbeBroken(key, spec, result)
        case CheckHeld(seconds=seconds):
            return ServerHeld(key, spec, seconds)
        case CheckUp(result=result):
            return ServerUp(key, spec, result)
        case CheckDown(result=result, attempts=attempts):
            return ServerDown(key, spec, result, attempts)
        case _:
            assert_never(effect)


def _fresh(check_id: CheckId[K], spec: CheckSpec, now: float, prior: bool | None) -> Checker:
    name = str(check_id)
    serving = (not spec.alpha) if prior is None else prior
    due = now + first_delay(spec, name, serving=serving)
    return Checker(spec, due, prior=prior, phase=first_phase(name))
