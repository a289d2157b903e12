"""A rolling upgrade: both directors of a pair are restarted, one after the other, under traffic."""

from pathlib import Path
from typing import Final

import pytest

from lvskeeper.lab.survivors import PATIENCE
from lvskeeper.lab.synced import KINDS, SyncedPair

pytestmark = [
    pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600),
]  # fmt: skip

EACH: Final = 3
ALL: Final = dict.fromkeys(KINDS, EACH)
RATE: Final = 2.0
"""New connections a second beside those that stay open."""


def test_both_directors_are_restarted_in_turn_and_no_connection_is_lost(tmp_path: Path) -> None:
    with SyncedPair(tmp_path) as site:
        site.start()
        active = site.active
        with (
            site.pair.traffic(rate=RATE, patience=PATIENCE) as traffic,
            site.crowd(list(KINDS), EACH) as crowd,
        ):
            # The backup first, as one would; then the one that serves, which stays backup.
            for number in (3 - active, active):
                site.knows(3 - number, crowd)
                site.stop(number)
                site.served_by(3 - number)
                assert crowd.survivors() == ALL
                site.pair.revive(number)
                assert site.active == 3 - number
            # What it has learned since is enough to serve again.
            site.knows(active, crowd)
            assert site.move() == active
            assert crowd.survivors() == ALL
            counts = traffic.stop()
        assert counts.failed == 0, counts
        assert len(counts.servers) == 3
