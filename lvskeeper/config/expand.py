"""Definitions, conditional lines and sequences: the lines that a line as written stands for.

The form is keepalived's: ``$NAME=`` and ``${NAME}``, ``@id`` and ``@^id``, ``~SEQ`` and ``~LST``
(lib/parser.c; what differs on purpose is in docs/keepalived-language.md). A line keeps where
each of its pieces was written, so that a diagnostic points at the file and not at the result.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, LimitError, error, warning
from lvskeeper.config.line import Line
from lvskeeper.config.sequence import SequenceError, parse_list, parse_sequence
from lvskeeper.config.source import Expansion, Source, Span, Surroundings
from lvskeeper.config.standard import MOST_WORDS, standard

MAX_DEPTH: Final = 32
"""Most definitions and sequences within one another."""

MAX_LINE: Final = 65_536
"""Longest line in characters, as written and as expanded; keepalived takes 1023."""

MAX_MADE: Final = 200_000
"""Most lines and references that all definitions and sequences are replaced by together."""

MAX_TEXT: Final = 32 * 1024 * 1024
"""Most characters of these lines together."""

MAX_SHOWN: Final = 200
"""Most characters of a line that are kept to show where a limit was reached."""

DEFINES: Final = re.compile(r"(?:@\S+\s+)?\$[A-Za-z_][A-Za-z0-9_]*=")
"""How a line starts that defines something, perhaps under a condition."""

_DEFINITION: Final = re.compile(r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)=\s*")
_CONDITION: Final = re.compile(r"@(?P<other>\^?)(?P<name>\S*)\s*")
_TEMPLATE: Final = re.compile(r"@[A-Za-z_]\w*@(?:\s|\Z)", re.ASCII)
_REFERENCE: Final = re.compile(
    r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?P<words>(?:[ \t]+[^\s{}]+)*)[ \t]*\}"
    r"|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)(?=[\s,)]|\Z))"
)
_BARE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@final
@dataclass(frozen=True, slots=True)
class Definition:
    """What a name stands for: one line or several."""

    name: str
    lines: tuple[str, ...]
    places: tuple[Span, ...] = ()
    """Where each line is written; none for the standard ones."""


@final
@dataclass(frozen=True, slots=True)
class At:
    """The line as written that is being read."""

    source: Source
    number: int
    more: tuple[tuple[str, int], ...] = ()
    """The other lines of a definition that is continued, and their numbers."""


@final
class Expander:
    """Holds the definitions of a configuration, and expands its lines."""

    def __init__(self, surroundings: Surroundings, found: list[Diagnostic]) -> None:
        self.surroundings = surroundings
        self.found = found
        self.known: dict[str, Definition] = {}
        self.made = 0
        self.size = 0

    def lines(self, at: At, line: Line, depth: int = 0) -> Iterator[Line]:
        """Return the lines that *line* stands for, none where it defines or is left out.

        They are made one after another: a later one sees what the former ones defined.
        Raises :class:`LimitError`.
        """
        if depth > MAX_DEPTH:
            raise self._too_deep(at, line)
        for _ in range(MAX_DEPTH):
            self._spend(at, line)
            if line.text.startswith("@"):
                kept = self._conditional(at, line)
                if kept is None:
                    return
                line = kept
            before = line
            if defines := _DEFINITION.match(line.text):
                self._define(at, line, defines["name"], defines.end())
                return
            if line.text.startswith(("~SEQ", "~LST")):
                yield from self._sequence(at, line, depth)
                return
            line, *rest = self._replace(at, line)
            if rest:
                for one in (line, *rest):
                    yield from self.lines(at, one, depth + 1)
                return
            if line is before:
                yield line
                return
        raise self._too_deep(at, line)

    def view(self, at: At, line: Line) -> Source:
        """Return the file of *line*, seen through the definitions that made it."""
        if not line.used:
            return at.source
        names: dict[str, Span | None] = {}
        for definition, index in line.used:
            places = definition.places
            names[f"${definition.name}"] = places[index] if places else None
        return at.source.through(Expansion(line.text, tuple(names.items())))

    def span(self, at: At, line: Line, start: int, end: int) -> Span:
        """Return the place as written of a piece of *line*."""
        column, length = line.place(start, end)
        return Span(self.view(at, line), at.number, column, length)

    def _spend(self, at: At, line: Line) -> None:
        """Count one more line against the limits."""
        if line.used or line.sequenced:
            self.made += 1
            self.size += len(line.text)
        if self.made > MAX_MADE:
            message = f"definitions and sequences stand for more than {MAX_MADE} pieces"
        elif self.size > MAX_TEXT:
            message = f"definitions and sequences stand for more than {MAX_TEXT} characters"
        else:
            return
        raise self._limit(at, line, message)

    def _limit(self, at: At, line: Line, message: str) -> LimitError:
        short = replace(line, text=line.text[:MAX_SHOWN])
        return LimitError(self.span(at, short, 0, 1), message)

    def _too_long(self, at: At, line: Line) -> LimitError:
        names = {definition.name for definition, _ in line.used}
        loop = next(filter(None, map(self._loop, sorted(names))), "")
        message = loop or f"the line stands for more than {MAX_LINE} characters"
        return self._limit(at, line, message)

    def _too_deep(self, at: At, line: Line) -> LimitError:
        names = {definition.name for definition, _ in line.used}
        loop = next(filter(None, map(self._loop, sorted(names))), "")
        message = loop or f"definitions and sequences are nested more than {MAX_DEPTH} deep"
        return self._limit(at, line, message)

    def _loop(self, name: str) -> str:
        """Return how the definition of *name* leads back to it, or nothing."""
        ways: dict[str, tuple[str, ...]] = {name: (name,)}
        queue = [ways[name]]
        for way in queue:
            known = self.known.get(way[-1])
            for match in _REFERENCE.finditer("\n".join(known.lines) if known else ""):
                other = match["braced"] or match["bare"]
                if other == name:
                    return f"${name} stands for itself: ${' -> $'.join((*way, name))}"
                if other not in ways:
                    ways[other] = (*way, other)
                    queue.append(ways[other])
        return ""

    def _conditional(self, at: At, line: Line) -> Line | None:
        """Return what follows a condition that holds, else nothing."""
        condition = _CONDITION.match(line.text)
        assert condition is not None
        own = self.surroundings.config_id
        if _TEMPLATE.match(line.text) and condition["name"] != own:
            return line  # @NAME@ of a template that was not filled in: it is told as such
        if condition.end() == len(line.text):
            message = f"'{line.text}' is a condition with nothing behind it; the line is left out"
            hint = "write: @ID KEYWORD ...; a value that starts with @ needs quotes"
            span = self.span(at, line, 0, len(line.text))
            self.found.append(warning(Code.LANGUAGE, span, message, hint))
            return None
        holds = (condition["name"] == own) is not bool(condition["other"])
        return line.cut(condition.end()) if holds else None

    def _define(self, at: At, line: Line, name: str, start: int) -> None:
        texts = [line.text[start:]]
        places = [self.span(at, line, 0, start)]
        if texts[0].endswith("\\"):
            texts[0] = texts[0].rstrip("\\").rstrip()
        for text, number in at.more:
            texts.append(text)
            places.append(Span(at.source, number, 1))
        self.known[name] = Definition(name, tuple(texts), tuple(places))

    def _lookup(self, at: At, line: Line, match: re.Match[str]) -> Definition | None:
        name = match["braced"] or match["bare"]
        words = (match["words"] or "").split()
        if not words and (known := self.known.get(name)) is not None:
            return known
        if name not in MOST_WORDS:
            return None
        try:
            text = standard(name, words, at.source.path, self.surroundings)
            return Definition(name, (text,))
        except ValueError as bad:
            span = self.span(at, line, match.start(), match.end())
            self.found.append(error(Code.LANGUAGE, span, f"'{match[0]}': {bad}"))
            return Definition(name, ("",))

    def _replace(self, at: At, line: Line) -> list[Line]:
        """Return *line* with its references replaced once; itself where there are none."""
        if "$" not in line.text:
            return [line]
        pieces: list[tuple[int, int, Definition]] = []
        last: Definition | None = None
        for match in _REFERENCE.finditer(line.text):
            definition = self._lookup(at, line, match)
            if definition is None:
                continue
            if len(definition.lines) > 1:
                if match.end() != len(line.text):
                    continue
                last = definition
            pieces.append((match.start(), match.end(), definition))
        if not pieces:
            self._not_replaced(at, line)
            return [line]
        size = len(line.text) + sum(len(one.lines[0]) for _, _, one in pieces)
        if size > MAX_LINE + sum(end - start for start, end, _ in pieces):
            raise self._too_long(at, line)
        self.made += len(pieces)
        self._spend(at, line)
        made = line.replaced(pieces)
        if last is None:
            return [made]
        start, end, _ = pieces[-1]
        rest = [line.stand_in(start, end, last, index) for index in range(1, len(last.lines))]
        return [made, *rest]

    def _not_replaced(self, at: At, line: Line) -> None:
        """Warn of names that are defined, and yet are not replaced where they stand."""
        for match in _BARE.finditer(line.text):
            known = self.known.get(match[1])
            if known is None:
                continue
            if len(known.lines) > 1:
                message = f"'{match[0]}' has several lines, and is replaced at a line's end only"
                hint = "give it a line of its own"
            else:
                message = f"'{match[0]}' is not replaced here"
                hint = f"write ${{{match[1]}}}"
            span = self.span(at, line, match.start(), match.end())
            self.found.append(warning(Code.NOT_REPLACED, span, message, hint))

    def _sequence(self, at: At, line: Line, depth: int) -> Iterator[Line]:
        """Return the lines of a ``~SEQ`` or ``~LST``."""
        end = line.text.find(")") + 1
        try:
            head = self._head(at, line.upto(end or len(line.text)))
            read = parse_sequence if head.text.startswith("~SEQ") else parse_list
            names, rounds = read(head.text, MAX_MADE)
        except SequenceError as bad:
            span = self.span(at, line, 0, end or len(line.text))
            self.found.append(error(Code.LANGUAGE, span, f"'{span.text}': {bad}", bad.hint))
            return
        place = self.span(at, line, 0, end)
        body = line.cut(end).stripped()
        for values in rounds:
            for name, value in zip(names, values, strict=True):
                self.known[name] = Definition(name, (value,), (place,))
            yield from self.lines(at, body.in_sequence(), depth + 1)

    def _head(self, at: At, head: Line) -> Line:
        """Return the part in brackets with its references replaced."""
        for _ in range(MAX_DEPTH):
            self._spend(at, head)
            before = head
            head = self._replace(at, head)[0]
            if head is before:
                return head
        raise self._too_deep(at, head)
