"""CPU times of whole processes, and tables of ratios and limits."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

TICKS = os.sysconf("SC_CLK_TCK")


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: ours and the anchor's, in seconds of CPU if nothing is said."""

    goal: str
    what: str
    ours: float
    anchor_name: str
    anchor: float
    floor: float
    """The ratio that a release must not exceed."""
    aim: float

    def __str__(self) -> str:
        ratio = self.ours / self.anchor if self.anchor else float("nan")
        verdict = "aim met" if ratio <= self.aim else "ok" if ratio <= self.floor else "ABOVE"
        return (
            f"{self.goal:4} {self.what:40} {self.ours:8.3f}  {self.anchor_name:22}"
            f" {self.anchor:8.3f}  {ratio:5.3f}  {self.aim:4g}  {self.floor:5g}  {verdict}"
        )


@final
@dataclass(frozen=True, slots=True)
class Bound:
    """A value of ours that must not exceed a limit of its own; the anchor's is for comparison."""

    goal: str
    what: str
    ours: float
    anchor: float
    limit: float
    anchor_name: str = "keepalived"

    def __str__(self) -> str:
        verdict = "ok" if self.ours <= self.limit else "ABOVE"
        return (
            f"{self.goal:4} {self.what:40} {self.ours:8.4f}  {self.anchor_name:22}"
            f" {self.anchor:8.4f}  limit {self.limit:g}  {verdict}"
        )


HEADING = (
    f"{'goal':4} {'what':40} {'ours, s':>8}  {'anchor':22} {'s':>8}"
    f"  {'ratio':>5}  {'aim':>4}  {'floor':>5}  verdict"
)
"""Line above rows."""


def cpu_of(argv: Sequence[str], *, stdin: bytes = b"", statuses: Sequence[int] = (0,)) -> float:
    """Return the CPU seconds of one run of *argv* with all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in statuses:
        sys.exit(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of_tree(pid: int) -> dict[int, float]:
    """Return the CPU seconds so far of a running process and of each child, with reaped ones."""
    seconds = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number, parent = int(stat.parent.name), int(fields[1])
        if pid in (number, parent):
            seconds[number] = sum(map(int, fields[11:15])) / TICKS
    return dict(sorted(seconds.items()))


def alternately(
    count: int, first: Callable[[], float], second: Callable[[], float]
) -> tuple[float, float]:
    """Run both *count* times, A B A B, and return the median of each."""
    pairs = [(first(), second()) for _ in range(count)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def wait_until(condition: Callable[[], bool], limit: float, pause: float = 0.5) -> None:
    """Poll *condition*; end the benchmark when it does not come true."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("what the benchmark waits for did not happen")
        time.sleep(pause)
