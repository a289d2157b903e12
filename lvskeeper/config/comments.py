"""Comments of files, and the directives that they belong to: for what writes a file anew.

A comment on a line of its own belongs to the directive that follows it in the same block, else to
the end of the block; one behind a directive belongs to that.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from lvskeeper.config.source import Source

if TYPE_CHECKING:
    from lvskeeper.config.tree import Directive

MADE: Final = " Made by lvskeeper convert"
"""How the comment begins that a conversion puts on top; the next one leaves it out."""

_CODE: Final = re.compile(r'(?:"[^"]*(?:"|\Z)|\\[#!]|[^"#!\\]|\\)*+')
_YAML: Final = re.compile(r"(?:^|(?<=[ \t]))#")


@final
@dataclass(frozen=True, slots=True)
class Comment:
    """A comment without its mark."""

    line: int
    text: str
    alone: bool
    """There is nothing else on its line."""


@final
@dataclass(slots=True)
class Remarks:
    """Where comments stand in a tree; directives are known by their identity."""

    head: list[str] = field(default_factory=list)
    """At the top of the first file, before an empty line."""
    before: dict[int, list[str]] = field(default_factory=dict)
    beside: dict[int, str] = field(default_factory=dict)
    foot: dict[int, list[str]] = field(default_factory=dict)
    """At the end of a block; 0 is the end of the file."""
    left_out: set[int] = field(default_factory=set)
    """Directives that are passed over and stay as comments, known by their identity."""
    made: "list[Directive]" = field(default_factory=list)
    """Directives that only these comments know: kept, so that no other gets their identity."""


def comments_of(source: Source) -> list[Comment]:
    """Return the comments of a file."""
    return list(_of_yaml(source) if source.is_yaml else _of_text(source))


def _of_text(source: Source) -> Iterator[Comment]:
    for number, line in enumerate(source.lines, 1):
        code = _CODE.match(line)
        assert code is not None
        if code.end() < len(line):
            yield Comment(number, line[code.end() + 1 :].rstrip(), not code[0].strip())


def _of_yaml(source: Source) -> Iterator[Comment]:
    import yaml  # noqa: PLC0415 - costs 30 ms

    taken: dict[int, list[tuple[int, int]]] = {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for token in yaml.scan(source.text, Loader=loader):
        if isinstance(token, yaml.ScalarToken):
            first, last = token.start_mark, token.end_mark
            for row in range(first.line, last.line + 1):
                start = first.column if row == first.line else 0
                end = last.column if row == last.line else len(source.text)
                taken.setdefault(row + 1, []).append((start, end))
    for number, line in enumerate(source.lines, 1):
        for match in _YAML.finditer(line):
            at = match.start()
            if not any(start <= at < end for start, end in taken.get(number, ())):
                yield Comment(number, line[at + 1 :].rstrip(), not line[:at].strip())
                break


def remarks_of(directives: "Sequence[Directive]") -> Remarks:
    """Return the comments of all files that *directives* were read from, each at its place."""
    places: dict[int, _Places] = {}
    _gather(directives, places)
    found = Remarks()
    for order in sorted(places):
        places[order].settle_all(found, first=order == 0)
    return found


def _gather(directives: "Iterable[Directive]", places: "dict[int, _Places]") -> None:
    for one in directives:
        if one.source.order not in places:
            places[one.source.order] = _Places(one.source)
        places[one.source.order].add(one)
        _gather(one.children or (), places)


@final
class _Places:
    """The directives of one file, by their lines."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.first: dict[int, Directive] = {}
        """The first directive that begins on a line."""
        self.last: dict[int, Directive] = {}
        """The last directive with a word on a line."""
        self.closing: dict[int, Directive] = {}
        self.lines: list[int] = []
        self.ends: list[int] = []

    def add(self, one: "Directive") -> None:
        lines = {mark[0] for mark in one.marks} if one.marks else {one.line}
        self.first.setdefault(min(lines), one)
        self.last.update(dict.fromkeys(lines, one))
        if one.closed:
            self.closing[one.closed] = one

    def settle_all(self, found: Remarks, *, first: bool) -> None:
        """Put every comment of the file to its directive."""
        self.lines, self.ends = sorted(self.first), sorted(self.closing)
        before = self.source.lines[: self.lines[0] - 1] if first else []
        empty = [number for number, line in enumerate(before, 1) if not line.strip()]
        top = empty[-1] if empty else 0
        for comment in comments_of(self.source):
            if comment.text.startswith(MADE):
                continue
            one = None if comment.alone else self.last.get(comment.line)
            if comment.alone and comment.line < top:
                found.head.append(comment.text)
            elif one is None:
                self.settle(comment, found)
            elif id(one) in found.beside:
                found.beside[id(one)] += f";{comment.text}"
            else:
                found.beside[id(one)] = comment.text

    def settle(self, comment: Comment, found: Remarks) -> None:
        """Put a comment to what follows it, or to the end of its block or file."""
        at = bisect_right(self.lines, comment.line)
        following = self.lines[at] if at < len(self.lines) else 0
        at = bisect_left(self.ends, comment.line)
        end = self.ends[at] if at < len(self.ends) else 0
        if end and (not following or end < following):
            found.foot.setdefault(id(self.closing[end]), []).append(comment.text)
        elif following:
            found.before.setdefault(id(self.first[following]), []).append(comment.text)
        else:
            found.foot.setdefault(0, []).append(comment.text)


def lines_of(one: "Directive", pad: str = "") -> "Iterator[str]":
    """Yield the lines of a directive that becomes a comment."""
    line = pad + " ".join(one.words)
    if one.children is None:
        yield f" left out: {line}"
        return
    yield f" left out: {line} {{"
    for child in one.children:
        yield from lines_of(child, f"{pad}    ")
    yield f" left out: {pad}}}"
