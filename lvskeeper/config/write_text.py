"""Directives written down in the form of keepalived.conf."""

import re
from collections.abc import Sequence
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.comments import Remarks, lines_of
from lvskeeper.config.diagnostics import Diagnostic, error
from lvskeeper.config.expand import MAX_LINE
from lvskeeper.config.standard import MOST_WORDS
from lvskeeper.config.tree import Directive

INDENT: Final = "    "

_PLAIN: Final = re.compile(r"(?:[^\s\"{}#!]|\$\{[^{}\"]*\}|\{\{[^{}\"]*\}\})+")
_FIRST: Final = frozenset("@~$")
"""What a line begins with that is no plain line."""
_STANDARD: Final = re.compile(rf"\$\{{?(?:{'|'.join(MOST_WORDS)})\b")
_BREAKS: Final = re.compile(r"[\n\r\0]")


@final
class WriteError(Exception):
    """A word that the form cannot hold."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


def write_text(directives: Sequence[Directive], remarks: Remarks) -> str:
    """Return *directives* in the form of keepalived.conf; raise :class:`WriteError`."""
    writer = _Writer(remarks)
    writer.comments(remarks.head, "")
    if remarks.head:
        writer.lines.append("")
    for number, one in enumerate(directives):
        if number and (one.children is not None or directives[number - 1].children is not None):
            writer.lines.append("")
        writer.add(one, "")
    writer.comments(remarks.foot.get(0, ()), "")
    return "\n".join([*writer.lines, ""])


@final
class _Writer:
    def __init__(self, remarks: Remarks) -> None:
        self.remarks = remarks
        self.lines: list[str] = []

    def comments(self, texts: Sequence[str], pad: str) -> None:
        self.lines += [f"{pad}#{_clean(text)}" for text in texts]

    def add(self, one: Directive, pad: str) -> None:
        self.comments(self.remarks.before.get(id(one), ()), pad)
        if id(one) in self.remarks.left_out:
            self.comments([*lines_of(one)], pad)
            return
        words = [_word(one, index) for index in range(len(one.words))]
        line = pad + " ".join(words)
        if len(line) > MAX_LINE:
            raise _refused(one, 0, f"the line would have more than {MAX_LINE} characters")
        beside = self.remarks.beside.get(id(one))
        tail = "" if beside is None else f" #{_clean(beside)}"
        if one.children is None:
            self.lines.append(line + tail)
            return
        self.lines.append(f"{line} {{{tail}")
        for child in one.children:
            self.add(child, pad + INDENT)
        self.comments(self.remarks.foot.get(id(one), ()), pad + INDENT)
        self.lines.append(f"{pad}}}")


def _word(one: Directive, index: int) -> str:
    word = one.words[index]
    if _STANDARD.search(word):
        raise _refused(one, index, f"'{word}' would be replaced", "it names a standard definition")
    if '"' in word:
        hint = "within a command single quotes do, and \\x22 stands for a double one"
        raise _refused(one, index, "the form has no way to write a double quote in a value", hint)
    if _BREAKS.search(word):
        raise _refused(one, index, "a value cannot go on in another line")
    if _PLAIN.fullmatch(word) and not (index == 0 and word[0] in _FIRST):
        return word
    return f'"{word}"'


def _refused(one: Directive, index: int, message: str, hint: str = "") -> WriteError:
    said = f"cannot be written as keepalived.conf: {message}"
    return WriteError(error(Code.YAML_SHAPE, one.span(index), said, hint))


def _clean(text: str) -> str:
    """Return a comment without what would end its line."""
    return _BREAKS.sub(" ", text)
