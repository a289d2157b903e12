"""Files of a configuration: how they are opened, and what an ``include`` names.

keepalived (lib/parser.c) has six forms that differ in how strict they are. They mean here what they
mean there, but for the plain one: a file that is named and missing is an error, since a reload
without it would take services away. ``includer`` is the form for a file that may be missing.
"""

import posixpath
from collections.abc import Sequence
from typing import Final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.braces import expand_braces
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.source import Files, Source, Span
from lvskeeper.config.value_type import Kind, typed

INCLUDES: Final = frozenset({"include", "includer", "includem", "includew", "includeb", "includea"})

MAX_DEPTH: Final = 32
"""Most includes within one another; a loop through links ends here."""

MAX_FILES: Final = 10_000
"""Most files of one configuration; links can make a loop that branches."""

_MAY_MISS: Final = frozenset({"includer", "includeb"})
_WILD: Final = frozenset({"includew", "includea"})
_BRACES: Final = frozenset({"includeb", "includea"})

CHECKS: Final = ("read", "match", "wildcard_match", "brace_match")
"""What ``include_check`` can ask of a plain ``include``; the first two hold here in any case."""


def checks_of(words: Sequence[str], before: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return what an ``include_check [+|-]CHECK ...`` leaves of the checks *before*.

    Alone it asks for all. Raises :class:`BadValueError`.
    """
    if len(words) == 1:
        return frozenset(CHECKS)
    found = before if words[1][:1] in {"+", "-"} else frozenset()
    for index, word in enumerate(words[1:], 1):
        name = word.lstrip("+-")
        if name not in CHECKS or len(word) - len(name) > 1:
            hint = f"one of {', '.join(CHECKS)}, with + or - to add or take one"
            raise BadValueError(index, f"'{word}' is not known here", hint)
        found = found - {name} if word.startswith("-") else found | {name}
    return found


@typed(Kind.WORDS, ("", "read match", "+wildcard_match -brace_match"), ("all", "--read", "+"))
def include_check(words: Sequence[str]) -> tuple[str, ...]:
    """Read ``include_check``: it has done its work when the file was read."""
    return tuple(sorted(checks_of(words)))


def open_source(
    path: str,
    files: Files,
    order: int,
    include: tuple[str, Span] | None,
    found: list[Diagnostic],
) -> Source | None:
    """Return the file at *path* as a source, or ``None`` with a diagnostic added to *found*.

    *include* is the keyword that named it, and where.
    """
    keyword, included_from = include or ("", None)
    try:
        if included_from is not None:
            files.check_include(path)
        text = files.read_text(path)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        place = included_from or Span(Source(path, ""), 1, 1)
        message = f"cannot read {path}: {reason}"
        if isinstance(failure, FileNotFoundError) and keyword in _MAY_MISS:
            found.append(warning(Code.UNREADABLE, place, message, "includem makes it an error"))
        elif isinstance(failure, FileNotFoundError) and keyword:
            hint = "includer and includeb take a file that may be missing"
            found.append(error(Code.UNREADABLE, place, message, hint))
        else:
            found.append(error(Code.UNREADABLE, place, message))
        return None
    source = Source(path, text.removeprefix("\ufeff"), order, included_from)
    return source if _is_text(source, found) else None


def _is_text(source: Source, found: list[Diagnostic]) -> bool:
    """Report characters that no text has; whether it is worth to read what is left of it."""
    text = source.text
    nul, odd = text.find("\0"), text.find("\ufffd")
    # With many NULs it is UTF-16, and all that could be said of it has this one cause.
    wide = nul >= 0 and text.count("\0") > len(text) // 4
    if odd >= 0 and not wide:
        message = "the file is not UTF-8; odd bytes are replaced"
        found.append(warning(Code.NOT_UTF8, _place(source, odd), message))
    if nul >= 0:
        hint = "save it as UTF-8: it looks like UTF-16" if wide else ""
        message = "the file holds a NUL character"
        found.append(error(Code.NUL, _place(source, nul), message, hint))
    return nul < 0 or not (wide or source.is_yaml)


def _place(source: Source, at: int) -> Span:
    line = source.text.count("\n", 0, at)
    return Span(source, line + 1, at - source.text.rfind("\n", 0, at))


def asked(keyword: str, checks: frozenset[str]) -> frozenset[str]:
    """Return what an include asks of its pattern; *checks* are those of ``include_check``."""
    if keyword == "include":
        return checks
    wild = {"wildcard_match"} if keyword in _WILD else set[str]()
    return frozenset(wild | ({"brace_match"} if keyword in _BRACES else set()))


def resolve_include(
    checks: frozenset[str], pattern: str, span: Span, files: Files, found: list[Diagnostic]
) -> list[str]:
    """Return the paths that an include names; what is missing is added to *found*.

    *checks* are what it asks of its pattern.
    """
    base = posixpath.dirname(span.source.path)
    full = posixpath.join(base, pattern)
    wild = any(char in pattern for char in "*?[{")
    try:
        branches = [(one, files.glob(one)) for one in expand_braces(full)] if wild else []
    except OSError as failure:
        reason = failure.strerror or str(failure)
        found.append(error(Code.UNREADABLE, span, f"cannot look for {full}: {reason}"))
        return []
    paths = sorted({path for _, matched in branches for path in matched}) if wild else [full]
    if not paths and "wildcard_match" in checks:
        found.append(error(Code.INCLUDE_MISSING, span, f"no file matches '{pattern}'"))
    elif "brace_match" in checks and len(branches) > 1:
        for branch, matched in branches:
            if not matched:
                found.append(error(Code.INCLUDE_MISSING, span, f"no file matches '{branch}'"))
    good: list[str] = []
    for path in paths:
        if posixpath.normpath(path) in {posixpath.normpath(used) for used in span.source.chain}:
            found.append(error(Code.INCLUDE_LOOP, span, _loop(path, span.source)))
        elif len(span.source.chain) > MAX_DEPTH:
            message = f"includes are nested more than {MAX_DEPTH} deep"
            found.append(error(Code.INCLUDE_DEPTH, span, message))
        else:
            good.append(path)
    return good


def _loop(path: str, source: Source) -> str:
    names = [*reversed(source.chain), path]
    return f"'{path}' includes itself: {' -> '.join(names)}"
