"""The way in: a path to a configuration, or to the reasons why there is none."""

import gc
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from typing import Final, final

from lvskeeper.config.build import build
from lvskeeper.config.codes import Code
from lvskeeper.config.compat import all_logged, asked_for, leave_out, relax
from lvskeeper.config.diagnostics import Diagnostic, Severity, error
from lvskeeper.config.lint import lint
from lvskeeper.config.model import Config
from lvskeeper.config.off import without
from lvskeeper.config.script_lint import Host, lint_host
from lvskeeper.config.source import NOWHERE, Files, Source, Span, Surroundings
from lvskeeper.config.tree import Tree, parse_file

ROUNDS: Final = 5
"""Most times that a file is read again without what is wrong: a block may need what is left out,
and the block around it the block."""

_SHAPE: Final = frozenset(
    {
        Code.UNREADABLE,
        Code.NUL,
        Code.INCLUDE_LOOP,
        Code.INCLUDE_MISSING,
        Code.INCLUDE_DEPTH,
        Code.BRACE_MISSING,
        Code.BRACE_EXTRA,
        Code.BRACE_STRAY,
        Code.YAML_SYNTAX,
        Code.YAML_SHAPE,
        Code.LANGUAGE,
        Code.LIMIT,
    }
)
"""With these the blocks are a guess, and what they seem to lack is no finding."""


@final
@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a file. *config* is ``None`` where there is any error."""

    config: Config | None
    diagnostics: tuple[Diagnostic, ...]
    switched_off: int = 0
    """Warnings that are not told, since their codes are switched off."""
    relaxable: bool = False
    """Whether keepalived only logs each of the errors, so that ``--compat keepalived`` takes it."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that refuse the file."""
        return tuple(one for one in self.diagnostics if one.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that do not."""
        return tuple(one for one in self.diagnostics if one.severity is Severity.WARNING)


def load(
    path: str,
    files: Files,
    surroundings: Surroundings = NOWHERE,
    *,
    allow_empty: bool = False,
    off: Collection[str] = (),
    compat: bool = False,
    host: Host | None = None,
) -> Loaded:
    """Load *path*: YAML where it ends in .yaml or .yml, else in the form of keepalived.conf.

    A file that serves nothing is refused unless *allow_empty*: it may be one that was cut short,
    and would take every virtual address away.

    Warnings with the codes of *off* are not told, nor those that the file switches off. With
    *compat*, or where the file asks for it, what keepalived merely logs is a warning. With *host*
    the file is held against the machine, too.

    Raises nothing for what a file may hold; every reason is a diagnostic. The garbage collector
    rests meanwhile: it would walk the growing tree again and again, at three times the cost.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        tree = parse_file(path, files, surroundings)
        return judge(path, tree, files, allow_empty=allow_empty, off=off, compat=compat, host=host)
    finally:
        if collecting:
            gc.enable()


def judge(
    path: str,
    tree: Tree,
    files: Files,
    *,
    allow_empty: bool = False,
    off: Collection[str] = (),
    compat: bool = False,
    host: Host | None = None,
) -> Loaded:
    """Return what comes of a *tree* that was read from *path*; see :func:`load`."""
    compat = compat or asked_for(tree)
    told = list(tree.diagnostics)
    built = build(tree, files)
    for _ in range(ROUNDS):
        if not (compat and built.wrong and all_logged([*told, *built.diagnostics])):
            break
        # What is wrong is left out, as keepalived does it, and the rest is judged as it then is.
        told += (one for one in built.diagnostics if one.severity is Severity.ERROR)
        leave_out(tree.directives, built.wrong)
        built = build(tree, files)
    config = built.config
    diagnostics = [*told, *built.diagnostics]
    lenient = compat and all_logged(diagnostics)
    if lenient or not _is_guess(tree.diagnostics, built.diagnostics):
        diagnostics += lint(built, host)
        if host is not None:
            diagnostics += lint_host(built, tree.directives, host)
    diagnostics.sort(key=lambda one: (one.span.sort_key, one.code.number))
    diagnostics = _once(diagnostics)
    if compat:
        if all_logged(diagnostics):
            from lvskeeper.config.mend import mend  # noqa: PLC0415 - good files need none of it

            config = mend(config)
        diagnostics = relax(diagnostics)
    failed = any(one.severity is Severity.ERROR for one in diagnostics)
    if config.empty and not failed and not allow_empty:
        diagnostics.append(_empty(path))
        failed = True
    codes = frozenset(chain(off, *config.global_defs.warnings_off))
    left, switched_off = without(diagnostics, codes)
    relaxable = failed and all_logged(diagnostics)
    return Loaded(None if failed else config, left, switched_off, relaxable)


def _is_guess(of_tree: list[Diagnostic], built: list[Diagnostic]) -> bool:
    """Whether the shape of the file is unsure, or its end was not read."""
    shape = {one.code for one in of_tree if one.severity is Severity.ERROR}
    return not _SHAPE.isdisjoint(shape) or any(one.code is Code.LIMIT for one in built)


def _once(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Leave out what the other lines of a sequence have told, and what follows from an error."""
    wrong = {one.span.sort_key for one in diagnostics if one.severity is Severity.ERROR}
    found: dict[object, Diagnostic] = {}
    for one in diagnostics:
        if one.code is not Code.NUL and _holds_nul(one.span):
            continue
        if one.code is Code.NOT_REPLACED and one.span.sort_key in wrong:
            continue
        expansion = one.span.source.expansion
        told = expansion.names if expansion else one.message
        found.setdefault((one.span.sort_key, one.code, told), one)
    return list(found.values())


def _holds_nul(span: Span) -> bool:
    lines = span.source.lines
    return span.line <= len(lines) and "\0" in lines[span.line - 1]


def _empty(path: str) -> Diagnostic:
    message = "the configuration is empty: no virtual server, and nothing of VRRP"
    hint = "a file that was cut short looks so; --allow-empty takes it, and all services away"
    return error(Code.EMPTY, Span(Source(path, ""), 1, 1), message, hint)
