"""Weights that an operator orders, against what checks and the quorum make of them."""

from lvskeeper.health.pool import Pool, QuorumGained, QuorumLost, Server, Share
from lvskeeper.health.spec import CheckKind, CheckSpec, Phase, ProbeResult, QuorumSpec
from lvskeeper.units import Address

CHECK = CheckSpec(CheckKind.TCP, Address(bytes(4)), 80)
SERVERS = [Server("a", 3, (CHECK,)), Server("b", 2, (CHECK,))]


def pool(
    *, sorry: bool = False, quorum: int = 1, ordered: dict[str, int] | None = None
) -> Pool[str]:
    made = Pool(SERVERS, QuorumSpec(quorum), 0.0, sorry=sorry, ordered=ordered or {})
    made.start()
    return made


def test_an_ordered_weight_takes_the_place_of_the_configured_one_and_goes_again() -> None:
    it = pool()
    assert it.order({"a": 7}, 1.0) == []
    assert it.serving().servers == (Share("a", True, 7), Share("b", True, 2))
    assert it.order({}, 2.0) == []
    assert it.serving().servers == (Share("a", True, 3), Share("b", True, 2))


def test_a_drained_server_stays_live_with_weight_0_and_does_not_count_for_the_quorum() -> None:
    it = pool(quorum=4)
    assert it.order({"b": 0}, 1.0) == [QuorumLost(3, 4)]
    assert it.serving().servers[1] == Share("b", True, 0)
    assert it.order({}, 2.0) == [QuorumGained(5, 4)]


def test_the_sorry_server_stands_in_for_drained_servers_which_keep_their_connections() -> None:
    it = pool(sorry=True)
    assert it.order({"a": 0, "b": 0}, 1.0) == [QuorumLost(0, 1)]
    serving = it.serving()
    assert serving.sorry
    assert serving.servers == (Share("a", True, 0), Share("b", True, 0))


def test_a_weight_that_a_check_gives_waits_until_the_order_is_lifted() -> None:
    it = pool(ordered={"a": 0})
    (check_id,) = (each for each in it.checkers if each.key == "a")
    it.on_start(check_id, 1.0)
    assert it.on_result(check_id, ProbeResult(Phase.DONE, weight=9), 1.1) == []
    assert it.serving().servers[0] == Share("a", True, 0)
    it.order({}, 2.0)
    assert it.serving().servers[0] == Share("a", True, 9)


def test_a_reload_keeps_what_is_ordered() -> None:
    old = pool()
    old.order({"a": 0}, 1.0)
    new = Pool(SERVERS, QuorumSpec(), 2.0, ordered={"a": 0})
    assert new.carry(old) == []
    assert new.serving().servers == (Share("a", True, 0), Share("b", True, 2))
