"""Benchmark of 255 instances at 0.1 s beside 2,000 checks a second: CPU, false alarms, take-over.

Pairs of routers run one after the other, A B A B: ours with ours, keepalived with keepalived, and
each with the other as peer, so that a role is also measured in the very same company. Both daemons
get the same file, with ``vrrp_rt_priority``. CPU is that of the VRRP process, by
``/proc/PID/schedstat``.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final, final

from bench.measure import Bound, Row
from bench.vrrp_link import Capture, Kind, Link, Router, link, wait_for

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace

VRIDS: Final = range(1, 256)
INTERVAL: Final = 0.1
SECONDS: Final = 60.0
"""How long each pair is measured, in all."""
SLICES: Final = 2
CHECKS: Final = 2000
"""TCP connects a second beside them."""
CALM: Final = 7.0
"""Seconds until the announcements of the start are repeated and over."""
OURS, THEIRS = Kind.OURS, Kind.KEEPALIVED
PAIRS: Final = ((OURS, OURS), (THEIRS, THEIRS), (OURS, THEIRS), (THEIRS, OURS))
"""Master and backup."""
SPREAD_LIMIT: Final = 2 * INTERVAL
"""Seconds for the take-over of all: the dead master's last adverts are up to an interval apart."""
LATE_LIMIT: Final = INTERVAL
"""Seconds by which an advert of a new master may be late during its take-over."""


@final
@dataclass
class Measured:
    """What one slice of one pair came to."""

    master: float
    """CPU seconds a second."""
    backup: float
    whole: tuple[float, float]
    """The same of all processes of master and backup."""
    alarms: int
    """Instances that became master, and adverts of the backup: all of them false."""
    late: int
    """How often one of ours said that it was late."""
    spread: float
    """Seconds from the first to the last instance that was taken over."""
    latest: float
    """By how many seconds an advert came too late in the second after the take-over."""
    garp: float
    """Longest time from the first advert of an instance to its gratuitous ARP."""


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _whole(router: Router) -> float:
    return sum(map(cpu, router.tree()))


def _speak(heard: Capture, since: float) -> bool:
    """Tell whether all instances have advertised since then."""
    return len({frame.vrid for frame in heard.adverts(since)}) == len(VRIDS)


def _measure(pair: Link, seconds: float) -> Measured:
    first, second = pair.first, pair.second
    first.start()
    wait_for(lambda: _speak(pair.from_first, 0.0), "not all are master", first)
    second.start()
    second.speaker()
    pair.from_first.close()  # it would cost as much as what is measured
    time.sleep(CALM)
    heard, taken = len(pair.from_second.adverts()), second.took_over()
    speakers = (first.speaker(), second.speaker())
    began, before = time.monotonic(), [*map(cpu, speakers), _whole(first), _whole(second)]
    time.sleep(seconds)
    lasted = time.monotonic() - began
    after = [*map(cpu, speakers), _whole(first), _whole(second)]
    used = [(new - old) / lasted for old, new in zip(before, after, strict=True)]
    alarms = len(pair.from_second.adverts()) - heard + second.took_over() - taken
    late = sum(router.log.read_text().count("vrrp_late") for router in (first, second))
    since = time.time()
    first.kill()
    wait_for(lambda: _speak(pair.from_second, since), "not all were taken over", second)
    time.sleep(1)
    spread, latest, garp = _take_over(pair.from_second, since)
    return Measured(used[0], used[1], (used[2], used[3]), alarms, late, spread, latest, garp)


def _take_over(heard: Capture, since: float) -> tuple[float, float, float]:
    adverts: dict[int, list[float]] = {vrid: [] for vrid in VRIDS}
    garps: dict[int, float] = {}
    for frame in heard.frames[:]:
        if frame.at > since and frame.priority >= 0:
            adverts[frame.vrid].append(frame.at)
        elif frame.at > since:
            garps.setdefault(frame.vrid, frame.at)
    firsts = [times[0] for times in adverts.values()]
    latest = max(
        later - earlier - INTERVAL
        for times in adverts.values()
        for earlier, later in pairwise(times)
    )
    garp = max(garps[vrid] - times[0] for vrid, times in adverts.items())
    return max(firsts) - min(firsts), latest, garp


def measure(
    pairs: Sequence[tuple[Kind, Kind]], seconds: float
) -> dict[tuple[Kind, Kind], list[Measured]]:
    """Measure the *pairs* in turn, *seconds* each in all, beside the checks."""
    found: dict[tuple[Kind, Kind], list[Measured]] = {kinds: [] for kinds in pairs}
    host = Namespace(f"{netns.laboratory_prefix()}-load")
    netns.run_ip(batch=[f"netns add {host.name}"])
    try:
        host.ip("link set lo up")
        load = host.python("-m", "bench.vrrp_load", str(CHECKS), stdout=subprocess.PIPE)
        for kinds in (*pairs,) * SLICES:
            with (
                tempfile.TemporaryDirectory() as name,
                link(kinds, Path(name), VRIDS, INTERVAL) as pair,
            ):
                found[kinds].append(_measure(pair, seconds / SLICES))
        load.terminate()
        assert load.stdout is not None
        rate = load.stdout.read().strip()
        print(f"     beside it, for the director: a process of its own with {rate} TCP connects/s")
    finally:
        netns.delete([host.name])
        host.reap()
    return found


def _print_cpu(found: dict[tuple[Kind, Kind], list[Measured]]) -> None:
    def master(*kinds: Kind) -> float:
        return fmean(each.master for each in found[kinds[0], kinds[1]])

    def backup(*kinds: Kind) -> float:
        return fmean(each.backup for each in found[kinds[0], kinds[1]])

    name = "keepalived, same"
    for row in (
        Row("P12", "master of 255 (s/s), backup of its kind", master(OURS, OURS), name,
            master(THEIRS, THEIRS), 1.2, 0.9),
        Row("P12", "same, keepalived as backup", master(OURS, THEIRS), name,
            master(THEIRS, THEIRS), 1.2, 0.9),
        Row("P13", "backup of 255 (s/s), master of its kind", backup(OURS, OURS), name,
            backup(THEIRS, THEIRS), 2.5, 1.5),
        Row("P13", "same, keepalived as master", backup(THEIRS, OURS), name,
            backup(THEIRS, THEIRS), 2.5, 1.5),
    ):  # fmt: skip
        print(row, flush=True)


def main(seconds: float = SECONDS) -> None:
    """Print the rows."""
    found = measure(PAIRS, seconds)
    _print_cpu(found)
    ours, theirs = found[OURS, OURS], found[THEIRS, THEIRS]
    alarms = sum(each.alarms for kinds in PAIRS if OURS in kinds for each in found[kinds])
    anchors = sum(each.alarms for each in theirs)
    print(Bound("P14", f"false master-downs in 3 x {seconds:g} s", alarms, anchors, 0))
    for what, mine, others, limit in (
        ("take-over of 255, first to last, s", [m.spread for m in ours],
         [m.spread for m in theirs], SPREAD_LIMIT),
        ("then the latest advert, s late", [m.latest for m in ours],
         [m.latest for m in theirs], LATE_LIMIT),
    ):  # fmt: skip
        print(Bound("P14", what, max(mine), max(others), limit))
    for who, each in (("ours", ours), ("keepalived's", theirs)):
        whole = [fmean(m.whole[role] for m in each) for role in (0, 1)]
        print(
            f"     {who}: all processes {whole[0]:.3f} s/s (master) and {whole[1]:.3f} (backup); "
            f"late {sum(m.late for m in each)} times; "
            f"last first GARP {max(m.garp for m in each) * 1000:.0f} ms after its advert",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
