"""The pair of conf/pair as it is, under continuous requests, and each way to lose a director.

Both daemons serve the whole module. A test finds one of them active and leaves them both running,
but for the last; which one is active is as it comes.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from support.vip_times import VipTimes

from lvskeeper.lab.pair import (
    DIRECTOR_TIMEOUT,
    FENCE,
    VIP4,
    VIP6,
    Pair,
    TakeOver,
    master_down,
    skew,
)
from lvskeeper.lab.traffic import Traffic

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.timeout(300)]

VIPS: Final = (VIP4, VIP6)
ADVERT_INTERVAL: Final = 1.0
SLACK: Final = 1.5
"""Seconds that an emulated machine may add."""
RATE: Final = 4.0
"""Requests a second to each VIP."""
PATIENCE: Final = 5.0
"""Seconds that a client waits: an answer that an emulated machine delays is none that is lost."""
BEAT: Final = 1.0
SECOND_LOOK: Final = 0.5
"""A role beats once a second, and its silence is believed at the second look."""


@dataclass
class Site:
    pair: Pair
    times: VipTimes
    traffic: dict[str, Traffic]

    @property
    def active(self) -> int:
        """The one director that holds all VIPs; it is waited for."""
        deadline = time.monotonic() + FENCE + SLACK
        while True:
            four, six = (self.pair.holders(vip) for vip in VIPS)
            if len(four) == 1 and four == six:
                return four[0]
            assert time.monotonic() < deadline, (four, six)

    def more(self, number: int = 10) -> float:
        """Wait until *number* requests to each VIP were answered, none failed; return the start."""
        mark = time.monotonic()
        for traffic in self.traffic.values():
            counts = traffic.wait_for(lambda seen: seen.sent >= number, 60, since=mark)
            assert not counts.failed, counts
        return mark

    def through(self, since: float) -> set[int]:
        """Which directors the real servers saw since a mark."""
        return {
            self.pair.director_of(peer)
            for traffic in self.traffic.values()
            for peer in traffic.since(since).peers
        }

    def judge(self, seen: TakeOver, mark: float, *, takes: float, lost_at_most: float) -> None:
        """See that the take-over came in time, is announced, and cost IPv6 no more than IPv4."""
        assert -0.1 < seen.took - takes < SLACK
        assert 0 <= seen.announced.at - seen.first.at < 0.5
        assert seen.lost < lost_at_most
        other = self.traffic[VIP6]
        other.wait_for(
            lambda counts: any(self.pair.director_of(peer) == seen.taker for peer in counts.peers),
            since=mark,
        )
        before, after = other.longest_gap(mark)
        assert after.ended - before.ended < lost_at_most
        assert self.through(mark) <= {1, 2}, "a real server saw something else than a LIP"
        assert self.through(self.more()) == {seen.taker}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        Pair(tmp_path_factory.mktemp("pair")) as pair,
        VipTimes((pair.lab.directors[0], pair.lab.directors[1])) as times,
    ):
        pair.start()
        with (
            pair.traffic(VIP4, rate=RATE, patience=PATIENCE) as four,
            pair.traffic(VIP6, rate=RATE, patience=PATIENCE) as six,
        ):
            for traffic in (four, six):
                traffic.wait_for(lambda seen: seen.sent - seen.failed >= 10, 60)
            yield Site(pair, times, {VIP4: four, VIP6: six})


def test_one_director_holds_all_vips_and_servers_see_its_lips_alone(site: Site) -> None:
    active = site.active
    mark = site.more(20)
    assert site.through(mark) == {active}
    for traffic in site.traffic.values():
        assert len(traffic.since(mark).peers) > 1, "the pool is spread over"
        assert set(traffic.since(mark).servers) == {"rs1", "rs2", "rs3"}
    assert site.times.seen(VIP4) == site.times.seen(VIP6) == {active}


@pytest.mark.long
def test_a_reload_of_both_loses_nothing_and_moves_nothing(site: Site) -> None:
    active, mark = site.active, time.monotonic()
    for daemon in site.pair.daemons.values():
        daemon.reload()
    for daemon in site.pair.daemons.values():
        daemon.wait_for("reload_applied", since=mark, timeout=120)
        assert not daemon.events("vrrp_state_changed", since=mark)
    site.more()
    for traffic in site.traffic.values():
        assert not traffic.since(mark).failed, traffic.since(mark)
    assert site.through(mark) == {active}


def test_a_flushed_table_of_the_active_one_is_repaired_and_nothing_moves(site: Site) -> None:
    active, mark = site.active, time.monotonic()
    daemon = site.pair.daemons[active]
    site.pair.lab.directors[active - 1].run(["ipvsadm", "-C"])
    repaired = daemon.wait_for("drift_repaired", since=mark)
    for traffic in site.traffic.values():
        traffic.wait_for(lambda seen: seen.sent - seen.failed >= 5, since=repaired.seen)
    assert site.through(site.more()) == {active}
    assert not daemon.events("vrrp_state_changed", since=mark)


def test_a_director_role_that_stands_still_gives_the_vips_away(site: Site) -> None:
    active, mark, day = site.active, time.monotonic(), time.time()
    daemon, taker = site.pair.daemons[active], 3 - active
    stuck = daemon.role("director")
    limit = DIRECTOR_TIMEOUT + BEAT + SECOND_LOOK + skew(taker) + SLACK
    seen = site.pair.take_over(taker, site.traffic[VIP4], lambda: daemon.freeze(stuck))
    assert seen.first.at - mark < limit
    daemon.wait_for("director_silent", since=mark)
    assert daemon.events("vrrp_faults_changed", since=mark)
    with contextlib.suppress(ProcessLookupError):  # 15 s without a beat, and another is started
        daemon.thaw([stuck])
    daemon.wait_for("director_back", since=mark, timeout=120)
    site.pair.follows(active, mark)
    # Its kernel served all the while: only the move itself costs.
    site.judge(seen, mark, takes=skew(taker), lost_at_most=skew(taker) + SLACK)
    assert site.active == taker, "who comes back does not take back"
    assert site.times.both(VIP4, day) == 0


def test_a_killed_director_serves_until_its_peer_has_taken_over(site: Site) -> None:
    active, mark, day = site.active, time.monotonic(), time.time()
    taker = 3 - active
    seen = site.pair.take_over(taker, site.traffic[VIP4], site.pair.daemons[active].kill)
    assert {event.fields["cause"] for event in seen.log(site.pair.daemons[taker])} == {
        "no advert within the master-down time"
    }
    site.judge(seen, mark, takes=master_down(taker), lost_at_most=SLACK)
    assert site.active == taker, "the fence takes the VIPs from a dead director"
    # From its last refresh on; the kernel looks every now and then.
    assert 0 < site.times.both(VIP4, day) < FENCE - (master_down(taker) - ADVERT_INTERVAL) + SLACK
    site.pair.revive(active)
    assert site.active == taker
    assert site.through(site.more()) == {taker}


@pytest.mark.long
def test_a_director_without_links_is_replaced_and_heals_as_backup(site: Site) -> None:
    active, mark, day = site.active, time.monotonic(), time.time()
    taker = 3 - active
    seen = site.pair.take_over(taker, site.traffic[VIP4], lambda: site.pair.lab.cut(active))
    site.pair.daemons[active].wait_for("vrrp_faults_changed", since=mark)
    assert site.pair.holders() == [taker]
    mended = time.monotonic()
    site.pair.lab.mend(active)
    site.judge(seen, mark, takes=master_down(taker), lost_at_most=master_down(taker) + SLACK)
    site.pair.follows(active, mended)
    assert site.active == taker
    assert site.times.both(VIP4, day) == 0


@pytest.mark.long
def test_two_masters_that_could_not_hear_each_other_become_one(site: Site) -> None:
    """A cut that no link shows: both hold the VIPs, and who wins tells the neighbours again."""
    active = site.active
    seen = site.pair.take_over(
        3 - active, site.traffic[VIP4], lambda: site.pair.lab.cut(active, seen=False)
    )
    assert seen.lost < master_down(3 - active) + SLACK
    assert site.pair.holders() == [1, 2]
    mended, day = time.monotonic(), time.time()
    site.pair.lab.mend(active)
    winner, loser = site.pair.daemons[1], site.pair.daemons[2]
    loser.wait_for("vrrp_state_changed", since=mended, instance="web4", new="BACKUP")
    assert site.active == 1, "the higher priority wins"
    assert 0 < site.times.both(VIP4, day) < ADVERT_INTERVAL + SLACK
    assert not winner.events("vrrp_state_changed", since=mended, new="BACKUP")
    deadline = time.monotonic() + 10
    while not site.pair.wire.announced(VIP4, since=mended):
        assert time.monotonic() < deadline, "neighbours are left with what the loser told"
    for traffic in site.traffic.values():
        traffic.wait_for(
            lambda counts: any(site.pair.director_of(peer) == 1 for peer in counts.peers),
            since=mended,
        )
    assert site.through(site.more()) == {1}


def test_a_clean_stop_costs_the_skew(site: Site) -> None:
    active, mark, day = site.active, time.monotonic(), time.time()
    taker = 3 - active
    seen = site.pair.take_over(taker, site.traffic[VIP4], site.pair.daemons[active].stop)
    assert seen.last.priority == 0
    assert {event.fields["cause"] for event in seen.log(site.pair.daemons[taker])} == {
        "the master resigned"
    }
    site.judge(seen, mark, takes=skew(taker), lost_at_most=skew(taker) + SLACK)
    assert site.pair.holders() == [taker]
    assert site.times.both(VIP4, day) == 0
