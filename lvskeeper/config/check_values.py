"""Readers of the values of checks; see :mod:`lvskeeper.config.values`."""

from collections.abc import Sequence

from lvskeeper.config import entry_words
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.command import unescape
from lvskeeper.config.values import choice, text
from lvskeeper.health.pcre import OPTIONS


def device(words: Sequence[str]) -> str:
    """Read the name of a network device."""
    return entry_words.device(text(words), 1)


def file(words: Sequence[str]) -> str:
    """Read the name of a file."""
    word = text(words)
    if not word.startswith("/"):
        raise BadValueError(1, f"'{word}' is no path from the root", "a path that starts with /")
    if "\0" in word:
        raise BadValueError(1, "a path cannot hold a NUL character")
    return word


def regex(words: Sequence[str]) -> str:
    """Read a regular expression, quoted and escaped as keepalived has it."""
    word = text(words)
    if len(word) > 1 and word[0] == word[-1] == "'":
        word = word[1:-1]
    pattern = unescape(word)
    if not pattern or "\0" in pattern:
        raise BadValueError(1, "the regex is empty" if not pattern else "the regex holds a NUL")
    return pattern


_option = choice(*OPTIONS)


def regex_options(words: Sequence[str]) -> tuple[str, ...]:
    """Read names of options of PCRE2."""
    for index in range(1, len(words)):
        try:
            _option(words[index - 1 : index + 1])
        except BadValueError as bad:
            raise BadValueError(index, bad.message, bad.hint) from bad
    return tuple(dict.fromkeys(words[1:]))
