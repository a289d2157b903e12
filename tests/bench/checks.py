"""Benchmark of checks: CPU time of each at 10,000 real servers, against keepalived's checker.

It runs on this host in a network namespace whose loopback has all the servers, one nginx. There
need be no IPVS: ours runs the director's loop of checks alone, and keepalived, which will not start
without, is made to believe in one (``no_ipvs.c``; without a C compiler it is left out). Both run in
SCHED_RR, in turn; then both without it, beside processes that take all the CPU they get.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from bench.checks_ours import PER_SERVICE, PORT, address
from bench.measure import Bound, Row

from lvskeeper.health.spec import CheckKind
from lvskeeper.lab.netns import inside

SERVERS: Final = 10_000
DELAY_LOOP: Final = 5
SECONDS: Final = 15.0
"""Of one measurement, after a start and a whole interval."""
SETTLING: Final = 3 * DELAY_LOOP
SPACE: Final = "bench-checks"
REAL_TIME: Final = ("chrt", "-r", "20")
WAIT_LIMIT: Final = 0.02
"""Seconds that others may wait for a turn of the loop; the aim of the house is half of it."""
NGINX: Final = f"""
daemon off; master_process off; error_log {{0}}/error.log; pid {{0}}/nginx.pid;
worker_rlimit_nofile 20000;
events {{{{ worker_connections 8192; }}}}
http {{{{
  access_log off;
  server {{{{
    listen 0.0.0.0:{PORT} backlog=4096;
    location / {{{{ return 200 "well"; }}}}
    location /count {{{{ stub_status; }}}}
  }}}}
}}}}
"""


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What a measurement found."""

    micro: float
    """Microseconds of CPU a check."""
    rate: float
    """Checks a second."""
    failures: int
    wait: float = 0.0
    longest: float = 0.0
    """Seconds that others waited for the loop, 99 % of them and the longest."""


@contextlib.contextmanager
def farm(folder: Path) -> Iterator[None]:
    """Run the real servers, all of them one nginx in a namespace of its own."""
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    try:
        subprocess.run(["ip", "-n", SPACE, "link", "set", "lo", "up"], check=True)
        subprocess.run(
            ["ip", "-n", SPACE, "route", "add", "local", "10.1.0.0/16", "dev", "lo"], check=True
        )
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder))
        # Real servers are other machines: what our load takes from them would be no false failure.
        words = [*REAL_TIME, "nginx", "-e", str(folder / "error.log"), "-c", str(config)]
        with running(words) as process:
            time.sleep(1)
            if process.poll() is not None:
                sys.exit("nginx ended at once")
            yield
    finally:
        subprocess.run(["ip", "netns", "delete", SPACE], check=True)


@contextlib.contextmanager
def running(
    words: list[str], log: Path = Path(os.devnull), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the namespace, and end it with all its children."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", SPACE, *words],
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def accepted() -> int:
    """Return how many connections the servers have taken so far."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/count") as answer:
            text: bytes = answer.read()
        return text.decode()

    found = re.search(r"^ (\d+) \d+ \d+", inside(SPACE, ask), re.MULTILINE)
    if found is None:
        sys.exit("nginx does not count")
    return int(found[1])


def ours(kind: CheckKind, rank: tuple[str, ...]) -> Found:
    """Measure our checks."""
    words = [*rank, sys.executable, "-m", "bench.checks_ours",
             kind.value, str(SERVERS), str(DELAY_LOOP), str(SECONDS)]  # fmt: skip
    done = subprocess.run(
        ["ip", "netns", "exec", SPACE, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found = json.loads(done.stdout)
    return Found(
        1e6 * found["cpu"] / found["made"],
        found["made"] / found["seconds"],
        found["failures"],
        found["wait"],
        found["longest"],
    )


def write_config(kind: CheckKind, file: Path) -> None:
    """Write the same farm for keepalived."""
    url = "url {\n path /\n status_code 200-299\n }\n" if kind is CheckKind.HTTP else ""
    check = f"{kind.value} {{\n {url}connect_timeout 3\n retry 2\n delay_before_retry 1\n }}\n"
    lines = []
    for number in range(SERVERS):
        if number % PER_SERVICE == 0:
            service = number // PER_SERVICE
            lines.append(
                f"virtual_server 198.18.{service >> 8}.{service & 255} 80 {{\n"
                f"delay_loop {DELAY_LOOP}\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n"
            )
        lines.append(f"real_server {address(number)} {PORT} {{\nweight 1\n{check}}}\n")
        if number % PER_SERVICE == PER_SERVICE - 1:
            lines.append("}\n")
    file.write_text("".join(lines))


def keepalived(kind: CheckKind, rank: tuple[str, ...], folder: Path) -> Found:
    """Measure keepalived's checks, by the processor time of its checker."""
    config, log = folder / "keepalived.conf", folder / "keepalived.log"
    write_config(kind, config)
    words = [*rank, "keepalived", "-n", "-C", "-f", str(config), "-p", str(folder / "k.pid"),
             "-c", str(folder / "c.pid"), "-l"]  # fmt: skip
    with running(words, log, LD_PRELOAD=str(folder / "no_ipvs.so")):
        time.sleep(SETTLING)
        checker = int((folder / "c.pid").read_text())
        spent, count, began = cpu_of(checker), accepted(), time.monotonic()
        time.sleep(SECONDS)
        spent, count = cpu_of(checker) - spent, accepted() - count - 1
        took = time.monotonic() - began
        failures = sum("failed" in line for line in log.read_text().splitlines())
    return Found(1e6 * spent / max(count, 1), count / took, failures)


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has had so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keep each processor busy with twice what it can do."""
    hogs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def build_stub(folder: Path) -> bool:
    """Make what keepalived needs to start here; return whether it could be made."""
    if shutil.which("cc") is None:
        return False
    source = Path(__file__).with_name("no_ipvs.c")
    made = ["cc", "-shared", "-fPIC", "-O2", "-o", str(folder / "no_ipvs.so"), str(source), "-ldl"]
    subprocess.run(made, check=True)
    return True


def compare(kind: CheckKind, goal: str, folder: Path, *, anchor: bool) -> None:
    """Print the rows of a kind, in SCHED_RR."""
    what = f"µs a {kind.value}, {SERVERS:,} servers"
    mine = ours(kind, REAL_TIME)
    theirs = keepalived(kind, REAL_TIME, folder) if anchor else Found(0, 0, 0)
    print(Row(goal, what, mine.micro, "keepalived", theirs.micro, 1.0, 0.6))
    print(f"     {goal} checks a second: ours {mine.rate:.0f}, keepalived's {theirs.rate:.0f}")
    print(f"     {goal} false failures: ours {mine.failures}, keepalived's {theirs.failures}")
    print(Bound("N2", f"loop waits beside {kind.value}s, 99 %", mine.wait, mine.longest,
                WAIT_LIMIT, "the longest"), flush=True)  # fmt: skip


def beside_load(kind: CheckKind, folder: Path, *, anchor: bool) -> None:
    """Print the rows of a kind without SCHED_RR, beside other load."""
    with load():
        mine = ours(kind, ())
        theirs = keepalived(kind, (), folder) if anchor else Found(0, 0, 0)
    print(Row("P10", f"µs a {kind.value}, beside load", mine.micro, "keepalived", theirs.micro,
              1.5, 1.1))  # fmt: skip
    print(Bound("P10", f"false failures of {kind.value}s beside load", mine.failures,
                theirs.failures, 0))  # fmt: skip
    print(f"     P10 checks a second: ours {mine.rate:.0f}, keepalived's {theirs.rate:.0f}",
          flush=True)  # fmt: skip


def main() -> None:
    """Print the rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        anchor = build_stub(folder)
        if not anchor:
            print("     without a C compiler keepalived's checks cannot be measured here")
        with farm(folder):
            for kind, goal in ((CheckKind.TCP, "P8"), (CheckKind.HTTP, "P9")):
                compare(kind, goal, folder, anchor=anchor)
            for kind in (CheckKind.TCP, CheckKind.HTTP):
                beside_load(kind, folder, anchor=anchor)


if __name__ == "__main__":
    main()
