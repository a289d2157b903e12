"""Two thousand connections, a link between the directors that loses packets, and news that is late.

All clients are silent, so that the backup cannot learn of a connection but by state sync.
"""

import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest

from lvskeeper.lab.pair import PRIORITIES
from lvskeeper.lab.synced import COOKIES, SYNC, SyncedPair

pytestmark = [
    pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600),
]  # fmt: skip

MANY: Final = 2000
FILES: Final = 10_000
"""Descriptors of this process, which has both ends of all connections."""
SILENT: Final = ("server speaks", "server speaks" + COOKIES)
LOSS: Final = f"""
table inet loss {{
  chain lose {{
    type filter hook input priority 0;
    iifname "{SYNC}" numgen random mod 100 < 1 counter drop
  }}
}}
"""
"""One of a hundred packets of the link is lost."""
HOLD: Final = 30.0
"""Seconds for which what is not known is held; a slow machine needs some to go on."""
LATE: Final = 5.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncedPair]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, before[1])))
    with SyncedPair(tmp_path_factory.mktemp("scale"), hold=HOLD) as site:
        site.start()
        yield site
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def lost_packets(site: SyncedPair) -> int:
    """Return how many packets of the link between the directors were lost."""
    listings = [site.run(number, "nft", "list", "table", "inet", "loss") for number in PRIORITIES]
    return sum(int(text.partition("packets ")[2].split()[0]) for text in listings)


def test_news_that_come_after_the_addresses_have_moved_are_early_enough(site: SyncedPair) -> None:
    active = site.active
    taker = 3 - active
    conntrackd = site.conntrackd(taker)
    os.kill(conntrackd, signal.SIGSTOP)
    try:
        with site.crowd(SILENT, 10) as crowd:
            # The link between the directors stays.
            site.pair.lab.cut(active)
            site.taken_by(taker)
            assert site.tracked(taker) < crowd.streams
            # Servers speak meanwhile, and hear nothing: no more than held are their packets.
            assert sum(crowd.survivors(LATE).values()) < len(crowd)
            os.kill(conntrackd, signal.SIGCONT)
            assert crowd.survivors() == dict.fromkeys(SILENT, 10)
    finally:
        os.kill(conntrackd, signal.SIGCONT)
    mark = time.monotonic()
    site.pair.lab.mend(active)
    site.pair.follows(active, mark)


def test_two_thousand_connections_survive_with_a_link_that_loses_packets(site: SyncedPair) -> None:
    active = site.active
    taker = 3 - active
    for director in site.pair.lab.directors:
        director.run(["nft", "-f", "-"], input_text=LOSS)
    with site.crowd(SILENT, MANY // len(SILENT)) as crowd:
        site.knows(taker, crowd)
        assert lost_packets(site) > 0
        mark = time.monotonic()
        site.destroy(active)
        site.served_by(taker)
        assert crowd.survivors() == dict.fromkeys(SILENT, MANY // len(SILENT))
        told = site.pair.daemons[taker].wait_for("state_sync_took_over", since=mark)
        assert told.fields["known"] >= MANY
