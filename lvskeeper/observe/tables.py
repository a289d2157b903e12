"""Plain text for terminals: aligned columns, and ages that read at a glance."""

from collections.abc import Iterable, Sequence
from typing import Final

GAP: Final = "  "
"""Between two columns."""


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return *rows* under *head*, a line each, the columns as wide as what is in them.

    A cell that is empty is shown as a dash, so that ``awk`` finds the same columns in each line.
    """
    lines = [list(head), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def format_age(seconds: float | None) -> str:
    """Return a length of time by its two greatest units: ``0.4 s``, ``3 min 5 s``, ``2 d 4 h``.

    Nothing where there is none.
    """
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {lower}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def count(number: int, thing: str) -> str:
    """Return ``1 server``, ``3 servers``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def in_words(names: Sequence[str], *, shown: int = 3) -> str:
    """Return the first *names*, and how many more there are."""
    more = len(names) - shown
    text = ", ".join(names[:shown])
    return f"{text} and {more} more" if more > 0 else text
