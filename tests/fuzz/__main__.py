"""A million inputs for lexer, directives and builder: ``make fuzz``.

Inputs are made by chance of those that :mod:`fuzz.seeds` gathers. One that is told something that
no other was is kept, and made more of; so the inputs find their way by what they come to. An input
that raises or takes too long ends the run and is written to a file, and so does memory that grows.
"""

import argparse
import json
import random
import re
import resource
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Final, final

from fuzz.seeds import seeds
from fuzz.target import SPLIT, judge

from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.load import Loaded

RUNS: Final = 1_000_000
SLOW: Final = 5.0
"""Seconds of CPU that one input may take."""
GROWTH: Final = 128
"""MiB that the process may grow by, once it has warmed up."""
WARM: Final = 20_000
LONGEST: Final = 700
"""Characters of an input; what is longer is cut somewhere."""
POOL: Final = 4_000
FINDINGS: Final = 50_000
"""Then inputs are made of those that there are: what is remembered has to end somewhere."""

_OTHERS: Final = re.compile(r"'[^']*'?|[^a-z ]")
"""What differs in messages of one kind: what they quote, numbers, names of keywords in capitals."""
PIECES: Final = (
    "$", "${", "}", "{", "$A", "$A=", "${A}", "${B}", "$B=", "$i", "${i}", "\\\n", "\n", " ", '"',
    "~SEQ(i, 1, 3) ", "~SEQ(", "~SEQx(", "~LST(", "~LST({i, A}, ", "{x, y}", ")", ",", "0x", "-1",
    "9", "@one ", "@^one ", "@", "#", "!", "\\#", "\\", "'", "_", "é", "\t", "\r", "\0", ";",
    "${_PWD}", "${_ENV E}", "${_RANDOM 1 2}", "include b.inc\n", "includeb {a,b}.inc\n", SPLIT,
    "{{ x }}", "@x@", "<%", "\ufeff", "include_check\n", "compat keepalived\n", "- ", ": ", "[",
    "]", "&a ", "*a", "99999999999", "255", "0", "1.5", "2s", "192.0.2.1", "2001:db8::1", "yes",
    "no", " # why\n", *(f"{name} " for table in BLOCKS.values() for name in table),
)  # fmt: skip


@final
class Fuzzer:
    """Makes inputs of those that came to something new."""

    def __init__(self, seed: int, found: Path | None) -> None:
        self.random = random.Random(seed)
        self.pool = seeds()
        self.seen: set[object] = set()
        self.found = found

    def make(self) -> str:
        """Return an input."""
        rng = self.random
        text = rng.choice(self.pool)
        if len(text) > LONGEST:
            lines = text.splitlines(keepends=True)
            start = rng.randrange(len(lines))
            text = "".join(lines[start : start + rng.randint(1, 25)])[:LONGEST]
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            text = self.change(text)
        return text

    def change(self, text: str) -> str:
        """Return *text* with one change."""
        rng = self.random
        at = rng.randint(0, len(text))
        end = min(len(text), at + rng.choice((1, 1, 2, 4, 9, 40)))
        match rng.randrange(6):
            case 0:
                return text[:at] + text[end:]
            case 1:
                return text[:at] + text[at:end] * 2 + text[end:]
            case 2:
                other = rng.choice(self.pool)
                start = rng.randint(0, len(other))
                return text[:at] + other[start : start + rng.randint(1, 80)] + text[at:]
            case 3:
                return text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800))))
            case _:
                return text[:at] + rng.choice(PIECES) + text[at if rng.random() < 0.5 else end :]

    def keep(self, text: str, loaded: Loaded) -> None:
        """Keep *text* if it came to what no other did."""
        codes = sorted({one.code.number for one in loaded.diagnostics})[:6]
        words = {
            one.code.number + _OTHERS.sub("", one.message)[:30] for one in loaded.diagnostics[:3]
        }
        new = {*words, *combinations(codes, 2), *codes} - self.seen
        if not new or len(text) > LONGEST or len(self.seen) > FINDINGS:
            return
        self.seen.update(new)
        if len(self.pool) < POOL:
            self.pool.append(text)
        else:
            self.pool[self.random.randrange(len(self.pool))] = text
        if self.found is not None:
            with self.found.open("a") as file:
                file.write(f"{json.dumps(text)}\n")


def _size() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Run; return 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=RUNS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, help="file that gets what comes to something new")
    args = parser.parse_args()
    fuzzer = Fuzzer(args.seed, args.found)
    began, warm, slowest = time.monotonic(), 0, 0.0
    for number in range(1, args.runs + 1):
        text = fuzzer.make()
        started = time.process_time()
        try:
            loaded = judge(text)
            took = time.process_time() - started
            assert took < SLOW, f"{took:.1f} s"
        except Exception:
            Path("fuzz-failure.txt").write_text(text)
            print(f"input {number} failed; it is in fuzz-failure.txt", flush=True)
            raise
        slowest = max(slowest, took)
        fuzzer.keep(text, loaded)
        if number == WARM:
            warm = _size()
        if number % WARM == 0:
            rate = number / (time.monotonic() - began)
            print(f"{number:,} inputs, {rate:.0f}/s, {len(fuzzer.seen)} findings, {_size()} MiB, "
                  f"slowest {slowest * 1000:.0f} ms", flush=True)  # fmt: skip
            if _size() - warm > GROWTH:
                print(f"memory grew from {warm} to {_size()} MiB")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
