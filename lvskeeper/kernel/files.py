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


@final
class LocalFiles:
    """Files of this machine."""

    def read_text(self, path: str) -> str:
        """Return the text of *path*, undecodable bytes as U+FFFD; raise ``OSError``."""
        with Path(path).open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return data.decode("utf-8", errors="replace")

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the sorted regular files that *pattern* matches; ``{a,b}`` is understood."""
        found = {path for plain in expand_braces(pattern) for path in glob(plain)}  # noqa: PTH207 - patterns may be absolute
        return sorted(path for path in found if Path(path).is_file())


def expand_braces(pattern: str) -> list[str]:
    """Return the patterns that ``x{a,b}y`` stands for; unbalanced braces stay as they are."""
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
                    return [
                        pattern[:start] + inner + tail
                        for piece in pieces
                        for inner in expand_braces(piece)
                        for tail in rest
                    ]
            case _:
                pass
    return [pattern]
