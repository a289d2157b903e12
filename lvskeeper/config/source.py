"""Where configuration text comes from, and places within it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, final


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

    def check_include(self, path: str) -> None:
        """Raise ``OSError`` where *path* is missing, no regular file, or executable."""
        ...


def _lowest(low: int, high: int) -> int:
    return min(low, high)


@final
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file may ask for that stands in no file."""

    config_id: str = ""
    """What ``@id`` lines are compared with, and ``${_INSTANCE}``."""
    folder: str = "/"
    """Where relative paths start."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment, for ``${_ENV NAME}``."""
    random: Callable[[int, int], int] = _lowest
    """A number within two bounds, for ``${_RANDOM}``."""


NOWHERE: Final = Surroundings()


@final
@dataclass(frozen=True, slots=True)
class Expansion:
    """What a line was read as, and the definitions that made it so."""

    text: str
    names: "tuple[tuple[str, Span | None], ...]"
    """Each ``$NAME``, and where it is defined; the standard ones are defined nowhere."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file that was read; compared by identity, since a file may be included twice."""

    path: str
    text: str
    order: int = 0
    """Position in the order of reading; sorts diagnostics."""
    included_from: "Span | None" = None
    expansion: Expansion | None = None
    """How definitions changed the one line that is looked at."""
    lines: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not self.lines:
            object.__setattr__(self, "lines", self.text.split("\n"))

    def through(self, expansion: Expansion) -> "Source":
        """Return this file as one line of it is seen through *expansion*."""
        return Source(self.path, self.text, self.order, self.included_from, expansion, self.lines)

    @property
    def is_yaml(self) -> bool:
        """Whether the file is of the other form, by its name."""
        return self.path.endswith((".yaml", ".yml"))

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
