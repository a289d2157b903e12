"""Benchmark of ``lvskeeper check`` against ``keepalived -t`` on the same file (host, CPU time)."""

import sys
import tempfile
from pathlib import Path

from bench.measure import Row, alternately, cpu_of
from support.bigconf import generate

LVSKEEPER = (sys.executable, "-m", "lvskeeper")


def compare(goal: str, real_servers: int, *, aim: float, floor: float) -> Row:
    """Measure one file size, five runs each, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "big.conf")
        file.write_text(generate(real_servers))
        ours, anchor = alternately(
            5,
            lambda: cpu_of([*LVSKEEPER, "check", str(file)]),
            # keepalived calls warnings of all kinds 5; the file would run.
            lambda: cpu_of(["keepalived", "-t", "-f", str(file)], statuses=(0, 5)),
        )
    what = f"check of {real_servers:,} real servers"
    return Row(goal, what, ours, "keepalived -t", anchor, floor, aim)


def main() -> None:
    """Print the rows."""
    print(compare("P7", 1_000, aim=5, floor=15), flush=True)
    print(compare("P6", 10_000, aim=2, floor=3.5), flush=True)


if __name__ == "__main__":
    main()
