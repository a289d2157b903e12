"""Floods: told once at the start and once at the end, whatever the counters do."""

from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.fullnat.flood import (
    END_AFTER,
    FLOOD_RATE,
    MAX_GAP,
    START_AFTER,
    FloodEnded,
    FloodNews,
    FloodStarted,
    FloodWatch,
)

LOUD = int(4 * FLOOD_RATE)


def watch(*looks: tuple[int, int], watched: FloodWatch | None = None) -> list[FloodNews]:
    """Return what is told when each second brings so many SYNs and handshakes."""
    watched = watched or FloodWatch()
    watched.on_growth(0.0, 0, 0)
    found = [watched.on_growth(float(at), *look) for at, look in enumerate(looks, start=1)]
    return [each for each in found if each is not None]


def test_a_flood_is_told_twice_with_its_numbers() -> None:
    looks = [(10, 10), *[(LOUD, 5)] * 10, *[(10, 10)] * 20]

    assert watch(*looks) == [
        FloodStarted(syns=3 * LOUD, handshakes=15, rate=LOUD - 5.0),
        FloodEnded(syns=10 * LOUD, handshakes=50, duration=10.0, peak=LOUD - 5.0),
    ]


def test_a_short_burst_is_no_flood() -> None:
    assert watch(*[(LOUD, 0)] * 2, *[(0, 0)] * 30, *[(LOUD, 0)] * 2, (0, 0)) == []


def test_many_real_clients_are_no_flood() -> None:
    assert watch(*[(20 * LOUD, 16 * LOUD)] * 30) == []


def test_waves_are_one_flood() -> None:
    wave = [*[(LOUD, 0)] * 4, *[(0, 0)] * 10]

    started, ended = watch(*wave, *wave, *wave, *[(0, 0)] * 10)

    assert isinstance(started, FloodStarted)
    assert ended == FloodEnded(12 * LOUD, 0, duration=32.0, peak=float(LOUD))


def test_a_flood_that_ebbs_between_the_bounds_goes_on() -> None:
    told = watch(*[(LOUD, 0)] * 4, *[(int(0.7 * FLOOD_RATE), 0)] * 60)

    assert [type(each) for each in told] == [FloodStarted]


def test_the_bound_can_be_another() -> None:
    assert watch(*[(100, 0)] * 10) == []
    (told,) = watch(*[(100, 0)] * 10, watched=FloodWatch(bound=50))
    assert told == FloodStarted(300, 0, 100.0)


def test_a_long_gap_ends_a_flood_and_starts_none() -> None:
    watched = FloodWatch()
    watched.on_growth(0, 0, 0)
    assert watched.on_growth(4, 4 * LOUD, 0) is not None
    ended = watched.on_growth(5 + MAX_GAP, 1000 * LOUD, 0)
    assert ended == FloodEnded(4 * LOUD, 0, 4.0, float(LOUD))
    assert watched.on_growth(6 + 2 * MAX_GAP, 1000 * LOUD, 0) is None
    assert not watched.flooded


def test_a_flood_ends_with_the_watch() -> None:
    watched = FloodWatch()
    assert watched.stop() is None
    watch(*[(LOUD, 0)] * 5, watched=watched)
    assert watched.stop() == FloodEnded(5 * LOUD, 0, 5.0, float(LOUD))
    assert watched.stop() is None
    assert watch(*[(LOUD, 0)] * 2, watched=watched) == []


LOOKS = st.lists(
    st.tuples(st.floats(0.05, 5.0), st.integers(0, 20_000), st.floats(0, 1), st.integers(1, 6)),
    max_size=60,
)


@given(LOOKS)
def test_starts_and_ends_alternate_and_hold_their_times(
    looks: list[tuple[float, int, float, int]],
) -> None:
    watched, now = FloodWatch(), 0.0
    watched.on_growth(now, 0, 0)
    told: list[tuple[float, FloodNews]] = []
    total_syns = 0
    for pause, syns, share, repeat in looks:
        for _ in range(repeat):
            now += pause
            total_syns += syns
            if news := watched.on_growth(now, syns, int(syns * share)):
                told.append((now, news))
            assert watched.flooded is (len(told) % 2 == 1)

    for at, (when, news) in enumerate(told):
        assert isinstance(news, FloodEnded if at % 2 else FloodStarted)
        assert 0 <= news.handshakes <= news.syns <= total_syns
        if at:
            assert when - told[at - 1][0] >= (END_AFTER if at % 2 else START_AFTER) - 1e-9
        if isinstance(news, FloodEnded):
            assert news.duration >= START_AFTER - 1e-9
            assert news.peak >= FLOOD_RATE
            # The calm before its end is not part of it.
            assert when - news.duration >= END_AFTER - 1e-9


@given(LOOKS)
def test_every_flood_ends_in_calm(looks: list[tuple[float, int, float, int]]) -> None:
    watched, now = FloodWatch(), 0.0
    for pause, syns, share, _ in looks:
        now += pause
        watched.on_growth(now, syns, int(syns * share))
    was_flooded = watched.flooded
    ends = [watched.on_growth(now + at, 0, 0) for at in range(1, 40)]

    assert [type(each) for each in ends if each] == ([FloodEnded] if was_flooded else [])
    assert not watched.flooded
