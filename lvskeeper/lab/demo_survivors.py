"""The end of the second act: which connections outlive their director, with state sync or not."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from lvskeeper.lab.pair import VIP4
from lvskeeper.lab.stage import Stage
from lvskeeper.lab.survivors import PATIENCE
from lvskeeper.lab.synced import COOKIES, Crowd, SyncedPair

EACH: Final = 5
USES: Final = ("chatty", "idle", "download", "upload")
KINDS: Final = tuple(use + cookies for cookies in ("", COOKIES) for use in USES)
LOST_AFTER: Final = 15.0
"""Seconds after which a connection that has not gone on counts as lost."""


@final
class Survivors:
    """A pair whose active director dies twice."""

    def __init__(self, site: SyncedPair, stage: Stage) -> None:
        self.site = site
        self.stage = stage

    def run(self) -> bool:
        """Go through both steps; return whether state sync made the difference."""
        without = self._without()
        survivors = self._with()
        self._summary(without, survivors)
        return all(count == EACH for count in survivors.values())

    def _without(self) -> Mapping[str, int]:
        self.stage.open(
            "a pair without state sync, and its active director dies",
            "VIPs and LIPs move; IPVS tells its peer of connections, but of no translation",
        )
        active = self.site.pair.start()
        other = 3 - active
        with self.site.crowd(KINDS, EACH) as crowd:
            self._die(active, crowd)
            # It takes its time to come back: meanwhile it is seen what goes on.
            self.site.write(synced=True)
            mark = time.monotonic()
            self.site.clear(active)
            self.site.mend(active)
            self.site.pair.daemons[active].start(wait=False)
            survivors = self._count(crowd)
        self.stage.close(held=not any(survivors[use + COOKIES] for use in USES))
        mark_other = self.site.pair.daemons[other].reload()
        self.site.pair.daemons[other].wait_for("reload_applied", since=mark_other, timeout=PATIENCE)
        self.site.pair.ready(active, mark)
        self.site.pair.follows(active, mark)
        return survivors

    def _with(self) -> Mapping[str, int]:
        self.stage.open(
            "the same with state_sync, five lines more in the file",
            "conntrackd tells the peer's kernel of every connection, translations and all",
        )
        active = self.site.active
        for daemon in self.site.pair.daemons.values():
            daemon.wait_for("state_sync_peer_found", timeout=PATIENCE)
        with self.site.crowd(KINDS, EACH) as crowd:
            self.site.knows(3 - active, crowd)
            mark = time.monotonic()
            self._die(active, crowd)
            survivors = self._count(crowd)
            told = self.site.pair.daemons[3 - active].wait_for(
                "state_sync_took_over", since=mark, timeout=PATIENCE
            )
            self.stage.quote(told, "known", "own", "ipvs", "hold")
        self.stage.close(held=all(count == EACH for count in survivors.values()))
        return survivors

    def _die(self, active: int, crowd: Crowd) -> None:
        self.stage.say(f"   {len(crowd)} connections are open, through director{active}")
        self.stage.say("   all of its processes are killed, and its links go down")
        mark = time.monotonic()
        self.site.destroy(active)
        self.site.served_by(3 - active)
        took = time.monotonic() - mark
        self.stage.say(f"   {took:.2f} s later {VIP4} and all LIPs are on director{3 - active}")

    def _count(self, crowd: Crowd) -> Mapping[str, int]:
        survivors = crowd.survivors(LOST_AFTER)
        self.stage.say(f"   {sum(survivors.values())} of {len(crowd)} connections go on")
        return survivors

    def _summary(self, without: Mapping[str, int], survivors: Mapping[str, int]) -> None:
        print(
            f"\n{'connections that go on, of ' + str(EACH) + ' each':36} {'without':>8} {'with':>6}"
        )
        for kind in KINDS:
            print(f"{kind:36} {without[kind]:8} {survivors[kind]:6}")
        total, kept = sum(without.values()), sum(survivors.values())
        print(f"{'all':36} {total:8} {kept:6}", flush=True)


def what_survives(stage: Stage) -> bool:
    """Show state sync; return whether it kept all connections."""
    print(
        "\n\nThe second act goes on: what becomes of open connections, through FULLNAT alone and"
        " behind SYN cookies.\n",
        flush=True,
    )
    with (
        tempfile.TemporaryDirectory(prefix="lvskeeper-demo-") as folder,
        SyncedPair(Path(folder), synced=False) as site,
    ):
        return Survivors(site, stage).run()
