"""Sessions in the docs: what they show, a shell that says it again, and where the two differ.

A session is a fenced block of the kind ``console``: lines that begin with ``# `` are commands, the
lines behind each are what it prints. ``...`` alone on a line stands for any lines, at the end of a
line for any rest of it. Times, lengths of time, process ids and versions are all alike, and so are
spaces: columns are as wide as what they hold.
"""

import contextlib
import difflib
import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

PROMPT: Final = "# "
ANY: Final = "..."
MARK: Final = "--end-of-the-command--"
_VARYING: Final = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "TIME"),
    (r"\b\d+(?:\.\d+)? (?:ms|s|min|h|d)\b(?: \d+ (?:s|min|h)\b)?", "AGE"),
    (r"\bpid \d+", "PID"),
    (r"\blvskeeper \d+\.\d+\.\d+", "VERSION"),
)


@dataclass(frozen=True)
class Step:
    """A command, what the page shows of its output, and where."""

    command: str
    shown: tuple[str, ...]
    line: int


def steps_of(page: str) -> list[Step]:
    """Return the commands of all sessions of *page*, in order."""
    steps = []
    for block in re.finditer(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        first = page.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        starts = [at for at, line in enumerate(lines) if line.startswith(PROMPT)]
        assert starts[:1] == [0], f"line {first}: a session begins with a command"
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            command = lines[start].removeprefix(PROMPT)
            steps.append(Step(command, tuple(lines[start + 1 : end]), first + start))
    return steps


def plain(line: str) -> str:
    """Return *line* without what varies from run to run."""
    for pattern, name in _VARYING:
        line = re.sub(pattern, name, line)
    return " ".join(line.split())


def is_as_shown(shown: Sequence[str], said: Sequence[str]) -> bool:
    """Return whether *said* is what a page has *shown*."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == ANY else f"{_pattern(plain(line))}\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in said)) is not None


def _pattern(line: str) -> str:
    whole = line.removesuffix(ANY)
    return re.escape(whole.rstrip()) + (".*" if whole != line else "")


def differences(step: Step, said: Sequence[str]) -> str:
    """Return how *said* differs from what the page shows; the lines that agree are the page's."""
    known = {plain(line): line for line in step.shown}
    ours = [known.get(plain(line), line) for line in said]
    lines = difflib.unified_diff(step.shown, ours, "shown", "said", lineterm="", n=99)
    return f"line {step.line}: {PROMPT}{step.command}\n" + "\n".join(lines)


class ShellError(Exception):
    """A command that did not end, or that has ended the shell."""


class Shell:
    """A bash that runs one command after the other, with everything that they leave behind."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=self._environment,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait(30)

    def run(self, command: str, limit: float) -> list[str]:
        """Return the lines that *command* prints, on whichever stream."""
        assert self._process.stdin is not None
        # What follows must not be read by it, and $? is to be its status for the next one.
        self._process.stdin.write(
            f"{{\n{command}\n}} </dev/null\nlast=$?\nprintf '\\n{MARK}\\n'\n(exit $last)\n".encode()
        )
        self._process.stdin.flush()
        return self._read(command, limit).splitlines()

    def _read(self, command: str, limit: float) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        kept = ""
        descriptor = self._process.stdout.fileno()
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left)[0]:
                break
            data = os.read(descriptor, 65536).decode(errors="replace")
            if not data:
                raise ShellError(f"{command}: the shell has ended: {kept}")
            kept += data
            if kept.endswith(f"\n{MARK}\n"):
                return kept.removesuffix(f"\n{MARK}\n")
        raise ShellError(f"{command}: not done within {limit:g} s; so far: {kept}")
