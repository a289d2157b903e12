"""Benchmark of a reload of 1,000 virtual servers of which one has changed, against keepalived's.

It runs on this host, without IPVS: ours has a table in memory behind a socket, which answers in
another process, and keepalived is made to believe in one (``no_ipvs.c``; without a C compiler it is
left out). So neither has the kernel's part in its CPU time, which is that of all its processes,
those that loaded the file included.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.measure import Row, cpu_of_tree, wait_until
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace
from support.table_server import TableServer

from lvskeeper.cli.client import Client
from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.observe.snapshot import ReloadView

SERVICES: Final = 1_000
RELOADS: Final = 5
REST: Final = 2.0
"""Seconds without a tick of CPU after which a reload counts as over."""


def text(weight: int) -> str:
    """Return the file; *weight* is that of one real server of the first virtual server."""
    parts = []
    for number in range(SERVICES):
        servers = "".join(
            f"  real_server 10.{place}.{number >> 8}.{number & 255} 8080 {{\n"
            f"    weight {weight if number == place == 0 else 10}\n"
            "    TCP_CHECK {\n      connect_timeout 3\n    }\n  }\n"
            for place in range(2)
        )
        parts.append(
            f"virtual_server 198.18.{number >> 8}.{number & 255} 80 {{\n"
            "  delay_loop 36000\n  warmup 36000\n"
            f"  lb_algo wlc\n  lb_kind NAT\n  protocol TCP\n{servers}}}\n"
        )
    return "".join(parts)


def measure(process: subprocess.Popen[bytes], file: Path, reload: Callable[[], None]) -> float:
    """Return the CPU seconds of a reload by *process*, which returns when it is over; a median."""
    found = []
    for turn in range(RELOADS):
        before = total(process)
        file.write_text(text(11 + turn))
        reload()
        found.append(total(process) - before)
    return statistics.median(found)


def total(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU seconds so far of a daemon with all its processes."""
    return sum(cpu_of_tree(process.pid).values())


def at_rest(process: subprocess.Popen[bytes]) -> None:
    """Wait until a daemon has done all that it was to do."""
    seen, since = total(process), time.monotonic()
    while time.monotonic() - since < REST:
        time.sleep(0.2)
        if (now := total(process)) - seen > 0.02:
            seen, since = now, time.monotonic()


def ours(folder: Path) -> tuple[float, float]:
    """Return what a reload costs us, and how long the last one took."""
    file, run_dir = folder / "ours.conf", folder / "run"
    file.write_text(text(10))
    client = Client(run_dir)
    took: list[float] = []

    def is_there() -> bool:
        try:
            client.snapshot()
        except OperatorError:
            return False
        return True

    def reload() -> None:
        took.append(client.post("/reload", {}, ReloadView, 120.0).took)

    with empty_namespace(), TableServer(FakeIpvs(MAINLINE), folder / "kernel") as server:
        words = [sys.executable, "-m", "support.on_table", str(server.path), "run"]
        words += ["-f", str(file), "--run-dir", str(run_dir)]
        with (folder / "ours.log").open("wb") as log:
            process = subprocess.Popen(words, stderr=log, start_new_session=True)
        try:
            wait_until(is_there, 120)
            time.sleep(REST)
            return measure(process, file, reload), took[-1]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def theirs(folder: Path) -> float | None:
    """Return what a reload costs keepalived, or nothing where it cannot be measured."""
    compiler, library = shutil.which("cc"), folder / "no_ipvs.so"
    if compiler is None or shutil.which("keepalived") is None:
        return None
    source = Path(__file__).with_name("no_ipvs.c")
    made = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(made, check=True)
    file = folder / "theirs.conf"
    file.write_text(text(10))
    words = ["keepalived", "-n", "-C", "-l", "-f", str(file), "-p", str(folder / "k.pid")]
    words += ["-c", str(folder / "c.pid")]
    with empty_namespace(), (folder / "theirs.log").open("wb") as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "LD_PRELOAD": str(library)},
        )  # fmt: skip
        try:
            time.sleep(REST)
            if process.poll() is not None:
                sys.exit("keepalived ended at once")
            at_rest(process)

            def reload() -> None:
                process.send_signal(signal.SIGHUP)
                at_rest(process)

            return measure(process, file, reload)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Print the row."""
    with tempfile.TemporaryDirectory() as name:
        cost, took = ours(Path(name))
        anchor = theirs(Path(name))
    what = f"reload of {SERVICES} services, 1 changed"
    if anchor is None:
        print(f"     {what}: {cost:.3f} s of CPU; keepalived or a C compiler is not here")
    else:
        print(Row("-", what, cost, "keepalived, SIGHUP", anchor, 1.0, 0.6))
    print(f"     {what}: in force and verified {took:.2f} s after it was asked for")


if __name__ == "__main__":
    main()
