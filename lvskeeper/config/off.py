"""Warnings that are switched off by their codes."""

from collections.abc import Sequence

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.codes import find_code, suggest_codes
from lvskeeper.config.diagnostics import Diagnostic, Severity
from lvskeeper.config.value_type import Kind, typed


@typed(Kind.WORDS, ("LK0324", "lk0328 LK0324"), ("x", "LK0324 LK9999"))
def codes_off(words: Sequence[str]) -> tuple[str, ...]:
    """Read ``warnings_off CODE ...``."""
    found: list[str] = []
    for index, word in enumerate(words[1:], 1):
        code = find_code(word)
        if code is None:
            raise BadValueError(index, f"'{word}' is no code of a diagnostic", suggest_codes(word))
        found.append(code.number)
    return tuple(found)


def without(
    diagnostics: Sequence[Diagnostic], codes: frozenset[str]
) -> tuple[tuple[Diagnostic, ...], int]:
    """Return what is told where the warnings of *codes* are not, and how many are not."""
    told = tuple(
        one for one in diagnostics if one.severity is Severity.ERROR or one.code.number not in codes
    )
    return told, len(diagnostics) - len(told)
