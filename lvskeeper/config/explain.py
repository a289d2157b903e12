"""What a code means: its meaning, an example and the cure, for a terminal and for the page.

The meanings and cures are those of :mod:`lvskeeper.config.codes`; the examples are diagnostics of
the golden files, kept in examples.json by a test.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, printable

MAX_HINT: Final = 100
"""Characters of a hint that is an example; longer ones are lists."""

Example = Mapping[str, str]
"""``line``, ``carets``, ``severity``, ``message`` and ``hint`` of a diagnostic."""

_INTRO = """\
# Diagnostics

What `lvskeeper check` can say, by its code. `lvskeeper explain CODE` prints the same. This page is
made by the program (`python -m lvskeeper.cli.explain`).

An error refuses the file. A warning does not, and can be switched off: by `warnings_off CODE ...`
in `global_defs`, or by `--off CODE`.
"""


def make_example(found: Sequence[Diagnostic]) -> dict[str, str]:
    """Return what is shown of the first diagnostic that has a short hint, or of the first."""
    one = next((one for one in found if 0 < len(one.hint) < MAX_HINT), found[0])
    lines = one.span.source.lines
    line = lines[one.span.line - 1] if one.span.line <= len(lines) else ""
    text = printable(line.expandtabs(1))
    indent = len(text) - len(text.lstrip())
    carets = "^" * max(1, min(one.span.length, len(text) - one.span.column + 1))
    pad = " " * max(0, one.span.column - 1 - indent)
    return {
        "line": text.strip(),
        "carets": f"{pad}{carets}" if text.strip() else "",
        "severity": one.severity.value,
        "message": one.message,
        "hint": one.hint,
    }


def explain(code: Code, example: Example) -> str:
    """Return the text of one code for a terminal."""
    shown = "\n".join(f"    {line}" for line in _shown(example))
    return f"{code.number}: {code.meaning}\n\nExample:\n{shown}\n\nCure: {_cure(code, example)}\n"


def _cure(code: Code, example: Example) -> str:
    return code.cure or example["hint"]


def _shown(example: Example) -> list[str]:
    said = f"{example['severity']}: {example['message']}"
    if not example["line"]:
        return [said]
    return [example["line"], example["carets"], said]


def render(examples: Mapping[str, Example]) -> str:
    """Return docs/diagnostics.md."""
    parts = [_INTRO]
    for code in Code:
        example = examples[code.number]
        shown = "\n".join(_shown(example))
        cure = _cure(code, example)
        parts.append(f"## {code.number}\n\n{code.meaning}\n\n```\n{shown}\n```\n\nCure: {cure}\n")
    return "\n".join(parts)
