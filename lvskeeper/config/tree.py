"""Directives: words and blocks with their places, before any keyword has a meaning.

The parser is the hot path of a big file, so a directive keeps two integers and finds the column of
a word again only when somebody asks for its span.
"""

import posixpath
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.keywords import NESTED, ROOT
from lvskeeper.config.lexer import SPECIAL, Kind, Token, tokens
from lvskeeper.config.source import Files, Source, Span

INCLUDES: Final = frozenset({"include", "includer", "includem", "includew", "includeb", "includea"})
MAX_DEPTH: Final = 32
"""Most includes within one another; a loop through links ends here."""

MAX_FILES: Final = 10_000
"""Most files of one configuration; links can make a loop that branches."""

AMBIGUOUS: Final = frozenset({"track_file", "track_group"})
"""Root keywords that also stand within blocks that we do not look into."""


@final
@dataclass(slots=True, eq=False)
class Directive:
    """A keyword with its words, and its block if it has one."""

    words: list[str]
    """Equal lines of a file share one list: it is never changed."""
    source: Source
    line: int
    start: int = 0
    """Where on its line the directive starts; it may share the line with others."""
    children: "list[Directive] | None" = None
    marks: list[tuple[int, int, int]] | None = None
    """Line, column and length of every word, where lexing again would not find them (YAML)."""
    closed: int = 0
    """Line of the closing brace."""

    def span(self, index: int = 0) -> Span:
        """Return the place of word *index*, or of the last word where there is no such."""
        if self.marks is not None:
            line, column, length = self.marks[min(index, len(self.marks) - 1)]
            return Span(self.source, line, column, length)
        found = [
            token
            for token in tokens(self.source.lines[self.line - 1], self.start)
            if token.kind in {Kind.WORD, Kind.UNCLOSED}
        ]
        last = min(index, len(self.words) - 1, len(found) - 1)
        token = found[last]
        return Span(self.source, self.line, token.start + 1, token.end - token.start)

    def __str__(self) -> str:
        return " ".join(self.words)


@final
@dataclass(slots=True)
class Tree:
    """All directives of a file and of what it includes, and what was wrong with their shape."""

    directives: list[Directive] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


def open_source(
    path: str, files: Files, order: int, included_from: Span | None, found: list[Diagnostic]
) -> Source | None:
    """Return the file at *path* as a source, or ``None`` with a diagnostic added to *found*."""
    try:
        text = files.read_text(path)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        place = included_from or Span(Source(path, ""), 1, 1)
        found.append(error(Code.UNREADABLE, place, f"cannot read {path}: {reason}"))
        return None
    source = Source(path, text.removeprefix("\ufeff"), order, included_from)
    for char, report, code, message in (
        ("\ufffd", warning, Code.NOT_UTF8, "the file is not UTF-8; odd bytes are replaced"),
        ("\0", error, Code.NUL, "the file holds a NUL character"),
    ):
        at = source.text.find(char)
        if at >= 0:
            line = source.text.count("\n", 0, at)
            column = at - (source.text.rfind("\n", 0, at) + 1)
            found.append(report(code, Span(source, line + 1, column + 1), message))
    return source


def resolve_include(
    keyword: str, pattern: str, span: Span, files: Files, found: list[Diagnostic]
) -> list[str]:
    """Return the paths that an include names; what is missing is added to *found*."""
    base = posixpath.dirname(span.source.path)
    full = posixpath.join(base, pattern)
    wild = any(char in pattern for char in "*?[{")
    try:
        paths = files.glob(full) if wild else [full]
    except OSError as failure:
        reason = failure.strerror or str(failure)
        found.append(error(Code.UNREADABLE, span, f"cannot look for {full}: {reason}"))
        return []
    if not paths and keyword in {"includew", "includea"}:
        found.append(error(Code.INCLUDE_MISSING, span, f"no file matches '{pattern}'"))
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


@final
class Parser:
    """Reads a file and what it includes into one tree."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.tree = Tree()
        self.order = 0
        self.full = False

    def read(
        self, path: str, included_from: Span | None, into: list[Directive], block: str
    ) -> None:
        """Append the directives of *path* to *into*, the contents of *block*."""
        source = open_source(path, self.files, self.order, included_from, self.tree.diagnostics)
        self.order += 1
        if source is None:
            return
        if path.endswith((".yaml", ".yml")):
            from lvskeeper.config.yaml_source import read_yaml  # noqa: PLC0415 - yaml costs 30 ms

            read_yaml(self, source, into, block)
        else:
            _Text(self, source, into, block).run()

    def include(
        self, directive: Directive, pattern: str, into: list[Directive], block: str
    ) -> None:
        """Append what an include directive names."""
        span = directive.span(1)
        keyword = directive.words[0]
        for path in resolve_include(keyword, pattern, span, self.files, self.tree.diagnostics):
            if self.order < MAX_FILES:
                self.read(path, span, into, block)
            elif not self.full:
                self.full = True
                message = f"the configuration has more than {MAX_FILES} files"
                self.tree.diagnostics.append(error(Code.INCLUDE_DEPTH, span, message))


@final
class _Form(Enum):
    """Form of a line."""

    EMPTY = "nothing"
    PLAIN = "words"
    OPEN = "words and an opening brace"
    CLOSE = "a closing brace"
    OTHER = "anything else: the lexer sees to it"


def _form(line: str) -> tuple[_Form, list[str]]:
    """Return the form of a line, and its words if they are plain."""
    words = line.split()
    braces = line.count("{") + line.count("}")
    if not words:
        return _Form.EMPTY, words
    if SPECIAL.isdisjoint(line) and words[0] not in INCLUDES:
        if not braces:
            return _Form.PLAIN, words
        if braces == 1 and words == ["}"]:
            return _Form.CLOSE, words
        if braces == 1 and words[-1] == "{" and len(words) > 1:
            return _Form.OPEN, words[:-1]
    return _Form.OTHER, words


@final
class _Text:
    """Parses one keepalived.conf file; every file closes the blocks that it opens."""

    def __init__(self, parser: Parser, source: Source, into: list[Directive], block: str) -> None:
        self.parser = parser
        self.source = source
        self.block = block
        self.here = into
        self.before = into[-1] if into else None
        """What stood before this file; no brace of ours may follow it."""
        self.stack: list[tuple[Directive, list[Directive]]] = []
        text = source.text
        self.surplus = text.count("{") - text.count("}")
        """Braces that are too many, open ones positive; decides which repair is tried."""

    def run(self) -> None:
        # A big file is made of few different lines, so each is cut into words only once.
        known: dict[str, tuple[_Form, list[str]]] = {}
        for number, line in enumerate(self.source.lines, 1):
            found = known.get(line)
            if found is None:
                found = known[line] = _form(line)
            form, words = found
            if form is _Form.PLAIN:
                self.here.append(Directive(words, self.source, number))
            elif form is _Form.OPEN:
                self._open(self._add(words, number, 0))
            elif form is _Form.CLOSE:
                self._close(number, line.index("}"))
            elif form is _Form.OTHER:
                self._slow(line, number)
        for opened, _ in self.stack:
            message = f"'{opened}' opens a block that is not closed"
            self._error(Code.BRACE_MISSING, opened.span(), message, "add its '}'")

    def _error(self, code: Code, span: Span, message: str, hint: str = "") -> None:
        self.parser.tree.diagnostics.append(error(code, span, message, hint))

    def _slow(self, line: str, number: int) -> None:
        found = tokens(line)
        if found and found[0].text in INCLUDES and found[0].kind is Kind.WORD:
            self._include(line, [token.text for token in found], number)
            return
        words: list[Token] = []
        for token in found:
            match token.kind:
                case Kind.WORD:
                    words.append(token)
                case Kind.UNCLOSED:
                    words.append(token)
                    span = Span(self.source, number, token.start + 1, token.end - token.start)
                    self._error(Code.QUOTE, span, "the quote is not closed on this line")
                case Kind.OPEN:
                    self._open_at(words, number, token)
                    words = []
                case Kind.CLOSE:
                    self._add_tokens(words, number)
                    words = []
                    self._close(number, token.start)
        self._add_tokens(words, number)

    def _add(self, words: list[str], number: int, start: int) -> Directive:
        directive = Directive(words, self.source, number, start)
        self.here.append(directive)
        return directive

    def _add_tokens(self, words: list[Token], number: int) -> Directive | None:
        if not words:
            return None
        return self._add([token.text for token in words], number, words[0].start)

    def _open_at(self, words: list[Token], number: int, brace: Token) -> None:
        directive = self._add_tokens(words, number)
        if directive is None:
            last = self.here[-1] if self.here else None
            if last is None or last is self.before or last.children is not None:
                span = Span(self.source, number, brace.start + 1)
                self._error(Code.BRACE_STRAY, span, "'{' without a keyword before it")
                # Its block is kept apart, nameless, so that its '}' closes nothing else.
                directive = Directive(["{"], self.source, number, brace.start)
                directive.marks = [(number, brace.start + 1, 1)]
                directive.children = []
                self.stack.append((directive, self.here))
                self.here = directive.children
                return
            directive = last
        self._open(directive)

    def _open(self, directive: Directive) -> None:
        name = directive.words[0]
        block = self.stack[-1][0].words[0] if self.stack else self.block
        known = NESTED.get(block)
        odd = (
            name not in known
            if known is not None
            else name in NESTED[ROOT] and name not in AMBIGUOUS
        )
        if odd and self.surplus:
            self._repair(directive, name)
        directive.children = []
        self.stack.append((directive, self.here))
        self.here = directive.children

    def _repair(self, directive: Directive, name: str) -> None:
        """Find the missing or surplus brace before a block that cannot stand here."""
        if self.surplus > 0:
            outer = [opened.words[0] for opened, _ in self.stack]
            for depth in range(len(self.stack) - 1, -1, -1):
                if name not in NESTED.get(outer[depth - 1] if depth else self.block, ()):
                    continue
                opened = self.stack[depth][0]
                span = opened.span()
                message = f"'{opened}' opens a block that is not closed"
                hint = f"a '}}' is missing before '{directive}' in line {directive.line}"
                self._error(Code.BRACE_MISSING, span, message, hint)
                self.surplus -= len(self.stack) - depth
                self.here.remove(directive)
                self.here = self.stack[depth][1]
                del self.stack[depth:]
                self.here.append(directive)
                return
        elif len(self.here) > 1:
            last = self.here[-2]
            if last.children is None or name not in NESTED.get(last.words[0], ()):
                return
            line = last.closed
            column = self.source.lines[line - 1].rfind("}") + 1
            message = f"this '}}' closes '{last}' too early"
            hint = f"'{directive}' in line {directive.line} belongs to it; one '}}' is too many"
            self._error(Code.BRACE_EXTRA, Span(self.source, line, column), message, hint)
            self.surplus += 1
            self.here.remove(directive)
            self.stack.append((last, self.here))
            self.here = last.children
            self.here.append(directive)

    def _close(self, number: int, column: int) -> None:
        if not self.stack:
            span = Span(self.source, number, column + 1)
            hint = ""
            if self.parser.order > 1 and self.source.included_from:
                hint = "a file closes only the blocks that it opened itself"
            self._error(Code.BRACE_EXTRA, span, "'}' closes no block", hint)
            return
        opened, self.here = self.stack.pop()
        opened.closed = number

    def _include(self, line: str, words: list[str], number: int) -> None:
        directive = Directive(words, self.source, number)
        if len(words) < 2:
            self._error(Code.NO_VALUE, directive.span(), f"{words[0]} needs a file name")
            return
        # The rest of the line is the pattern: it may hold blanks and braces.
        pattern = _decomment(line).strip()[len(words[0]) :].strip()
        block = self.stack[-1][0].words[0] if self.stack else self.block
        self.parser.include(directive, pattern.strip('"'), self.here, block)


def _decomment(line: str) -> str:
    """Return *line* up to its comment."""
    end = 0
    for token in tokens(line):
        end = token.end
    return line[:end]


def parse_file(path: str, files: Files) -> Tree:
    """Read *path* and what it includes into a tree."""
    parser = Parser(files)
    parser.read(path, None, parser.tree.directives, ROOT)
    return parser.tree
