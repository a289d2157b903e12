"""Boots VM after VM and checks what comes out of each: ``make boots``, or ``boots.py COUNT``.

Each VM writes 10 MB, ends with a status of its own, and must leave no process and no file.
"""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = 10_000_000
STATUS = 7
WRITER = f"import sys; sys.stdout.write(('x' * 99 + '\\n') * {SIZE // 100}); sys.exit({STATUS})"
EXPECTED = hashlib.sha256((b"x" * 99 + b"\n") * (SIZE // 100)).hexdigest()


def boot() -> tuple[float, str]:
    """Boot one VM; return the seconds it took, and what was wrong."""
    started = time.monotonic()
    command = [sys.executable, "-m", "lvskeeper.lab", "run", "--"]
    child = subprocess.Popen(
        [*command, "/usr/bin/python3", "-c", WRITER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, said = child.communicate()
    took = time.monotonic() - started
    wrong = []
    if child.returncode != STATUS:
        wrong.append(f"status {child.returncode}: {said.decode()}")
    if hashlib.sha256(output).hexdigest() != EXPECTED:
        wrong.append(f"{len(output)} bytes came, and not the right ones")
    if said.count(b"booting") != 1 and b"KVM" not in said:
        wrong.append(f"more than one boot was needed: {said.decode()}")
    if left := list(Path(tempfile.gettempdir()).glob(f"lvskeeper-vm-{child.pid}-*")):
        wrong.append(f"left behind: {left}")
    return took, "; ".join(wrong)


def main() -> int:
    """Boot as often as the first argument says (20) and sum up."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times = []
    failures = 0
    for number in range(1, count + 1):
        took, wrong = boot()
        times.append(took)
        failures += bool(wrong)
        print(f"boot {number}/{count}: {took:.1f} s {wrong or 'ok'}", flush=True)  # noqa: T201 - a report to the person who waits
    print(  # noqa: T201 - see above
        f"{count} boots, {failures} failed; seconds from start to end:"
        f" min {min(times):.1f}, median {statistics.median(times):.1f}, max {max(times):.1f}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
