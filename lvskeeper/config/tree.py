"""Directives: words and blocks with their places, before any keyword has a meaning.

The parser is the hot path of a big file, so a directive keeps two integers and finds the column of
a word again only when somebody asks for its span.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Final, final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, LimitError, error
from lvskeeper.config.expand import DEFINES, MAX_LINE, At, Expander
from lvskeeper.config.include import (
    INCLUDES,
    MAX_FILES,
    asked,
    checks_of,
    open_source,
    resolve_include,
)
from lvskeeper.config.keywords import NESTED, ROOT
from lvskeeper.config.lexer import SPECIAL, Kind, Token, scan, tokens
from lvskeeper.config.line import Line, decomment
from lvskeeper.config.source import NOWHERE, Files, Source, Span, Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NESTING: Final = 32
"""Most blocks within one another; no keyword needs more than five."""

MAX_TOTAL: Final = 64 * 1024 * 1024
"""Most characters of all files together: twice what 100,000 real servers need."""

MAX_LINES: Final = 1_500_000
"""Most lines of all files together."""

MAX_PIECES: Final = 10_000
"""Most lines of one definition."""

MAX_TOLD: Final = 1000
"""Most errors in the form of a file; what has more is no configuration."""

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
    """Line, column and length of every word, where lexing again would not find them: in YAML, and
    in what definitions made."""
    closed: int = 0
    """Line of the closing brace."""

    def span(self, index: int = 0) -> Span:
        """Return the place of word *index*, or of the last word where there is no such."""
        if self.marks is not None:
            line, column, length = self.marks[min(index, len(self.marks) - 1)]
            return Span(self.source, line, column, length)
        # No more of the line than is needed: it may be long, and hold many directives.
        words = (
            token
            for token in scan(self.source.lines[self.line - 1], self.start)
            if token.kind in {Kind.WORD, Kind.UNCLOSED}
        )
        *_, token = islice(words, min(index, len(self.words) - 1) + 1)
        return Span(self.source, self.line, token.start + 1, token.end - token.start)

    def __str__(self) -> str:
        return " ".join(self.words)


@final
@dataclass(slots=True)
class Tree:
    """All directives of a file and of what it includes, and what was wrong with their shape."""

    directives: list[Directive] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


@final
class Parser:
    """Reads a file and what it includes into one tree."""

    def __init__(self, files: Files, surroundings: Surroundings) -> None:
        self.files = files
        self.tree = Tree()
        self.expander = Expander(surroundings, self.tree.diagnostics)
        self.order = 0
        self.size = 0
        self.lines = 0
        self.full = False
        self.seen = 0
        self.globals: list[Directive] = []
        """The ``global_defs`` among the first *seen* directives of the top level."""

    def read(
        self,
        path: str,
        include: tuple[str, Span] | None,
        into: list[Directive],
        block: str,
    ) -> None:
        """Append the directives of *path* to *into*, the contents of *block*.

        *include* is the keyword that named the file, and where. Raises :class:`LimitError`.
        """
        source = open_source(path, self.files, self.order, include, self.tree.diagnostics)
        self.order += 1
        if source is None:
            return
        self._measure(source)
        if source.is_yaml:
            from lvskeeper.config.yaml_source import read_yaml  # noqa: PLC0415 - yaml costs 30 ms

            read_yaml(self, source, into, block)
        else:
            _Text(self, source, into, block).run()

    def _measure(self, source: Source) -> None:
        self.size += len(source.text)
        self.lines += len(source.lines)
        if self.size > MAX_TOTAL:
            message = f"the configuration has more than {MAX_TOTAL} characters"
            raise LimitError(Span(source, 1, 1), message)
        if self.lines > MAX_LINES:
            raise LimitError(
                Span(source, 1, 1), f"the configuration has more than {MAX_LINES} lines"
            )

    def include(
        self, directive: Directive, pattern: str, into: list[Directive], block: str
    ) -> None:
        """Append what an include directive names."""
        span = directive.span(1)
        keyword = directive.words[0]
        told, checks = self.tree.diagnostics, asked(keyword, self.include_checks())
        for path in resolve_include(checks, pattern, span, self.files, told):
            if self.order < MAX_FILES:
                self.read(path, (keyword, span), into, block)
            elif not self.full:
                self.full = True
                message = f"the configuration has more than {MAX_FILES} files"
                told.append(error(Code.INCLUDE_DEPTH, span, message))

    def include_checks(self) -> frozenset[str]:
        """Return what the lines ``include_check`` so far ask of a plain include."""
        root = self.tree.directives
        self.globals += [one for one in root[self.seen :] if one.words[0] == "global_defs"]
        self.seen = len(root)
        checks: frozenset[str] = frozenset()
        for block in self.globals:
            for line in block.children or ():
                if line.words[0] == "include_check":
                    with suppress(BadValueError):  # told when the line is read as a keyword
                        checks = checks_of(line.words, checks)
        return checks


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
    if len(line) <= MAX_LINE and SPECIAL.isdisjoint(line) and words[0] not in INCLUDES:
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
        self.rest: Iterator[tuple[int, str]] = iter(enumerate(source.lines, 1))
        self.at: At | None = None
        self.made: Line | None = None
        """What definitions made of the line that is being read."""
        self.surplus = _braces(source.text)
        """Braces that are too many, open ones positive; decides which repair is tried."""

    def run(self) -> None:
        # A big file is made of few different lines, so each is cut into words only once.
        known: dict[str, tuple[_Form, list[str]]] = {}
        source, stack, here = self.source, self.stack, self.here
        for number, line in self.rest:
            found = known.get(line)
            if found is None:
                found = known[line] = _form(line)
            form, words = found
            if form is _Form.PLAIN:
                here.append(Directive(words, source, number))
            elif form is _Form.OPEN and not self.surplus and len(stack) < MAX_NESTING:
                # As _open and _push do it where every brace has its other; and so below.
                inner: list[Directive] = []
                directive = Directive(words, source, number, 0, inner)
                here.append(directive)
                stack.append((directive, here))
                self.here = here = inner
            elif form is _Form.CLOSE and stack:
                opened, here = stack.pop()
                opened.closed = number
                self.here = here
            elif form is not _Form.EMPTY:
                self._seldom(form, words, line, number)
                here = self.here
        for opened, _ in self.stack:
            message = f"'{opened}' opens a block that is not closed"
            self._error(Code.BRACE_MISSING, opened.span(), message, "add its '}'")

    def _seldom(self, form: _Form, words: list[str], line: str, number: int) -> None:
        """Read a line of a form that few have, or where braces have to be mended."""
        if form is _Form.OPEN:
            self._open(self._add(words, number, 0))
        elif form is _Form.CLOSE:
            self._close(number, line.index("}"))
        else:
            self._slow(line, number)

    def _error(self, code: Code, span: Span, message: str, hint: str = "") -> None:
        told = self.parser.tree.diagnostics
        told.append(error(code, span, message, hint))
        if len(told) > MAX_TOLD:
            raise LimitError(span, f"more than {MAX_TOLD} errors")

    def _slow(self, line: str, number: int) -> None:
        if len(line) > MAX_LINE:
            whole = self.source
            span = Span(Source(whole.path, "", whole.order, whole.included_from), number, 1)
            raise LimitError(span, f"the line has more than {MAX_LINE} characters")
        if "$" in line or line.lstrip().startswith(("@", "~")):
            self._expand(line, number)
        else:
            self._take(tokens(line), number, line)

    def _expand(self, line: str, number: int) -> None:
        """Read the lines for which a line with definitions stands."""
        written = decomment(line)
        counted = _braces(line)
        more: list[tuple[str, int]] = []
        if DEFINES.match(written.text) and _goes_on(line, written.text):
            more, extra = self._continued()
            counted += extra
        at = At(self.source, number, tuple(more))
        self.surplus -= counted
        for made in self.parser.expander.lines(at, written):
            self.surplus += _braces(made.text)
            if made.used:
                self.at, self.made = at, made
                self._take(tokens(made.text, comments=False), number, made.text)
                self.at = self.made = None
            else:
                start = made.place(0, 0)[0] - 1
                self._take(tokens(line, start), number, line[start:])

    def _continued(self) -> tuple[list[tuple[str, int]], int]:
        """Return the other lines of a definition, and their surplus of braces."""
        more: list[tuple[str, int]] = []
        counted = 0
        for number, line in self.rest:
            counted += _braces(line)
            text = decomment(line).text
            if text or not line.strip():
                more.append((text.rstrip("\\").rstrip(), number))
                if len(more) > MAX_PIECES:
                    message = f"the definition has more than {MAX_PIECES} lines"
                    raise LimitError(Span(self.source, number, 1), message)
                if not _goes_on(line, text):
                    break
        return [one for one in more if one[0]], counted

    def _take(self, found: list[Token], number: int, line: str) -> None:
        """Read the directives of one line; *line* is its text for an include's pattern."""
        if found and found[0].text in INCLUDES and found[0].kind is Kind.WORD:
            self._include(line, found, number)
            return
        words: list[Token] = []
        for token in found:
            match token.kind:
                case Kind.WORD:
                    words.append(token)
                case Kind.UNCLOSED:
                    words.append(token)
                    span = self._span(number, token)
                    self._error(Code.QUOTE, span, "the quote is not closed on this line")
                case Kind.OPEN:
                    self._open_at(words, number, token)
                    words = []
                case Kind.CLOSE:
                    self._add_tokens(words, number)
                    words = []
                    self._close(number, token.start)
        self._add_tokens(words, number)

    def _span(self, number: int, token: Token) -> Span:
        """Return the place of a token as written."""
        if self.at is not None and self.made is not None:
            return self.parser.expander.span(self.at, self.made, token.start, token.end)
        return Span(self.source, number, token.start + 1, token.end - token.start)

    def _add(self, words: list[str], number: int, start: int) -> Directive:
        directive = Directive(words, self.source, number, start)
        self.here.append(directive)
        return directive

    def _add_tokens(self, words: list[Token], number: int) -> Directive | None:
        if not words:
            return None
        directive = self._directive(words, number)
        self.here.append(directive)
        return directive

    def _directive(self, words: list[Token], number: int) -> Directive:
        directive = Directive([token.text for token in words], self.source, number, words[0].start)
        if self.at is not None and self.made is not None:
            directive.source = self.parser.expander.view(self.at, self.made)
            directive.marks = [
                (number, *self.made.place(token.start, token.end)) for token in words
            ]
        return directive

    def _open_at(self, words: list[Token], number: int, brace: Token) -> None:
        directive = self._add_tokens(words, number)
        if directive is None:
            last = self.here[-1] if self.here else None
            if last is None or last is self.before or last.children is not None:
                span = self._span(number, brace)
                self._error(Code.BRACE_STRAY, span, "'{' without a keyword before it")
                # Its block is kept apart, nameless, so that its '}' closes nothing else.
                directive = Directive(["{"], span.source, number, brace.start)
                directive.marks = [(number, span.column, 1)]
                directive.children = []
                self._push(directive)
                return
            directive = last
        self._open(directive)

    def _push(self, directive: Directive) -> None:
        """Go into the block of *directive*."""
        assert directive.children is not None
        if len(self.stack) >= MAX_NESTING:
            message = f"blocks are nested more than {MAX_NESTING} deep"
            raise LimitError(directive.span(), message)
        self.stack.append((directive, self.here))
        self.here = directive.children

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
        self._push(directive)

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
            column = max(1, self.source.lines[line - 1].rfind("}") + 1)
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
            span = self._span(number, Token(Kind.CLOSE, "}", column, column + 1))
            hint = ""
            if self.parser.order > 1 and self.source.included_from:
                hint = "a file closes only the blocks that it opened itself"
            self._error(Code.BRACE_EXTRA, span, "'}' closes no block", hint)
            return
        opened, self.here = self.stack.pop()
        opened.closed = number

    def _include(self, line: str, found: list[Token], number: int) -> None:
        directive = self._directive(found, number)
        if len(found) < 2:
            keyword = directive.words[0]
            self._error(Code.NO_VALUE, directive.span(), f"{keyword} needs a file name")
            return
        # The rest of the line is the pattern: it may hold blanks and braces.
        text = line if self.made is not None else decomment(line).text
        pattern = text.strip()[len(found[0].text) :].strip()
        block = self.stack[-1][0].words[0] if self.stack else self.block
        self.parser.include(directive, pattern.strip('"'), self.here, block)


def _goes_on(line: str, text: str) -> bool:
    """Whether a definition goes on behind *line*, which is *text* without its comment."""
    return text.endswith("\\") or line.rstrip().endswith("\\")


def _braces(text: str) -> int:
    """Return how many braces too many are opened in *text*."""
    return text.count("{") - text.count("}")


def parse_file(path: str, files: Files, surroundings: Surroundings = NOWHERE) -> Tree:
    """Read *path* and what it includes into a tree."""
    parser = Parser(files, surroundings)
    try:
        parser.read(path, None, parser.tree.directives, ROOT)
    except LimitError as limit:
        parser.tree.diagnostics.append(limit.diagnostic)
    return parser.tree
