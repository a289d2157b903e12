"""The short way of an advert that says nothing new comes to the same as the long one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vrrp import HIGH, KEY, LOW, advert, spec

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.tracking import PrioritySum, Verdict
from lvskeeper.vrrp.types import Advert

ADVERTS = (advert(200), advert(200, interval=2.0), advert(150), advert(50), advert(0))
VERDICTS = tuple(Verdict(PrioritySum(base)) for base in (100, 180, 220))

steps = st.lists(
    st.tuples(
        st.sampled_from((*ADVERTS, *ADVERTS[:1] * 6, *VERDICTS, None)),
        st.sampled_from((HIGH, HIGH, HIGH, LOW)),
        st.sampled_from((0.0, 0.5, 1.0, 3.5, 4.0)),
    ),
    max_size=30,
)


@given(steps, st.sampled_from([{}, {"preempt": False}, {"preempt_delay": 3.0}]))
def test_repetitions_change_nothing_but_the_deadline(
    steps: list[tuple[Advert | Verdict | None, Address, float]], more: dict[str, Any]
) -> None:
    short, long = Router([spec(**more)]), Router([spec(**more)])
    now = 100.0
    assert short.start(now) == long.start(now)
    for what, source, pause in steps:
        now += pause
        assert short.on_timer(now) == long.on_timer(now)
        if isinstance(what, Verdict):
            told = [router.on(KEY, ev.Judged(what), now) for router in (short, long)]
        elif what is None:
            told = [router.on(KEY, ev.LoopStalled(0.7), now) for router in (short, long)]
        else:
            heard = ev.AdvertHeard(what, source)
            told = [short.on_advert(KEY, what, source, now), long.on(KEY, heard, now)]
        assert told[0] == told[1]
        mine, theirs = short.instances[KEY], long.instances[KEY]
        assert mine.deadline() == pytest.approx(theirs.deadline(), abs=1e-9)
        assert (mine.state, mine.master, mine.contention) == (
            theirs.state, theirs.master, theirs.contention,
        )  # fmt: skip
        assert short.deadline() == mine.deadline()


def test_the_same_advert_again_takes_the_short_way() -> None:
    router = Router([spec()])
    router.start(100.0)
    same = advert(200)
    assert fx.MasterLearned(KEY, HIGH, 200, NO_ADDRESS) in router.on_advert(KEY, same, HIGH, 101.0)
    router.on_advert(KEY, same, HIGH, 102.0)
    instance = router.instances[KEY]
    assert instance.renews(same, HIGH, 103.0)
    assert not instance.renews(same, LOW, 103.5)
    assert not instance.renews(advert(200), HIGH, 103.5)
    assert not instance.renews(same, HIGH, 102.5)
