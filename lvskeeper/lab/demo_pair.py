"""The second act of the demonstration: a pair of directors, and what each way to lose one costs."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.lab.demo_survivors import what_survives
from lvskeeper.lab.pair import (
    CONF,
    PRIORITIES,
    VIP4,
    Pair,
    TakeOver,
    master_down,
    skew,
)
from lvskeeper.lab.stage import Stage

SLACK: Final = 1.5
"""Seconds that a busy or emulated machine may add."""
ANNOUNCE_LIMIT: Final = 0.5
"""Seconds from the first advert of a new master to its first announcement."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table at the end."""

    title: str
    seen: TakeOver
    lost_at_most: float


@final
class PairDemonstration:
    """Two directors with the files of conf/pair, and requests all the while."""

    def __init__(self, pair: Pair, stage: Stage) -> None:
        self.pair = pair
        self.stage = stage
        self.rows: list[Row] = []

    def run(self) -> bool:
        """Go through all steps; return whether none was left out."""
        active = self._start()
        other = 3 - active
        with self.pair.traffic() as traffic:
            self.traffic = traffic
            traffic.wait_for(lambda seen: seen.sent >= 3)
            self._fullnat(active)
            self._kill(active, other)
            self._revive(active, other)
            self._cut(other, active)
            self._stop(active, other)
            traffic.stop()
        return self._summary()

    def _start(self) -> int:
        self.stage.open(
            "two directors start",
            "both listen first; who hears nobody for 3 adverts and the skew becomes master",
        )
        active = self.pair.start()
        self.stage.say(f"   director{active} is master, priority {PRIORITIES[active]}")
        holders = self.pair.holders()
        self.stage.say(f"   {VIP4} is on {_names(holders)}")
        self.stage.close(held=holders == [active])
        return active

    def _fullnat(self, active: int) -> None:
        self.stage.open(
            "FULLNAT through the pair", "the LIPs that real servers see tell the directors apart"
        )
        mark = self.traffic.mark()
        counts = self.traffic.wait_for(lambda seen: seen.sent >= 20, since=mark)
        self.stage.say(f"   {counts}")
        self.stage.say(f"   LIPs seen: {', '.join(sorted(counts.peers))}")
        through = {self.pair.director_of(peer) for peer in counts.peers}
        self.stage.close(held=through == {active} and not counts.failed, counts=counts)

    def _kill(self, active: int, other: int) -> None:
        self.stage.open(
            f"kill -9 of director{active}, the active one",
            "its kernel goes on, and drops the VIPs when their fence ends; the peer is quicker",
        )
        self._take_over(
            f"kill -9 of director{active}",
            other,
            self.pair.daemons[active].kill,
            expected=f"after 3 adverts and the skew: {master_down(other):.2f} s",
            takes=master_down(other),
            lost_at_most=SLACK,
            cause="no advert within the master-down time",
        )

    def _revive(self, number: int, active: int) -> None:
        self.stage.open(
            f"director{number} comes back",
            "with nopreempt it stays backup: a move costs connections",
        )
        self.pair.revive(number)
        holders = self.pair.holders()
        self.stage.say(f"   {VIP4} is on {_names(holders)}, director{number} follows it")
        self.stage.close(held=holders == [active])

    def _cut(self, active: int, other: int) -> None:
        self.stage.open(
            f"director{active}, the active one, is cut from the network",
            "both of its links go down; nobody answers until the peer takes over",
        )
        self._take_over(
            f"director{active} is cut off",
            other,
            lambda: self.pair.lab.cut(active),
            expected=f"after 3 adverts and the skew: {master_down(other):.2f} s",
            takes=master_down(other),
            lost_at_most=master_down(other) + SLACK,
            cause="no advert within the master-down time",
        )
        self.stage.open("its links are up again", "it leaves FAULT by itself and stays backup")
        mark = self.traffic.mark()
        self.pair.lab.mend(active)
        self.pair.follows(active, mark)
        self.traffic.wait_for(lambda seen: seen.sent >= 10, since=mark)
        counts, holders = self.traffic.since(mark), self.pair.holders()
        self.stage.say(f"   {VIP4} is on {_names(holders)}; {counts}")
        self.stage.close(held=holders == [other] and not counts.failed, counts=counts)

    def _stop(self, active: int, other: int) -> None:
        self.stage.open(
            f"a clean stop of director{active}, the active one",
            "it resigns with an advert of priority 0, so the peer waits for the skew alone",
        )
        self._take_over(
            f"clean stop of director{active}",
            other,
            self.pair.daemons[active].stop,
            expected=f"after the skew: {skew(other):.2f} s",
            takes=skew(other),
            lost_at_most=skew(other) + SLACK,
            cause="the master resigned",
        )

    def _take_over(
        self,
        title: str,
        taker: int,
        act: Callable[[], object],
        *,
        expected: str,
        takes: float,
        lost_at_most: float,
        cause: str,
    ) -> None:
        """Let *act* happen, show what followed in its order, and judge it."""
        mark = self.traffic.mark()
        seen = self.pair.take_over(taker, self.traffic, act)
        told = seen.log(self.pair.daemons[taker])
        causes = {str(event.fields["cause"]) for event in told}
        old, new, last = f"director{3 - taker}", f"director{taker}", seen.last.priority
        later = f"{seen.took:.2f} s later; expected {expected}"
        lines = [
            (0.0, title),
            (seen.last.at - mark, f"last advert of {old}, priority {last}"),
            (seen.first.at - mark, f"first advert of {new}, {later}"),
            (seen.announced.at - mark, f"first gratuitous ARP: {VIP4} is at {new}"),
            (seen.answered - mark, f"first answer through {new}"),
        ]
        for at, text in sorted(lines):
            self.stage.say(f"   {at:+6.2f} s  {text}")
        for event in told:
            self.stage.quote(event, "instance", "old", "new", "cause")
        self.stage.say(
            f"   lost {seen.lost:.2f} s, at most {lost_at_most:.2f} s were expected;"
            f" {seen.counts.failed} of {seen.counts.sent} requests failed"
        )
        self.rows.append(Row(title, seen, lost_at_most))
        self.stage.close(
            counts=seen.counts,
            held=-0.1 < seen.took - takes < SLACK
            and 0 <= seen.announced.at - seen.first.at < ANNOUNCE_LIMIT
            and seen.lost < lost_at_most
            and cause in causes
            and not {self.pair.director_of(peer) for peer in seen.counts.peers} - {1, 2},
        )

    def _summary(self) -> bool:
        print(
            f"\n{'step':26} {'lost':>7} {'at most':>8} {'failed':>7} {'of':>5} {'first GARP':>11}"
        )
        for row in self.rows:
            seen = row.seen
            garp = (seen.announced.at - seen.first.at) * 1000
            print(
                f"{row.title:26} {seen.lost:5.2f} s {row.lost_at_most:6.2f} s"
                f" {seen.counts.failed:7} {seen.counts.sent:5} {garp:8.1f} ms"
            )
        print(
            "lost: from the last good answer to the next; first GARP: after the first advert of"
            " the new master.\nWith advert_int 0.1 the 3 adverts and the skew are 0.4 s."
        )
        return len(self.rows) == 3


def _names(numbers: list[int]) -> str:
    return " and ".join(f"director{number}" for number in numbers) or "neither"


def second_act(stage: Stage) -> bool:
    """Show the pair; return whether no step was left out."""
    print(
        "\n\nThe second act: a pair of directors, with the files of conf/pair.\n\n"
        "  client 192.0.2.10 --+-- director1, LIPs 10.0.0.10-13 --+-- router --- rs1, rs2, rs3\n"
        "                      +-- director2, LIPs 10.0.0.20-23 --+\n"
        f"                  VIP {VIP4} on one of them\n",
        flush=True,
    )
    if not CONF.is_dir():
        stage.say("it is left out: conf/pair comes with a clone of the repository")
        return True
    with (
        tempfile.TemporaryDirectory(prefix="lvskeeper-demo-") as folder,
        Pair(Path(folder)) as pair,
    ):
        complete = PairDemonstration(pair, stage).run()
    return what_survives(stage) and complete
