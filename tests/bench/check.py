"""Benchmark of ``lvskeeper check`` against ``keepalived -t`` on the same file (host, CPU time)."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Bound, Row, alternately, cpu_of
from support.bigconf import generate

LVSKEEPER = ("env", "-u", "PYTHONDONTWRITEBYTECODE", sys.executable, "-m", "lvskeeper")
"""With its bytecode, as it is installed."""


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


def linear(real_servers: int, times: int, *, limit: float) -> Bound:
    """Measure how much more *times* as many real servers cost; start-up is left out."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("none.conf", "few.conf", "many.conf")]
        for file, count in zip(files, (20, real_servers, times * real_servers), strict=True):
            file.write_text(generate(count))

        def growth(command: Sequence[str]) -> float:
            none, few, many = (
                min(cpu_of([*command, str(file)], statuses=(0, 5)) for _ in range(3))
                for file in files
            )
            return (many - none) / (few - none)

        ours, theirs = growth([*LVSKEEPER, "check"]), growth(["keepalived", "-t", "-f"])
    what = f"{real_servers * times:,} real servers, times {real_servers:,}"
    return Bound("P6", what, ours, theirs, limit)


def main() -> None:
    """Print the rows."""
    print(compare("P7", 1_000, aim=5, floor=15), flush=True)
    print(compare("P6", 10_000, aim=2, floor=3.5), flush=True)
    # Ten times would be it; caches take their part of both programs. A quadratic step makes it 100.
    print(linear(10_000, 10, limit=15), flush=True)


if __name__ == "__main__":
    main()
