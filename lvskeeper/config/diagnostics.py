"""What is wrong with a configuration, told with its place, the line and a hint."""

import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.source import Span

MAX_SHOWN: Final = 200
"""Most characters of a line that are shown."""

MAX_MESSAGE: Final = 600
"""Most characters of a message; some name what a file may have as long as it likes."""

BEFORE: Final = 60
"""Characters that are shown before the caret where a line is too long to be shown whole."""


@final
class Severity(Enum):
    """An error refuses the configuration, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@final
@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding."""

    severity: Severity
    code: Code
    span: Span
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.span}: {self.severity.value}: {self.message} [{self.code.number}]"


def error(code: Code, span: Span, message: str, hint: str = "") -> Diagnostic:
    """Return a diagnostic that refuses the configuration."""
    return Diagnostic(Severity.ERROR, code, span, _short(message, MAX_MESSAGE), hint)


def warning(code: Code, span: Span, message: str, hint: str = "") -> Diagnostic:
    """Return a diagnostic that the operator should read."""
    return Diagnostic(Severity.WARNING, code, span, _short(message, MAX_MESSAGE), hint)


@final
class LimitError(Exception):
    """A configuration goes over a limit; reading ends with *diagnostic*."""

    def __init__(self, span: Span, message: str) -> None:
        super().__init__(message)
        self.diagnostic = error(Code.LIMIT, span, message, "nothing after it is read")


def render_text(diagnostic: Diagnostic) -> str:
    """Return the diagnostic as a terminal shows it: place, line, caret line, hint."""
    span = diagnostic.span
    parts = [str(diagnostic)]
    lines = span.source.lines
    text = lines[span.line - 1].rstrip() if 0 < span.line <= len(lines) else ""
    if text:
        number = str(span.line)
        shown, before, under = _window(text, span)
        # Tabs are kept, so that the caret stands under its word whatever the terminal's stops are.
        pad = "".join("\t" if char == "\t" else " " * _width(char) for char in before)
        carets = "^" * max(1, sum(map(_width, under)))
        parts += [f"  {number} | {shown}", f"  {' ' * len(number)} | {pad}{carets}"]
    if (expansion := span.source.expansion) is not None:
        parts.append(f"  read as: {_short(expansion.text)}")
        parts += [f"  {name} is set at {at}" for name, at in expansion.names if at is not None]
    included = span.source.included_from
    while included is not None:
        parts.append(f"  included from {included}")
        included = included.source.included_from
    if diagnostic.hint:
        parts.append(f"  hint: {diagnostic.hint}")
    return "\n".join(map(printable, parts))


def _window(text: str, span: Span) -> tuple[str, str, str]:
    """Return what is shown of a line, what of it stands before the caret, and what above it."""
    start = span.column - 1
    under = text[start : start + span.length]
    if len(text) <= MAX_SHOWN:
        return text, text[:start], under
    first = max(0, min(start - BEFORE, len(text) - MAX_SHOWN))
    last = first + MAX_SHOWN
    head, tail = "..." if first else "", "..." if last < len(text) else ""
    return f"{head}{text[first:last]}{tail}", head + text[first:start], under[: last - start]


def _width(char: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if char.isascii():
        return 1
    if not char.isprintable():
        return 1  # U+FFFD is shown in its place
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def printable(text: str) -> str:
    """Return *text* with nothing in it that a terminal takes for a control sequence."""
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


def render_github(diagnostic: Diagnostic) -> str:
    """Return the diagnostic as a workflow command: GitHub shows it at its line of the file.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    span = diagnostic.span
    parts = [f"{diagnostic.message} [{diagnostic.code.number}]"]
    if (expansion := span.source.expansion) is not None:
        parts.append(f"read as: {_short(expansion.text)}")
    if diagnostic.hint:
        parts.append(f"hint: {diagnostic.hint}")
    message = "%0A".join(printable(part).replace("%", "%25") for part in parts)
    path = printable(span.source.path).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    place = f"line={span.line},col={span.column},endColumn={span.column + span.length - 1}"
    return f"::{diagnostic.severity.value} file={path},{place}::{message}"


def as_json(diagnostic: Diagnostic) -> dict[str, object]:
    """Return the diagnostic as plain data for JSON."""
    span = diagnostic.span
    chain: list[str] = []
    included = span.source.included_from
    while included is not None:
        chain.append(str(included))
        included = included.source.included_from
    return {
        "severity": diagnostic.severity.value,
        "code": diagnostic.code.number,
        "path": span.source.path,
        "line": span.line,
        "column": span.column,
        "length": span.length,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "included_from": chain,
        **_expansion(span),
    }


def _expansion(span: Span) -> dict[str, object]:
    expansion = span.source.expansion
    if expansion is None:
        return {}
    names = {name: str(at) if at else "" for name, at in expansion.names}
    return {"read_as": _short(expansion.text), "definitions": names}


def _short(text: str, most: int = MAX_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
