"""One crowd of connections of all kinds, and one way after the other to lose the director it uses.

Each take-over is the way back of the one before. All timeouts are short, and at the end the crowd
is watched for longer than the longest of them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pytest

from lvskeeper.lab.pair import PRIORITIES, VIP4, VIP6
from lvskeeper.lab.synced import KINDS, Crowd, SyncedPair

pytestmark = [
    pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600),
]  # fmt: skip

EACH: Final = 3
ALL: Final = dict.fromkeys(KINDS, EACH)
SHORT: Final = 150
"""Seconds of all timeouts, of IPVS and of connection tracking. What is silent at all times ends by
them without a fail-over, too; so each connection is asked for within half of that, and a daemon
that starts in an emulated machine takes a minute."""
TRACKING: Final = ("tcp_timeout_established", "udp_timeout", "udp_timeout_stream")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncedPair]:
    with SyncedPair(tmp_path_factory.mktemp("causes")) as site:
        for number in PRIORITIES:
            settings = [f"net.netfilter.nf_conntrack_{name}={SHORT}" for name in TRACKING]
            site.run(number, "sysctl", "-qw", *settings)
        site.start()
        with site.ipvs_timeouts(SHORT):
            yield site


@pytest.fixture(scope="module")
def crowd(site: SyncedPair) -> Iterator[Crowd]:
    with site.crowd(list(KINDS), EACH) as crowd:
        yield crowd


def kill(site: SyncedPair, number: int) -> None:
    site.pair.daemons[number].kill()


def stop(site: SyncedPair, number: int) -> None:
    site.stop(number)


def start(site: SyncedPair, number: int) -> None:
    site.pair.revive(number)


def cut(site: SyncedPair, number: int) -> None:
    site.cut(number)


def mend(site: SyncedPair, number: int) -> None:
    mark = time.monotonic()
    site.mend(number)
    site.pair.follows(number, mark)


Act = Callable[[SyncedPair, int], None]
CAUSES: Final[Mapping[str, tuple[Act, Act]]] = {
    "kill -9": (kill, start),
    "its links are cut": (cut, mend),
    "SIGTERM": (stop, start),
}
"""How a director is lost, and how it comes back."""


@pytest.mark.parametrize("cause", CAUSES)
def test_no_connection_and_no_persistence_is_lost_to(
    cause: str, site: SyncedPair, crowd: Crowd
) -> None:
    lose, come_back = CAUSES[cause]
    active = site.active
    taker = 3 - active
    assert crowd.survivors() == ALL
    servers = [site.server_of_client(vip) for vip in (VIP4, VIP6)]
    site.knows(taker, crowd)
    mark = time.monotonic()
    lose(site, active)
    site.taken_by(taker)
    assert crowd.survivors() == ALL
    told = site.pair.daemons[taker].wait_for("state_sync_took_over", since=mark)
    assert told.fields["known"] >= crowd.streams
    # IPVS would take one server after the other, but for what its sync daemon has brought.
    for _ in range(2):
        assert [site.server_of_client(vip) for vip in (VIP4, VIP6)] == servers
    come_back(site, active)
    assert crowd.survivors() == ALL


def test_they_go_on_for_longer_than_all_timeouts(site: SyncedPair, crowd: Crowd) -> None:
    site.knows(3 - site.active, crowd)
    for _ in range(3):
        time.sleep(SHORT / 2.5)
        assert crowd.survivors() == ALL
    # The other director still knows them, with nothing but refreshes to keep them there.
    site.move()
    assert crowd.survivors() == ALL
