"""Where configuration text comes from, and places within it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, final


class Files(Protocol):
    """Access to files; the configuration room itself touches none."""

    def read_text(self, path: str) -> str:
        """Return the text of *path*, undecodable bytes as U+FFFD; raise ``OSError``."""
        ...

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the sorted paths that *pattern* matches; ``{a,b}`` is understood.

        Raises ``OSError`` for a pattern that cannot be looked for.
        """
        ...

    def exposed(self, path: str) -> bool:
        """Whether others than the owner of *path* can read or write it; raise ``OSError``."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file that was read; compared by identity, since a file may be included twice."""

    path: str
    text: str
    order: int = 0
    """Position in the order of reading; sorts diagnostics."""
    included_from: "Span | None" = None
    lines: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", self.text.split("\n"))

    @property
    def chain(self) -> tuple[str, ...]:
        """Paths from this file up to the first one."""
        paths: list[str] = []
        source: Source | None = self
        while source is not None:
            paths.append(source.path)
            source = source.included_from.source if source.included_from else None
        return tuple(paths)


@final
@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line; *line* and *column* count from 1."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"

    @property
    def text(self) -> str:
        """The characters that the span covers."""
        if self.line > len(self.source.lines):
            return ""
        start = self.column - 1
        return self.source.lines[self.line - 1][start : start + self.length]

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """Order of reading."""
        return (self.source.order, self.line, self.column)
