"""Connections through a pair with ``state_sync`` and the death of the director that has them.

VIPs and LIPs move together. Both daemons serve the whole module, and the last test takes state sync
away from them: what survived before is cut then.
"""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from lvskeeper.lab.survivors import PATIENCE
from lvskeeper.lab.synced import COOKIES, OVER6, SyncedPair, wait_until

pytestmark = [
    pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600),
]  # fmt: skip

EACH: Final = 10
TALKING: Final = (
    "chatty", "chatty" + OVER6, "download", "chatty" + COOKIES, "download" + COOKIES,
)  # fmt: skip
KINDS: Final = (*TALKING, "idle", "server speaks")
ALL: Final = dict.fromkeys(KINDS, EACH)
SHORT: Final = 12
"""Seconds that IPVS keeps a silent connection, where its timeouts are made short."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncedPair]:
    with SyncedPair(tmp_path_factory.mktemp("state_sync")) as site:
        site.start()
        yield site


def test_talking_connections_outlive_planned_moves_and_all_timeouts_of_ipvs(
    site: SyncedPair,
) -> None:
    """Who gave up forgets them in IPVS, and its conntrack with that: who serves is not told so."""
    active = site.active
    expected = dict.fromkeys(TALKING, EACH)
    with site.ipvs_timeouts(SHORT), site.crowd(TALKING, EACH) as crowd:
        site.knows(3 - active, crowd)
        assert site.in_ipvs(active) >= len(crowd)
        taker = site.move()
        assert taker == 3 - active
        assert crowd.survivors() == expected
        wait_until(lambda: not site.in_ipvs(active), "IPVS of who gave up forgets them")
        time.sleep(3 * SHORT)
        assert crowd.survivors() == expected
        # What IPVS took along comes back with the next refresh.
        site.knows(active, crowd)
        assert site.move() == active
        assert crowd.survivors() == expected
        time.sleep(3 * SHORT)
        assert crowd.survivors() == expected


def test_all_connections_outlive_the_death_of_their_director_and_the_way_back(
    site: SyncedPair,
) -> None:
    active = site.active
    taker = 3 - active
    with site.crowd(KINDS, EACH) as crowd:
        server = site.server_of_client()
        site.knows(taker, crowd)
        mark = time.monotonic()
        site.destroy(active)
        site.served_by(taker)
        assert crowd.survivors() == ALL
        log = site.pair.daemons[taker]
        took_over = log.wait_for("state_sync_took_over", since=mark, timeout=PATIENCE)
        assert took_over.fields["known"] >= len(crowd)
        assert took_over.fields["ipvs"] == "backup"
        log.wait_for("state_sync_hold_ended", since=mark, timeout=PATIENCE)
        log.wait_for("state_sync_cuts", since=mark, timeout=PATIENCE)
        # IPVS would take one server after the other, but for what its sync daemon has brought.
        assert {site.server_of_client() for _ in range(3)} == {server}

        site.revive(active)
        site.knows(active, crowd)
        assert site.active == taker
        assert crowd.survivors() == ALL
        assert site.pair.daemons[taker].stop() == 0
        assert not site.conntrackd(taker)
        site.served_by(active)
        assert crowd.survivors() == ALL


def test_without_state_sync_the_same_death_cuts_what_ipvs_cannot_keep(site: SyncedPair) -> None:
    active = site.active
    taker = 3 - active
    site.write(synced=False)
    mark = site.pair.daemons[active].reload()
    site.pair.daemons[active].wait_for("reload_applied", since=mark, timeout=PATIENCE)
    if site.pair.daemons[taker].pids:
        site.pair.daemons[taker].stop()
    site.pair.revive(taker)
    wait_until(lambda: not site.conntrackd(active), "its conntrackd ends")
    assert not site.conntrackd(taker)
    with site.crowd(KINDS, EACH) as crowd:
        assert site.active == active
        site.destroy(active)
        site.served_by(taker)
        survivors = crowd.survivors()
    lost = ("chatty" + COOKIES, "download" + COOKIES, "download", "server speaks")
    assert {survivors[kind] for kind in lost} == {0}
