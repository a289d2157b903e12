"""The patterns that braces in a pattern stand for, as ``glob(3)`` with ``GLOB_BRACE`` has it."""

import errno
from itertools import pairwise
from typing import Final

MAX_BRACES: Final = 64
"""Most opening braces of a pattern: each may double what it stands for."""

MAX_PATTERNS: Final = 1000
"""Most patterns that the braces of one may stand for."""


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
