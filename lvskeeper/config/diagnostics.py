"""What is wrong with a configuration, told with its place, the line and a hint."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.source import Span

MAX_SHOWN: Final = 200
"""Most characters of a line that are shown."""


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
    return Diagnostic(Severity.ERROR, code, span, message, hint)


def warning(code: Code, span: Span, message: str, hint: str = "") -> Diagnostic:
    """Return a diagnostic that the operator should read."""
    return Diagnostic(Severity.WARNING, code, span, message, hint)


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
        before = text[: span.column - 1]
        # Tabs are kept, so that the caret stands under its word whatever the terminal's stops are.
        pad = "".join("\t" if char == "\t" else " " for char in before)
        carets = "^" * max(1, min(span.length, len(text) - len(before)))
        parts += [f"  {number} | {text}", f"  {' ' * len(number)} | {pad}{carets}"]
    if (expansion := span.source.expansion) is not None:
        parts.append(f"  read as: {_short(expansion.text)}")
        parts += [f"  {name} is set at {at}" for name, at in expansion.names if at is not None]
    included = span.source.included_from
    while included is not None:
        parts.append(f"  included from {included}")
        included = included.source.included_from
    if diagnostic.hint:
        parts.append(f"  hint: {diagnostic.hint}")
    return "\n".join(map(_printable, parts))


def _printable(text: str) -> str:
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
    message = "%0A".join(_printable(part).replace("%", "%25") for part in parts)
    path = _printable(span.source.path).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
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


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
