"""Files for the configuration room: the real implementation of its ``Files`` protocol."""

import errno
import os
from collections.abc import Sequence
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Final, final

MAX_SIZE: Final = 256 * 1024 * 1024
"""Largest file that is read, in bytes."""


MAX_BRACES: Final = 64
"""Most opening braces of a pattern: each may double what it stands for."""

MAX_PATTERNS: Final = 1000
"""Most patterns that the braces of one may stand for."""


def _check_name(path: str) -> None:
    if "\0" in path:
        raise OSError(errno.EINVAL, "the name holds a NUL character", path)


@final
class LocalFiles:
    """Files of this machine."""

    def read_text(self, path: str) -> str:
        """Return the text of *path*, undecodable bytes as U+FFFD; raise ``OSError``."""
        _check_name(path)
        with Path(path).open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return data.decode("utf-8", errors="replace")

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the sorted regular files that *pattern* matches; ``{a,b}`` is understood.

        Raises ``OSError`` for a NUL character, and where braces stand for too much.
        """
        _check_name(pattern)
        found = {path for plain in expand_braces(pattern) for path in glob(plain)}  # noqa: PTH207 - patterns may be absolute
        return sorted(path for path in found if Path(path).is_file())

    def exposed(self, path: str) -> bool:
        """Whether others than the owner of *path* can read or write it; raise ``OSError``."""
        _check_name(path)
        return bool(Path(path).stat().st_mode & 0o066)


def expand_braces(pattern: str) -> list[str]:
    """Return the patterns that ``x{a,b}y`` stands for; unbalanced braces stay as they are.

    Raises ``OSError`` with more than :data:`MAX_BRACES` braces or :data:`MAX_PATTERNS` patterns.
    """
    if pattern.count("{") > MAX_BRACES:
        raise OSError(errno.E2BIG, f"more than {MAX_BRACES} braces in the pattern", pattern)
    start = pattern.find("{")
    depth = 0
    commas: list[int] = []
    for index in range(max(start, 0), len(pattern)) if start >= 0 else ():
        match pattern[index]:
            case "{":
                depth += 1
            case "," if depth == 1:
                commas.append(index)
            case "}":
                depth -= 1
                if depth == 0:
                    cuts = [start, *commas, index]
                    pieces = [pattern[left + 1 : right] for left, right in pairwise(cuts)]
                    rest = expand_braces(pattern[index + 1 :])
                    inners = [inner for piece in pieces for inner in expand_braces(piece)]
                    if len(inners) * len(rest) > MAX_PATTERNS:
                        reason = f"the pattern stands for more than {MAX_PATTERNS} others"
                        raise OSError(errno.E2BIG, reason, pattern)
                    return [pattern[:start] + inner + tail for inner in inners for tail in rest]
            case _:
                pass
    return [pattern]
