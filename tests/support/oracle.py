"""keepalived's own verdict on a configuration, and ours."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.config.load import load
from lvskeeper.kernel.files import LocalFiles, local_surroundings

CONFIG_ID: Final = "host"
FIRST: Final = "first_probe"
"""Begins every file: the second of keepalived's passes is known by it."""

_UNKNOWN: Final = re.compile(
    r"\((?:(?P<file>.*): )?Line (?P<line>\d+)\) Unknown keyword '(?P<word>.*)'"
)


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What keepalived makes of a file."""

    good: bool
    words: tuple[tuple[int, str], ...]
    """Each keyword that is not known and its line; 0 for files that were included."""


def write(folder: Path, text: str, others: Mapping[str, str]) -> Path:
    """Write a configuration of several files; return the first."""
    for name, held in others.items():
        (folder / name).write_text(held)
        (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    path = folder / "a.conf"
    path.write_text(text)
    return path


def theirs(path: Path, patience: float = 20.0) -> Verdict:
    """Return what ``keepalived -t`` says; raise ``TimeoutExpired`` where it does not end."""
    command = ["keepalived", "-t", "-i", CONFIG_ID, "-f", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=patience, check=False)
    words: list[tuple[int, str]] = []
    for line in done.stderr.decode(errors="replace").splitlines():
        match = _UNKNOWN.fullmatch(line)
        if match is None:
            continue
        if match["file"] == str(path):
            break  # the second pass tells all again
        words.append((0 if match["file"] else int(match["line"]), match["word"]))
    return Verdict(done.returncode == 0, tuple(words))


def taken(path: Path) -> bool:
    """Tell whether lvskeeper takes the same file."""
    around = local_surroundings(CONFIG_ID)
    return load(str(path), LocalFiles(), around, allow_empty=True).config is not None
