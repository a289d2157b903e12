"""Benchmark of memory: the proportional share (PSS) of all processes of a daemon, in MB.

With one VRRP instance; and with 10,000 real servers that are checked. For the latter ours has a
table in memory behind a socket, and keepalived is made to believe in one (``no_ipvs.c``; without a
C compiler it is left out).
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.checks import DELAY_LOOP, SERVERS, accepted, build_stub, farm, running, write_config
from bench.measure import Row, cpu_of_tree, wait_until
from bench.vrrp_link import Kind, link, wait_for
from support.fake_ipvs import FakeIpvs
from support.table_server import TableServer

from lvskeeper.health.spec import CheckKind
from lvskeeper.ipvs.dialect import MAINLINE

SETTLED: Final = 3.0
"""Seconds after which nothing of a start is left to do."""
START_LIMIT: Final = 120.0


def pss(pids: Iterable[int]) -> float:
    """Return the share of processes."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    found = (re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE) for text in rollups)
    return sum(int(match[1]) for match in found if match) / 1024


def with_vrrp() -> Row:
    """Compare both with one instance."""
    kinds = (Kind.OURS, Kind.KEEPALIVED)
    with tempfile.TemporaryDirectory() as name, link(kinds, Path(name), [1], 1.0) as pair:
        pair.first.start()
        pair.second.start()
        wait_for(lambda: bool(pair.from_first.adverts()), "no master", pair.first)
        time.sleep(SETTLED)
        return Row("P15", "memory, one VRRP instance, PSS in MB", pss(pair.first.tree()),
                   "keepalived", pss(pair.second.tree()), 25, 8)  # fmt: skip


def with_checks(folder: Path) -> Row:
    """Compare both with 10,000 real servers, in a TCP_CHECK each."""
    config = folder / "both.conf"
    write_config(CheckKind.TCP, config)
    with farm(folder), TableServer(FakeIpvs(MAINLINE), folder / "table"):
        ours = share([sys.executable, "-m", "support.on_table", str(folder / "table"), "run",
                      "-f", str(config), "--run-dir", str(folder / "run")], folder)  # fmt: skip
        theirs = 0.0
        if build_stub(folder):
            theirs = share(["keepalived", "-n", "-C", "-f", str(config), "-p",
                            str(folder / "k.pid"), "-c", str(folder / "c.pid"), "-l"],
                           folder, LD_PRELOAD=str(folder / "no_ipvs.so"))  # fmt: skip
    what = f"memory, {SERVERS:,} real servers, PSS in MB"
    return Row("P16", what, ours, "keepalived", theirs, 13, 7)


def share(words: list[str], folder: Path, **environment: str) -> float:
    """Return the share of a daemon that has checked all servers, and does so again."""
    with running(words, folder / "log", **environment) as process:
        before = accepted()
        wait_until(lambda: accepted() - before > SERVERS, START_LIMIT, pause=1)
        time.sleep(DELAY_LOOP + SETTLED)
        return pss(cpu_of_tree(process.pid))


def main() -> None:
    """Print the rows."""
    print(with_vrrp(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        print(with_checks(folder), flush=True)


if __name__ == "__main__":
    main()
