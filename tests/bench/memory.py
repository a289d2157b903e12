"""Benchmark of memory: the proportional share (PSS) of all processes with one VRRP instance."""

import re
import tempfile
import time
from pathlib import Path

from bench.measure import Row
from bench.vrrp_link import Kind, Router, link, wait_for

SETTLED = 3.0
"""Seconds after which nothing of a start is left to do."""


def pss(router: Router) -> float:
    """Return the share of all its processes in MB."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in router.tree())
    found = (re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE) for text in rollups)
    return sum(int(match[1]) for match in found if match) / 1024


def main() -> None:
    """Print the row."""
    kinds = (Kind.OURS, Kind.KEEPALIVED)
    with tempfile.TemporaryDirectory() as name, link(kinds, Path(name), [1], 1.0) as pair:
        pair.first.start()
        pair.second.start()
        wait_for(lambda: bool(pair.from_first.adverts()), "no master", pair.first)
        time.sleep(SETTLED)
        row = Row("P15", "memory, one VRRP instance, PSS in MB", pss(pair.first),
                  "keepalived", pss(pair.second), 25, 8)  # fmt: skip
    print(row, flush=True)


if __name__ == "__main__":
    main()
