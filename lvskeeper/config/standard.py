"""The definitions that keepalived brings along: ``${_PWD}``, ``${_INSTANCE}`` and the like."""

import posixpath
import re
from typing import Final

from lvskeeper.config.source import Surroundings

MOST_WORDS: Final = {"_PWD": 0, "_INSTANCE": 0, "_HASH": 0, "_BANG": 0, "_ENV": 1, "_RANDOM": 2}
"""The standard definitions, and how many words each takes behind its name."""

_NUMBER: Final = re.compile(r"-?\d{1,9}", re.ASCII)
_RANDOM_MAX: Final = 32_767


def standard(name: str, words: list[str], path: str, surroundings: Surroundings) -> str:
    """Return what a standard definition stands for in the file *path*.

    Raises ``ValueError`` with the reason where *words* do not fit.
    """
    most = MOST_WORDS[name]
    if len(words) > most:
        raise ValueError(f"{name} takes {most} words at most" if most else f"{name} takes no words")
    match name:
        case "_PWD":
            folder = posixpath.join(surroundings.folder, posixpath.dirname(path))
            return posixpath.normpath(folder)
        case "_INSTANCE":
            return surroundings.config_id
        case "_ENV":
            return _variable(words, surroundings)
        case "_RANDOM":
            return _random(words, surroundings)
        case _:
            return {"_HASH": "#", "_BANG": "!"}[name]


def _variable(words: list[str], surroundings: Surroundings) -> str:
    if not words:
        raise ValueError("the name of a variable is missing")
    if words[0] not in surroundings.variables:
        raise ValueError(f"the environment has no variable {words[0]}")
    return surroundings.variables[words[0]]


def _random(words: list[str], surroundings: Surroundings) -> str:
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise ValueError("its bounds are whole numbers")
    low, high = (*map(int, words), *(0, _RANDOM_MAX)[len(words) :])
    if low > high:
        raise ValueError("the lower bound is above the upper one")
    return str(surroundings.random(low, high))
