r"""Cut one physical line into words and braces, by keepalived's rules.

Words are separated by blanks. ``"..."`` is one word, may be empty, knows no escapes and ends the
word before it. ``#`` and ``!`` outside quotes start a comment anywhere; ``\#`` and ``\!`` are the
characters themselves. Braces end a word wherever they stand. There are no continuation lines.
Two shapes are kept whole so that they can be named: ``${NAME}`` and ``{{ name }}``.

What definitions put into a line (:mod:`lvskeeper.config.expand`) holds no comments any more.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, final


@final
class Kind(Enum):
    """Kind of a token."""

    WORD = "word"
    OPEN = "{"
    CLOSE = "}"
    UNCLOSED = "quote"
    """A quote that is not closed on its line; the text runs to the line's end."""


@final
class Token(NamedTuple):
    """A token, and where it stands in its line: ``line[start:end]``."""

    kind: Kind
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""\s+
    | "(?P<quoted>[^"]*)"
    | "(?P<unclosed>.*)
    | [#!].*
    | (?P<word>(?: \$\{[^{}]*\} | \{\{[^{}]*\}\} | \\[#!] | [^\s"{}#!$\\]+ | [$\\] )+)
    | (?P<brace>[{}])
    """,
    re.VERBOSE | re.DOTALL,
)

_EXPANDED: Final = re.compile(
    r"""\s+
    | "(?P<quoted>[^"]*)"
    | "(?P<unclosed>.*)
    | (?P<word>(?: \$\{[^{}]*\} | \{\{[^{}]*\}\} | [^\s"{}$]+ | \$ )+)
    | (?P<brace>[{}])
    """,
    re.VERBOSE | re.DOTALL,
)

SPECIAL: Final = frozenset('"#!\\$@~')
"""A line without these and without braces is plain words: ``str.split`` cuts it alike."""


def tokens(line: str, start: int = 0, *, comments: bool = True) -> list[Token]:
    """Return the tokens of *line* from *start* on; comments leave nothing.

    Without *comments*, ``#`` and ``!`` are characters like others.
    """
    return list(scan(line, start, comments=comments))


def scan(line: str, start: int = 0, *, comments: bool = True) -> Iterator[Token]:
    """Return the tokens as :func:`tokens` does, each when it is asked for."""
    for match in (_TOKEN if comments else _EXPANDED).finditer(line, start):
        match match.lastgroup:
            case "word":
                text = match[0]
                if comments and "\\" in text:
                    text = text.replace("\\#", "#").replace("\\!", "!")
                kind = Kind.WORD
            case "quoted":
                kind, text = Kind.WORD, match["quoted"]
            case "brace":
                text = match[0]
                kind = Kind.OPEN if text == "{" else Kind.CLOSE
            case "unclosed":
                kind, text = Kind.UNCLOSED, match["unclosed"].rstrip()
            case _:
                continue
        yield Token(kind, text, match.start(), match.end())
