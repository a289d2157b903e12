"""Benchmark of IPVS programming and read-back; runs where ip_vs is, best in a counting VM.

Every case has a network namespace of its own: destinations that were deleted stay in the kernel's
trash for minutes and slow down every later addition in the same namespace.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Row, cpu_of, cpu_of_tree, wait_until
from support.bigconf import generate

SERVICES, DESTINATIONS = 1_000, 20
OURS = "bench.program_ours"


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    """Make a namespace with its loopback up; yield the words that run a command in it."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def ours(inside: Sequence[str], *, what: str) -> list[float]:
    """Return the CPU seconds of each round of one of our phases, which has its own process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*inside, sys.executable, "-m", OURS, what, str(SERVICES), str(DESTINATIONS)],
        capture_output=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        sys.exit(done.stderr.decode())
    rounds: list[float] = json.loads(done.stdout)
    return rounds


def keepalived(inside: Sequence[str], file: Path, folder: Path) -> dict[int, float]:
    """Return the CPU seconds of keepalived's processes from their start to a complete table."""
    process = subprocess.Popen(
        [*inside, "keepalived", "-n", "-C", "-f", str(file), "-p", str(folder / "k.pid"),
         "-c", str(folder / "c.pid"), "-l"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: count(inside) >= SERVICES * DESTINATIONS, 600, pause=2)
        return cpu_of_tree(process.pid)
    finally:
        stop(process)


def daemon(inside: Sequence[str], file: Path, folder: Path) -> dict[int, float]:
    """Return the CPU seconds of our daemon's processes from their start until it is ready."""
    process = subprocess.Popen(
        [*inside, sys.executable, "-m", "lvskeeper", "run", "-f", str(file), "--run-dir",
         str(folder / "run"), "--log-format", "json", "--log-level", "notice"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if '"daemon_ready"' in line:
                return cpu_of_tree(process.pid)
        sys.exit("our daemon did not become ready:\n" + "".join(said[-20:]))
    finally:
        stop(process)


def stop(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a daemon with its children, which go with their parent."""
    if process.stderr is not None:
        process.stderr.close()
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def count(inside: Sequence[str]) -> int:
    """Return the number of destinations, by netlink."""
    listing = subprocess.run([*inside, "ipvsadm", "-Sn"], capture_output=True, check=True)
    return listing.stdout.count(b"\n-a ") + listing.stdout.startswith(b"-a ")


def saved_rules(inside: Sequence[str]) -> bytes:
    """Return the table as ``ipvsadm -S`` writes it."""
    return subprocess.run([*inside, "ipvsadm", "-Sn"], capture_output=True, check=True).stdout


def main() -> None:
    """Print the rows."""
    size = f"{SERVICES:,} x {DESTINATIONS}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "big.conf"
        file.write_text(generate(SERVICES * DESTINATIONS, calm=True))
        with namespace("bench-ours") as inside:
            (programmed,) = ours(inside, what="program")
            first, later = ours(inside, what="noop")
            saving = cpu_of([*inside, "ipvsadm", "-Sn"])
            rules = saved_rules(inside)
        with namespace("bench-ipvsadm") as inside:
            restoring = cpu_of([*inside, "ipvsadm", "-R"], stdin=rules)
        with namespace("bench-keepalived") as inside:
            theirs = keepalived(inside, file, folder)
        with namespace("bench-daemon") as inside:
            whole = daemon(inside, file, folder)
    anchor = sum(theirs.values())
    start = "keepalived, from start"
    save = "ipvsadm -Sn"
    for row in (
        Row("P1", f"program {size}", programmed, start, anchor, 1, 0.6),
        Row("P2", f"program {size}", programmed, "ipvsadm -R", restoring, 0.5, 0.3),
        Row("P3", f"start, load, program {size}", sum(whole.values()), start, anchor, 2.5, 1.5),
        Row("P4", f"first read and compare of {size}", first, save, saving, 1.5, 0.9),
        Row("P4", f"later read and compare of {size}", later, save, saving, 1.5, 0.9),
    ):
        print(row)
    for who, seconds in (("ours", whole), ("keepalived's", theirs)):
        parts = " + ".join(f"{part:.2f}" for part in seconds.values())
        print(f"     P3 by process, {who}: {parts} s", flush=True)


if __name__ == "__main__":
    main()
