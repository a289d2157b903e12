"""What pools carry, and what the judge says of looks."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.fullnat.capacity import (
    CLEAR_SHARE,
    LOST_LEAST,
    QUIET_LOOKS,
    TRIES,
    WARNING_SHARE,
    ConntrackLost,
    ConntrackStats,
    ConntrackTurned,
    Judge,
    Load,
    Place,
    PoolTurned,
    Room,
    State,
    Turn,
    conntrack_limit,
)
from lvskeeper.ipvs.types import DestKey, Family, Protocol
from lvskeeper.units import parse_address

PLACE = Place("lips", 1024, 65535, Protocol.TCP, DestKey(parse_address("10.0.0.1"), 80))
OTHER = replace(PLACE, server=DestKey(parse_address("10.0.0.2"), 80))
CALM = ConntrackStats(300_000, 1_000_000)


def load(connections: int, place: Place = PLACE, lips: int = 4) -> Load:
    return Load(place, lips, connections)


def fullness(turns: list[Turn]) -> list[PoolTurned | ConntrackTurned]:
    return [turn for turn in turns if not isinstance(turn, ConntrackLost)]


def states(turns: list[Turn]) -> list[State]:
    return [
        turn.use.state if isinstance(turn, PoolTurned) else turn.state for turn in fullness(turns)
    ]


def test_a_warning_comes_once_and_clears_lower() -> None:
    judge = Judge()
    said = [
        states(judge.on_look([load(connections)], CALM))
        for connections in (100_000, 210_000, 215_000, 190_000, 200_000, 150_000, 150_000)
    ]
    assert said == [[], [State.NEARLY_FULL], [], [], [], [State.ROOMY], []]


def test_the_warning_names_the_real_server_with_the_least_room() -> None:
    judge = Judge()
    (turn,) = judge.on_look([load(1_000), load(220_000, OTHER)], CALM)

    assert isinstance(turn, PoolTurned)
    assert (turn.use.worst.place, turn.use.worst.capacity) == (OTHER, 4 * 64512)
    assert turn.use.connections == 221_000
    assert str(turn.use.worst.place) == "tcp 10.0.0.2:80"
    assert judge.snapshot.pools == (turn.use,)


def test_an_exhaustion_is_one_event_and_its_end_another() -> None:
    judge = Judge()
    judge.on_look([load(250_000)], CALM)
    looks = [5, 25, 25, 100] + [100] * QUIET_LOOKS
    turns = [
        turn
        for failed in looks
        for turn in judge.on_look(
            [load(250_000)], replace(CALM, insert_failed=failed, dropped=failed)
        )
    ]

    assert states(turns) == [State.EXHAUSTED, State.NEARLY_FULL]
    assert [turn.failures for turn in fullness(turns)] == [5, 100]
    assert [turn.before for turn in fullness(turns)] == [State.NEARLY_FULL, State.EXHAUSTED]


def test_failed_insertions_are_no_exhaustion_where_there_is_room() -> None:
    judge = Judge()
    judge.on_look([load(1_000)], CALM)
    assert judge.on_look([load(1_000)], replace(CALM, insert_failed=9, dropped=9)) == []


def test_a_pool_that_goes_while_it_is_exhausted_is_relieved() -> None:
    judge = Judge()
    judge.on_look([load(250_000)], CALM)
    judge.on_look([load(250_000)], replace(CALM, insert_failed=1, dropped=1))

    assert states(judge.on_look([], CALM)) == [State.ROOMY]
    assert judge.on_look([], CALM) == []
    assert judge.snapshot.pools == ()


def test_of_a_kernel_with_fullnat_the_conflicts_tell_who_finds_no_port() -> None:
    judge = Judge()
    said = [
        states(judge.on_look([load(1_000)], CALM, {"lips": conflicts}))
        for conflicts in (3 * TRIES, 4 * TRIES - 1, 5 * TRIES, 5 * TRIES)
    ]
    assert said == [[], [], [State.EXHAUSTED], [State.ROOMY]]


def test_a_leaning_pool_is_full_sooner() -> None:
    even, leaning = Load(PLACE, 4, 200_000), Load(PLACE, 4, 200_000, leaning=0.3)
    assert even.share < WARNING_SHARE < leaning.share
    assert leaning.share == 200_000 * 0.3 / 64512


def test_the_table_of_connection_tracking_has_the_same_steps() -> None:
    judge = Judge()
    looks = [
        ConntrackStats(700, 1000),
        ConntrackStats(800, 1000),
        ConntrackStats(1000, 1000, insert_failed=2, dropped=12, early_dropped=5),
        ConntrackStats(600, 1000, insert_failed=2, dropped=12, early_dropped=5),
    ]
    turns = [turn for stats in looks for turn in judge.on_look([], stats)]

    assert states(turns) == [State.NEARLY_FULL, State.EXHAUSTED, State.ROOMY]
    assert [turn.failures for turn in fullness(turns)] == [0, 15, 15]
    assert judge.snapshot.conntrack == looks[-1]


def test_without_connection_tracking_pools_are_judged_all_the_same() -> None:
    assert states(Judge().on_look([load(250_000)], None)) == [State.NEARLY_FULL]


SHARES = st.integers(0, 300_000)


@given(st.lists(st.tuples(SHARES, SHARES, st.integers(0, 3)), max_size=40))
def test_whatever_happens_each_event_is_a_change_and_fits_the_numbers(
    looks: list[tuple[int, int, int]],
) -> None:
    judge, failed, state = Judge(), 0, State.ROOMY
    for first, second, failures in looks:
        failed += failures
        stats = replace(CALM, insert_failed=failed, dropped=failed)
        turns = judge.on_look([load(first), load(second, OTHER)], stats)
        assert len(turns) <= 1
        share = max(load(first).share, load(second).share)
        for turn in turns:
            assert isinstance(turn, PoolTurned)
            assert turn.before is state
            assert turn.use.state is not state
            assert turn.use.worst.share == share
            state = turn.use.state
        assert judge.snapshot.pools[0].state is state
        if state is State.ROOMY:
            assert share < WARNING_SHARE
        elif state is State.NEARLY_FULL:
            assert share >= CLEAR_SHARE


@given(st.integers(1, 64), st.integers(0, 2_000_000))
def test_more_lips_never_make_a_pool_fuller(lips: int, connections: int) -> None:
    assert load(connections, lips=lips + 1).share <= load(connections, lips=lips).share


def test_the_estimate_covers_what_a_hash_mostly_does() -> None:
    random = Random(1)
    lips, connections, rounds = 16, 20_000, 20
    covered = 0
    for _ in range(rounds):
        counts = [0] * lips
        for _ in range(connections):
            counts[random.randrange(lips)] += 1
        covered += max(counts) <= load(connections, lips=lips).share * 64512
    assert covered >= rounds - 2


def test_room_in_words() -> None:
    room = Room("lips", Family.INET, 1024, 65535, lips=4, servers=3)
    assert str(room) == (
        "pool lips: 4 LIPs x 64512 ports = 258048 connections to each real server "
        "(3 real servers: 774144 at most)"
    )
    narrow = Room("lips", Family.INET6, 5000, 5999, lips=1, servers=1)
    assert str(narrow) == (
        "pool lips (IPv6): 1 LIP x 1000 ports (5000-5999) = 1000 connections to its real server"
    )


def test_connection_tracking_is_sized_to_the_pools_within_memory() -> None:
    rooms = [Room("a", Family.INET, 1024, 65535, 4, 3), Room("b", Family.INET, 5000, 5999, 1, 1)]
    assert conntrack_limit(rooms, 64 << 30) == 774144 + 1000
    assert conntrack_limit(rooms, 1 << 30) == (1 << 30) // 3200
    assert conntrack_limit([], 64 << 30) == 0


def test_a_flush_of_connection_tracking_is_told_once_until_most_is_tracked_again() -> None:
    judge = Judge()
    said = [
        judge.on_look([load(1_000)], replace(CALM, entries=entries))
        for entries in (1_010, 40, 300, 900, 1_000, 10)
    ]
    assert said == [[], [ConntrackLost(40, 1_000)], [], [], [], [ConntrackLost(10, 1_000)]]


def test_udp_and_a_handful_of_connections_tell_no_flush() -> None:
    judge = Judge()
    udp = load(1_000, replace(PLACE, protocol=Protocol.UDP))
    nothing = replace(CALM, entries=0)
    assert judge.on_look([udp, load(LOST_LEAST - 1)], nothing) == []
    assert judge.on_look([udp, load(LOST_LEAST)], nothing) == [ConntrackLost(0, LOST_LEAST)]
