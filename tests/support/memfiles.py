"""Files that live in memory, for the configuration room."""

import errno
import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from typing import final


@final
class MemoryFiles:
    """A ``Files`` whose contents are given."""

    def __init__(self, texts: Mapping[str, str], exposed: Collection[str] = ()) -> None:
        self.texts = texts
        self.open = exposed

    def read_text(self, path: str) -> str:
        try:
            return self.texts[posixpath.normpath(path)]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def glob(self, pattern: str) -> Sequence[str]:
        return sorted(path for path in self.texts if fnmatch(path, pattern))

    def exposed(self, path: str) -> bool:
        return path in self.open

    def check_include(self, path: str) -> None:
        self.read_text(path)


@final
class MemoryHost:
    """A ``Host`` that is given; *broken* are commands, and why they cannot be run."""

    def __init__(
        self, interfaces: Collection[str], broken: Mapping[str, str], speed: int = 0
    ) -> None:
        self.known = interfaces
        self.broken = broken
        self.speed = speed

    def interfaces(self) -> Collection[str]:
        return self.known

    def megabits(self, _interface: str) -> int:
        return self.speed

    def problem(self, argv: Sequence[str]) -> str:
        return self.broken.get(argv[0], "")
