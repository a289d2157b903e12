"""Benchmark of checks by whole daemons, where ip_vs is, in a VM that counts instructions as time.

So other load of the machine does not show; nor do caches, and what it costs to wake a process on
another CPU. Both daemons read the same file, in SCHED_RR.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.checks import (
    DELAY_LOOP,
    REAL_TIME,
    SERVERS,
    Found,
    accepted,
    farm,
    running,
    write_config,
)
from bench.measure import Row, cpu_of_tree, wait_until

from lvskeeper.health.spec import CheckKind

SECONDS: Final = 5.0
START_LIMIT: Final = 3600.0
"""Seconds of the guest, whose clock leaps ahead whenever it waits for a disk."""


def memory(pid: int) -> float:
    """Return the proportional share of a process and its children, in MB."""
    rollups = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in cpu_of_tree(pid))
    found = (re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE) for text in rollups)
    return sum(int(match[1]) for match in found if match) / 1024


def measure(words: list[str], log: Path) -> tuple[Found, float]:
    """Return what a daemon's checks cost, with all of its processes, and its memory."""
    with running([*REAL_TIME, *words], log) as process:
        before = accepted()
        wait_until(lambda: accepted() - before > SERVERS, START_LIMIT, pause=2)
        time.sleep(DELAY_LOOP)
        spent, count = sum(cpu_of_tree(process.pid).values()), accepted()
        began = time.monotonic()
        time.sleep(SECONDS)
        spent, count = sum(cpu_of_tree(process.pid).values()) - spent, accepted() - count - 1
        took = time.monotonic() - began
        share = memory(process.pid)
    failures = sum("failed" in line for line in log.read_text().splitlines())
    return Found(1e6 * spent / max(1, count), count / took, failures), share


def main() -> None:
    """Print the rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with farm(folder):
            for kind, goal in ((CheckKind.TCP, "P8"), (CheckKind.HTTP, "P9")):
                file, log = folder / "farm.conf", folder / "log"
                write_config(kind, file)
                mine, our_memory = measure(
                    [sys.executable, "-m", "lvskeeper", "run", "-f", str(file), "--run-dir",
                     str(folder / "run"), "--log-format", "json"], log,
                )  # fmt: skip
                theirs, their_memory = measure(
                    ["keepalived", "-n", "-C", "-f", str(file), "-p", str(folder / "k.pid"),
                     "-c", str(folder / "c.pid"), "-l"], log,
                )  # fmt: skip
                what = f"1,000 instr. a {kind.value}, {SERVERS:,} servers"
                print(Row(goal, what, mine.micro, "keepalived", theirs.micro, 1.0, 0.6))
                print(Row("P16", f"memory, {SERVERS:,} servers, PSS in MB", our_memory,
                          "keepalived", their_memory, 13, 7))  # fmt: skip
                for who, found in (("ours", mine), ("keepalived", theirs)):
                    print(f"     {goal} {who}: {found.rate:.0f} checks a second, "
                          f"{found.failures} failures", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
