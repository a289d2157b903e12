"""Servers, quorum and sorry server, against what keepalived does."""

from dataclasses import replace
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvskeeper.health.checker import IllegalTransitionError, State
from lvskeeper.health.pool import (
    CheckId,
    CheckUnknown,
    Pool,
    PoolEffect,
    ProbeBroken,
    ProbeFailed,
    QuorumGained,
    QuorumLost,
    QuorumMissing,
    QuorumPresent,
    Server,
    ServerDown,
    ServerHeld,
    ServerUp,
    Serving,
    Share,
    WeightChanged,
    effective_quorum,
)
from lvskeeper.health.spec import (
    CheckKind,
    CheckSpec,
    Phase,
    ProbeResult,
    QuorumSpec,
    ScriptRun,
)
from lvskeeper.units import Address

OK = ProbeResult(Phase.DONE)
BAD = ProbeResult(Phase.CONNECT, "connection refused")
BROKEN = ProbeResult(Phase.INTERNAL, "too many open files")
ONE = QuorumSpec()


def check(host: int, port: int = 80, *, alpha: bool = False, retry: int = 0) -> CheckSpec:
    address = Address(bytes((192, 0, 2, host)))
    return CheckSpec(CheckKind.TCP, address, port, alpha=alpha, retry=retry, delay_loop=10)


def farm(*weights: int, alpha: bool = False, retry: int = 0) -> list[Server[str]]:
    """Servers called a, b, c ... with one check each."""
    return [
        Server("abcdefgh"[i], weight, (check(i + 1, alpha=alpha, retry=retry),))
        for i, weight in enumerate(weights)
    ]


def probe(pool: Pool[str], key: str, result: ProbeResult, port: int = 80) -> list[PoolEffect[str]]:
    """Run one probe of the server's check on *port*."""
    [check_id] = [c for c in pool.checkers if c.key == key and c.target.port == port]
    now = pool.checkers[check_id].due
    pool.on_start(check_id, now)
    return pool.on_result(check_id, result, now)


def short(effect: PoolEffect[str]) -> str:  # noqa: C901 - one case for each effect
    match effect:
        case ServerUp(key=key):
            text = f"{key} up"
        case ServerDown(key=key):
            text = f"{key} down"
        case ProbeFailed(key=key, attempt=attempt, attempts=attempts):
            text = f"{key} {attempt}/{attempts}"
        case ProbeBroken(key=key):
            text = f"{key} broken"
        case ServerHeld(key=key, seconds=seconds):
            text = f"{key} held for {seconds:g}"
        case CheckUnknown(key=key, seconds=seconds):
            text = f"{key} unknown after {seconds:g}"
        case WeightChanged(key=key, before=before, weight=weight):
            text = f"{key} {before} to {weight}"
        case QuorumGained(weight=weight, needed=needed):
            text = f"gained {needed}<={weight}"
        case QuorumLost(weight=weight, needed=needed):
            text = f"lost {needed}>{weight}"
        case QuorumPresent(weight=weight, needed=needed):
            text = f"present {needed}<={weight}"
        case QuorumMissing(weight=weight, needed=needed):
            text = f"missing {needed}>{weight}"
        case _:
            assert_never(effect)
    return text


def play(pool: Pool[str], script: str) -> list[str]:
    """Run ``"a- b+"``: a's probe fails, b's succeeds; return the effects in short form."""
    told: list[str] = []
    for step in script.split():
        told += map(short, probe(pool, step[0], OK if step[1] == "+" else BAD))
    return told


def live(pool: Pool[str]) -> str:
    """Return the keys of the live servers, ``sorry`` where the sorry server stands in."""
    serving = pool.serving()
    keys = "".join(share.key for share in serving.servers if share.live)
    return "sorry" if serving.sorry else keys


@pytest.mark.parametrize(
    ("quorum", "hysteresis", "total", "effective"),
    [
        (1, 0, 10, (1, 0)),
        (5, 2, 10, (5, 2)),
        (20, 0, 10, (10, 0)),  # cut to the sum of weights
        (5, 5, 10, (5, 4)),  # hysteresis below the quorum
        (20, 15, 10, (10, 9)),  # first the quorum, then the hysteresis
        (1, 3, 10, (1, 0)),
        (1, 0, 0, (1, 0)),  # keepalived wraps around here
        (3, 2, 0, (1, 0)),
    ],
)
def test_effective_quorum(
    quorum: int, hysteresis: int, total: int, effective: tuple[int, int]
) -> None:
    assert effective_quorum(QuorumSpec(quorum, hysteresis), total) == QuorumSpec(*effective)


@pytest.mark.parametrize(
    ("weights", "quorum", "script", "told", "serves"),
    [
        # keepalived's quorum, without alpha: an initial up is silent
        ((1, 1), (1, 0), "a-", ["a down"], "b"),
        ((1, 1), (1, 0), "a- b-", ["a down", "b down", "lost 1>0"], "sorry"),
        ((1, 1), (1, 0), "a- b- b+", ["a down", "b down", "lost 1>0", "b up", "gained 1<=1"], "b"),
        ((1, 1, 1), (2, 0), "a- b-", ["a down", "b down", "lost 2>1"], "sorry"),
        # weights count, not servers
        ((3, 1), (2, 0), "b-", ["b down"], "a"),
        ((3, 1), (2, 0), "a-", ["a down", "lost 2>1"], "sorry"),
        # hysteresis: lost below 2-1, gained at 2+1
        ((1, 1, 1), (2, 1), "a- b-", ["a down", "b down"], "c"),
        ((1, 1, 1), (2, 1), "a- b- c- a+ b+ c+",
         ["a down", "b down", "c down", "lost 1>0", "a up", "b up", "c up", "gained 3<=3"], "abc"),
        # above the sum it is cut: all servers are needed
        ((1, 1), (9, 0), "b-", ["b down", "lost 2>1"], "sorry"),
        # while the quorum is lost, servers that come back wait
        ((1, 1, 1), (2, 0), "a- b- c- a+", ["a down", "b down", "lost 2>1", "c down", "a up"],
         "sorry"),
        # repeated failures are silent
        ((1, 1), (1, 0), "a- a- a- a+ a+", ["a down", "a up"], "ab"),
        # a server of weight 0 does not help the quorum
        ((0, 1), (1, 0), "b-", ["b down", "lost 1>0"], "sorry"),
    ],
)  # fmt: skip
def test_quorum_table(
    weights: tuple[int, ...], quorum: tuple[int, int], script: str, told: list[str], serves: str
) -> None:
    pool = Pool(farm(*weights), QuorumSpec(*quorum), 0, sorry=True)
    [present] = pool.start()
    assert isinstance(present, QuorumPresent)
    assert play(pool, script) == told
    assert live(pool) == serves


def test_without_sorry_server_the_live_ones_stay_when_quorum_is_lost() -> None:
    pool = Pool(farm(1, 1, 1), QuorumSpec(2), 0)
    pool.start()
    play(pool, "a- b-")
    assert not pool.has_quorum
    assert pool.serving() == Serving(
        (Share("a", False, 0), Share("b", False, 0), Share("c", True, 1)), sorry=False
    )


def test_all_weights_zero_is_no_quorum_and_heals_by_reload() -> None:
    pool = Pool(farm(0, 0), QuorumSpec(2, 1), 0, sorry=True)
    assert pool.start() == [QuorumMissing(0, 1)]
    assert live(pool) == "sorry"
    reloaded = Pool(farm(2, 2), QuorumSpec(2, 1), 0, sorry=True)
    assert reloaded.carry(pool) == [QuorumGained(4, 3)]


def test_alpha_starts_down_and_the_first_gain_is_told() -> None:
    pool = Pool(farm(1, 1, alpha=True), ONE, 0, alpha=True, sorry=True)
    assert pool.start() == [QuorumMissing(0, 1)]
    assert live(pool) == "sorry"
    assert play(pool, "a- b+ a+") == ["a 1/1", "b up", "gained 1<=1", "a up"]


def test_alpha_without_sorry_server_starts_in_silence() -> None:
    pool = Pool(farm(1, alpha=True), ONE, 0, alpha=True)
    assert pool.start() == []
    assert live(pool) == ""


def test_alpha_with_servers_that_are_up_gains_at_once() -> None:
    pool = Pool([Server("a")], ONE, 0, alpha=True)
    assert pool.start() == [QuorumGained(1, 1)]


def test_initial_lack_of_quorum_without_alpha_is_told_as_such() -> None:
    pool = Pool(farm(1, alpha=True), ONE, 0)
    assert pool.start() == [QuorumMissing(0, 1)]
    assert play(pool, "a+") == ["a up", "gained 1<=1"]


def test_a_server_needs_all_its_checks() -> None:
    pool = Pool([Server("a", 1, (check(1), check(1, 81)))], ONE, 0)
    pool.start()
    told = [probe(pool, "a", BAD), probe(pool, "a", BAD, 81), probe(pool, "a", OK)]
    assert told == [[ServerDown("a", check(1), BAD, 1), QuorumLost(0, 1)], [], []]
    assert probe(pool, "a", OK, 81) == [ServerUp("a", check(1, 81), OK), QuorumGained(1, 1)]


def test_failures_that_do_not_decide_are_told() -> None:
    pool = Pool(farm(1, retry=1), ONE, 0)
    pool.start()
    spec = check(1, retry=1)
    assert probe(pool, "a", OK) == []
    assert probe(pool, "a", BAD) == [ProbeFailed("a", spec, BAD, 1, 2)]
    assert probe(pool, "a", BROKEN) == [ProbeBroken("a", spec, BROKEN)]
    assert probe(pool, "a", BAD) == [ServerDown("a", spec, BAD, 2), QuorumLost(0, 1)]


def test_adoption_takes_priors_and_tells_nothing() -> None:
    pool = Pool(
        farm(1, 1, retry=1, alpha=True), ONE, 0, alpha=True, sorry=True,
        priors={"a": True, "b": False}, had_quorum=True,
    )  # fmt: skip
    assert pool.start() == []
    assert pool.serving().servers == (Share("a", True, 1), Share("b", False, 0))
    assert play(pool, "a- b+ a-") == ["a 1/2", "b up", "a down"]


def test_adopted_quorum_that_is_no_longer_true_is_told() -> None:
    pool = Pool(farm(1), ONE, 0, priors={"a": False}, had_quorum=True)
    assert pool.start() == [QuorumLost(0, 1)]


def test_reload_keeps_what_is_known_and_the_probe_in_flight() -> None:
    old = Pool(farm(1, 1), ONE, 0)
    old.start()
    play(old, "a- b+")
    [b_id] = [c for c in old.checkers if c.key == "b"]
    old.on_start(b_id, 50)
    slower = [
        Server(s.key, 5, tuple(replace(c, delay_loop=60, retry=1) for c in s.checks))
        for s in farm(1, 1)
    ]
    new = Pool([*slower, *farm(1, 1, 1)[2:]], ONE, 60)
    assert new.carry(old) == []
    assert dict(new.up) == {"a": False, "b": True, "c": True}
    assert new.checkers[b_id].in_flight
    assert new.on_result(b_id, BAD, 61) == [ProbeFailed("b", slower[1].checks[0], BAD, 1, 2)]
    assert new.serving().servers[1] == Share("b", True, 5)
    assert old.checkers[b_id].in_flight


def test_reload_with_a_changed_check_starts_from_the_present_state() -> None:
    old = Pool(farm(1, 1), ONE, 0)
    old.start()
    play(old, "a- b+")
    moved = [Server(s.key, 1, (replace(s.checks[0], port=81, retry=1),)) for s in farm(1, 1)]
    new = Pool(moved, ONE, 20)
    assert new.carry(old) == []
    assert {c.key: (k.state, k.up) for c, k in new.checkers.items()} == {
        c: (State.UNKNOWN, c == "b") for c in "ab"
    }
    assert [short(e) for e in probe(new, "b", BAD, 81)] == ["b 1/2"]
    assert [short(e) for e in probe(new, "a", OK, 81)] == ["a up"]


def test_reload_that_drops_the_failing_check_brings_the_server_back() -> None:
    old = Pool([Server("a", 1, (check(1), check(1, 81)))], ONE, 0)
    old.start()
    probe(old, "a", BAD, 81)
    new = Pool(farm(1), ONE, 20)
    assert new.carry(old) == [ServerUp("a"), QuorumGained(1, 1)]


def test_reload_may_lose_the_quorum_by_its_numbers() -> None:
    old = Pool(farm(1, 1), ONE, 0)
    old.start()
    play(old, "a-")
    new = Pool(farm(1, 1), QuorumSpec(2), 20, sorry=True)
    assert new.carry(old) == [QuorumLost(1, 2)]
    assert live(new) == "sorry"


def test_a_pool_begins_once() -> None:
    pool = Pool(farm(1), ONE, 0)
    [check_id] = pool.checkers
    pool.on_start(check_id, 1)
    with pytest.raises(IllegalTransitionError, match="before start"):
        pool.on_result(check_id, OK, 1)
    pool.start()
    with pytest.raises(IllegalTransitionError, match="begun already"):
        pool.carry(Pool(farm(1), ONE, 0))
    with pytest.raises(KeyError):
        pool.on_start(CheckId("z", check_id.target), 1)


def test_names_must_be_unique() -> None:
    with pytest.raises(ValueError, match="two servers of the pool are called a"):
        Pool([Server("a"), Server("a")], ONE, 0)


def test_the_same_check_twice_is_made_once() -> None:
    pool = Pool([Server("a", 1, (check(1, retry=1), check(1), check(1, 81)))], ONE, 0)
    assert [(c.target.port, k.spec.retry) for c, k in pool.checkers.items()] == [(80, 1), (81, 0)]


def test_equal_ids_are_one_key() -> None:
    first, second = (CheckId("a", check(1).target) for _ in range(2))
    assert len({first, second, CheckId("b", check(1).target)}) == 2


@settings(deadline=None)  # a loaded machine is no failure
@given(
    weights=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    quorum=st.integers(1, 12),
    hysteresis=st.integers(0, 6),
    alpha=st.booleans(),
    sorry=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 4), st.sampled_from((OK, BAD, BROKEN))), max_size=40),
    reload_at=st.integers(0, 40),
)
def test_effects_alternate_and_serving_is_consistent(
    *,
    weights: list[int],
    quorum: int,
    hysteresis: int,
    alpha: bool,
    sorry: bool,
    steps: list[tuple[int, ProbeResult]],
    reload_at: int,
) -> None:
    servers = farm(*weights, alpha=alpha)
    spec = QuorumSpec(quorum, hysteresis)
    pool = Pool(servers, spec, 0, alpha=alpha, sorry=sorry)
    up = dict(pool.up)
    has_quorum = pool.has_quorum

    def follow(effects: list[PoolEffect[str]]) -> None:
        nonlocal has_quorum
        quorum_effects = 0
        for effect in effects:
            match effect:
                case ServerUp(key=key) | ServerDown(key=key):
                    assert up[key] is isinstance(effect, ServerDown)
                    assert quorum_effects == 0
                    up[key] = not up[key]
                case QuorumGained() | QuorumLost():
                    assert has_quorum is isinstance(effect, QuorumLost)
                    has_quorum = not has_quorum
                    quorum_effects += 1
                    assert (effect.weight >= effect.needed) is has_quorum
                case _:
                    pass
        assert quorum_effects <= 1

    follow(pool.start())
    for number, (index, result) in enumerate(steps):
        if number == reload_at:
            fresh = Pool(servers, spec, 0, alpha=alpha, sorry=sorry)
            before = pool.serving()
            assert fresh.carry(pool) == []
            assert fresh.serving() == before
            pool = fresh
        follow(probe(pool, "abcde"[index % len(weights)], result))
        in_force = pool.quorum
        assert dict(pool.up) == up
        assert pool.has_quorum is has_quorum
        weight = sum(w for key, w in zip("abcde", weights, strict=False) if up[key])
        assert has_quorum or weight < in_force.quorum + in_force.hysteresis
        assert not has_quorum or weight >= max(1, in_force.quorum - in_force.hysteresis)
        serving = pool.serving()
        assert serving.sorry is (sorry and not has_quorum)
        assert [s.key for s in serving.servers] == [s.key for s in servers]
        for share, server in zip(serving.servers, servers, strict=True):
            assert share.live is (up[share.key] and not serving.sorry)
            assert share.weight == (server.weight if share.live else 0)


def weighed(weight: int | None) -> ProbeResult:
    return ProbeResult(Phase.DONE, weight=weight)


def weights(pool: Pool[str]) -> list[int]:
    return [share.weight for share in pool.serving().servers]


def test_a_check_gives_its_server_a_weight_and_the_quorum_counts_it() -> None:
    pool = Pool(farm(10, 10), QuorumSpec(15), 0)
    pool.start()
    assert [short(one) for one in probe(pool, "a", weighed(3))] == ["a 10 to 3", "lost 15>13"]
    assert weights(pool) == [3, 10]
    assert probe(pool, "a", weighed(3)) == []
    told = [short(one) for one in probe(pool, "a", weighed(None))]
    assert told == ["a 3 to 10", "gained 15<=20"]
    assert weights(pool) == [10, 10]


def test_a_weight_of_zero_is_no_failure() -> None:
    pool = Pool(farm(1, 1), ONE, 0)
    pool.start()
    assert [short(one) for one in probe(pool, "a", weighed(0))] == ["a 1 to 0"]
    assert pool.up["a"]
    assert pool.serving().servers[0] == Share("a", live=True, weight=0)
    assert [short(one) for one in probe(pool, "b", weighed(0))] == ["b 1 to 0", "lost 1>0"]


def test_weights_of_several_checks_add_up() -> None:
    pool = Pool([Server("a", 10, (check(1), check(1, 81)))], ONE, 0)
    pool.start()
    probe(pool, "a", weighed(13), 80)
    probe(pool, "a", weighed(5), 81)
    assert weights(pool) == [8]
    probe(pool, "a", weighed(0), 80)
    assert weights(pool) == [0]


def test_what_is_added_to_a_weight_adds_up_with_what_sets_it() -> None:
    pool = Pool([Server("a", 10, (check(1), check(1, 81)))], ONE, 0)
    pool.start()
    probe(pool, "a", ProbeResult(Phase.DONE, shift=-4), 80)
    assert weights(pool) == [6]
    probe(pool, "a", weighed(13), 81)
    assert weights(pool) == [9]
    probe(pool, "a", ProbeResult(Phase.DONE, shift=2**31 - 1), 80)
    assert weights(pool) == [2**31 - 1]
    probe(pool, "a", ProbeResult(Phase.DONE, shift=-50), 80)
    assert weights(pool) == [0]


def test_a_weight_outlives_failures_and_reloads() -> None:
    pool = Pool(farm(10), ONE, 0)
    pool.start()
    probe(pool, "a", weighed(3))
    assert [short(one) for one in probe(pool, "a", BAD)] == ["a down", "lost 1>0"]
    assert [short(one) for one in probe(pool, "a", weighed(3))] == ["a up", "gained 1<=3"]
    new = Pool(farm(20), ONE, 100)
    assert new.carry(pool) == []
    assert weights(new) == [3]


def weighing(port: int = 80) -> CheckSpec:
    """Return a check whose answer may give a weight."""
    return replace(check(1, port), kind=CheckKind.MISC, script=ScriptRun(("/x",), dynamic=True))


@pytest.mark.parametrize(
    ("weight", "told"), [(5, "a 4 to 5"), (None, "a 4 to 10")], ids=["another", "none"]
)
def test_an_adopted_weight_holds_until_a_check_gives_one_or_none(
    weight: int | None, told: str
) -> None:
    servers = [Server("a", 10, (weighing(), check(1, 81)))]
    pool = Pool(servers, ONE, 0, priors={"a": True}, weights={"a": 4})
    pool.start()
    assert weights(pool) == [4]
    new = Pool(servers, ONE, 0)
    new.carry(pool)
    assert probe(new, "a", weighed(None), 81) == []  # this one could give none
    assert probe(new, "a", BROKEN, 80)
    assert weights(new) == [4]
    assert [short(one) for one in probe(new, "a", weighed(weight))] == [told]
    newer = Pool(servers, ONE, 0)
    newer.carry(new)
    assert weights(newer) == [weight or 10]


def test_an_adopted_weight_goes_with_the_check_that_gave_it() -> None:
    pool = Pool([Server("a", 10, (weighing(),))], ONE, 0, priors={"a": True}, weights={"a": 4})
    pool.start()
    new = Pool(farm(20), ONE, 0)
    new.carry(pool)
    assert weights(new) == [20]
