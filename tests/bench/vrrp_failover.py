"""Benchmark of fail-over: how long nobody advertises, with us and with keepalived as the backup.

Each case has a bridge of its own, and all run at the same time: the master of a case is killed, or
stopped, and started again, round after round. Times are the kernel's, at the bridge. Both daemons
get the same file, with ``vrrp_rt_priority``.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from bench.measure import Bound, Row
from bench.vrrp_link import Frame, Kind, Link, link, wait_for

LIMIT, AIM = 1.02, 1.01
"""Ratios of the medians (P11)."""
GARP_LIMIT = 0.005
SKEW: Final = (256 - 100) / 256
"""Of the second router, in advert intervals."""
STOP_LIMIT = 0.005
"""Seconds beyond the skew time after an advert of priority 0."""
VRID: Final = 51
ROUNDS: Final = {0.1: (15, 5), 1.0: (4, 1)}
"""For each advert interval (s) how often the master is killed, and how often stopped."""


@final
@dataclass
class Case:
    """A dead master, and who takes over."""

    interval: float
    dead: Kind
    new: Kind
    killed: list[float] = field(default_factory=list)
    """From the last advert of the one to the first of the other, in seconds."""
    stopped: list[float] = field(default_factory=list)
    """The same from the advert of priority 0."""
    garps: list[float] = field(default_factory=list)
    """From that first advert to the first gratuitous ARP."""


def _settle(pair: Link, interval: float) -> None:
    """Wait until the first router is the only master."""

    def settled() -> bool:
        now = time.time()
        mine = pair.from_first.adverts(now - 3.2 * interval)
        return len(mine) >= 3 and not pair.from_second.adverts(now - 5 * interval)

    wait_for(settled, "the first router is not master", pair.first, pair.second)


def _taken(pair: Link, since: float) -> tuple[Frame, Frame]:
    """Return the first advert and the first gratuitous ARP of the second router."""

    def told() -> bool:
        after = [frame for frame in pair.from_second.frames[:] if frame.at > since]
        return {frame.priority for frame in after} == {-1, 100}

    wait_for(told, "nobody takes over", pair.second)
    after = [frame for frame in pair.from_second.frames[:] if frame.at > since]
    return (
        next(frame for frame in after if frame.priority == 100),
        next(frame for frame in after if frame.priority == -1),
    )


def _round(pair: Link, case: Case, *, stop: bool) -> None:
    _settle(pair, case.interval)
    time.sleep(random.uniform(0, case.interval))
    since = time.time()
    if stop:
        pair.first.terminate()
    else:
        pair.first.kill()
    advert, garp = _taken(pair, since)
    last = pair.from_first.adverts()[-1]
    if (last.priority == 0) is not stop:
        sys.exit(f"the last advert had the priority {last.priority}")
    (case.stopped if stop else case.killed).append(advert.at - last.at)
    case.garps.append(garp.at - advert.at)
    pair.first.wait()
    pair.first.start()


def _run(case: Case, folder: Path, rounds: tuple[int, int]) -> None:
    folder.mkdir()
    with link((case.dead, case.new), folder, [VRID], case.interval) as pair:
        pair.first.start()
        pair.second.start()
        kills, stops = rounds
        for number in range(kills + stops):
            _round(pair, case, stop=number >= kills)


def measure(rounds: dict[float, tuple[int, int]]) -> list[Case]:
    """Run all cases side by side."""
    cases = [Case(each, dead, new) for each in rounds for dead in Kind for new in Kind]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(cases)) as pool:
        running = [
            pool.submit(_run, case, Path(name, str(number)), rounds[case.interval])
            for number, case in enumerate(cases)
        ]
        for each in running:
            each.result()
    return cases


def _of(cases: Sequence[Case], interval: float, new: Kind, dead: Kind | None = None) -> list[Case]:
    return [
        case
        for case in cases
        if (case.interval, case.new) == (interval, new) and dead in {None, case.dead}
    ]


def main(rounds: dict[float, tuple[int, int]] = ROUNDS) -> None:
    """Print the rows."""
    cases = measure(rounds)
    median, keepalived = statistics.median, Kind.KEEPALIVED
    for interval, (count, _) in rounds.items():
        for dead in Kind:
            (ours,) = _of(cases, interval, Kind.OURS, dead)
            (theirs,) = _of(cases, interval, keepalived, dead)
            what = f"kill -9 of {dead.value}, {interval:g} s, {count} rounds"
            row = Row("P11", what, median(ours.killed), "keepalived takes over",
                      median(theirs.killed), LIMIT, AIM)  # fmt: skip
            print(row, flush=True)
        mine, others = _of(cases, interval, Kind.OURS), _of(cases, interval, keepalived)
        stops = [gap - SKEW * interval for case in mine for gap in case.stopped]
        anchors = [gap - SKEW * interval for case in others for gap in case.stopped]
        for word, of in (("median", median), ("longest", max)):
            what = f"SIGTERM, {interval:g} s: beyond the skew, {word}"
            print(Bound("P11", what, of(stops), of(anchors), STOP_LIMIT), flush=True)
        garps = [gap for case in mine for gap in case.garps]
        anchors = [gap for case in others for gap in case.garps]
        for word, of in (("median", median), ("longest", max)):
            what = f"advert to first GARP, {interval:g} s, {word}"
            print(Bound("P11", what, of(garps), of(anchors), GARP_LIMIT), flush=True)


if __name__ == "__main__":
    main()
