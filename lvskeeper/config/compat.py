"""``--compat keepalived``: what keepalived merely logs is a warning, so that its file starts.

Keepalived passes over lines that it cannot read, and leaves out what is named and not defined.
With this mode lvskeeper does the same and says so. What would do harm stays an error: an include
that loops, a file of YAML that is none, a service that is claimed twice, keywords of the forks.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, Severity
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.tree import Directive, Tree

KEEPALIVED: Final = "keepalived"
HINT: Final = "keepalived only logs such errors and goes on: --compat keepalived does, too"

LOGGED: Final = frozenset(
    {
        Code.QUOTE, Code.BRACE_MISSING, Code.BRACE_EXTRA, Code.BRACE_STRAY,
        Code.UNKNOWN, Code.MISPLACED, Code.BAD_VALUE, Code.NO_BLOCK, Code.BLOCK, Code.PLACEHOLDER,
        Code.REQUIRED, Code.SAME_NAME, Code.REFUSED, Code.UNREADABLE,
        Code.NO_PROTOCOL, Code.SAME_REAL, Code.TRACK_UNKNOWN, Code.MEMBER_UNKNOWN,
        Code.TWO_GROUPS, Code.GROUP_SIZE,
    }
)  # fmt: skip
"""Errors for which keepalived has a message, and goes on without what they are about."""

_FIRM: Final = frozenset({"net_namespace", "net_namespace_ipvs"})
"""Keywords that stay refused: without them the daemon would serve somewhere else."""


def asked_for(tree: Tree) -> bool:
    """Whether the file itself has ``compat keepalived`` in its ``global_defs``."""
    return any(
        line.words[:2] == ["compat", KEEPALIVED]
        for block in tree.directives
        if block.words[0] == "global_defs"
        for line in block.children or ()
    )


def is_logged(one: Diagnostic) -> bool:
    """Whether keepalived has no more than a message for an error."""
    if one.code not in LOGGED:
        return False
    word = one.span.text
    if one.code is Code.REFUSED:
        table = (block[word] for block in BLOCKS.values() if word in block)
        return word not in _FIRM and any("K" in keyword.origin for keyword in table)
    if one.code is Code.UNREADABLE:
        # Only the plain form: the others are there to be strict, and the file itself is needed.
        lines = one.span.source.lines
        line = lines[one.span.line - 1] if one.span.line <= len(lines) else ""
        return line[: one.span.column - 1].split()[-1:] == ["include"]
    return True


def all_logged(found: Iterable[Diagnostic]) -> bool:
    """Whether there are errors, and keepalived only logs each of them."""
    errors = [one for one in found if one.severity is Severity.ERROR]
    return bool(errors) and all(map(is_logged, errors))


def relax(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return what is told where the errors that keepalived merely logs are warnings."""
    return [
        replace(one, severity=Severity.WARNING)
        if one.severity is Severity.ERROR and is_logged(one)
        else one
        for one in found
    ]


def leave_out(directives: list[Directive], wrong: Collection[Directive]) -> None:
    """Take the directives that are *wrong* out of a tree."""
    directives[:] = [one for one in directives if one not in wrong]
    for one in directives:
        if one.children:
            leave_out(one.children, wrong)
