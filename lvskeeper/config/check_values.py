"""Readers of the values of checks; see :mod:`lvskeeper.config.values`."""

import re
from collections.abc import Sequence
from typing import Final

from lvskeeper.config import entry_words
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.command import unescape
from lvskeeper.config.value_type import Kind, typed
from lvskeeper.config.values import choice, integer, seconds, signed, text
from lvskeeper.health.dns import TYPES, encode_name
from lvskeeper.health.pcre import OPTIONS

MAX_ANSWER: Final = 255
"""Characters of the value of a DNS record."""
MAX_FLAPS: Final = 100

_PAYLOAD: Final = re.compile(r"(?:[0-9a-f]{2})+")
_REPLY: Final = re.compile(r"(?:[0-9a-fx]{2})+")
_DNS_NAME: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_USUAL_TYPES: Final = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")
_DNS_NUMBER: Final = re.compile(r"TYPE([0-9]{1,5})", re.ASCII)


@typed(Kind.TEXT, ("eth1",), ("a/b", "a-name-that-is-too-long"))
def device(words: Sequence[str]) -> str:
    """Read the name of a network device."""
    return entry_words.device(text(words), 1)


@typed(Kind.PATH, ("/etc/x.pem",), ("x.pem", '""', "${X}"))
def file(words: Sequence[str]) -> str:
    """Read the name of a file."""
    word = text(words)
    if not word.startswith("/"):
        raise BadValueError(1, f"'{word}' is no path from the root", "a path that starts with /")
    if "\0" in word:
        raise BadValueError(1, "a path cannot hold a NUL character")
    return word


@typed(Kind.TEXT, ("'^ok'", '"a b"'), ('""', "''", "{{ p }}"))
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


@typed(Kind.WORDS, ("utf caseless",), ("UTF", "utf x"))
def regex_options(words: Sequence[str]) -> tuple[str, ...]:
    """Read names of options of PCRE2."""
    for index in range(1, len(words)):
        try:
            _option(words[index - 1 : index + 1])
        except BadValueError as bad:
            raise BadValueError(index, bad.message, bad.hint) from bad
    return tuple(dict.fromkeys(words[1:]))


@typed(Kind.WORDS, ("0D 0a0b",), ("0", "0x", "0g"))
def payload(words: Sequence[str]) -> str:
    """Read hexadecimal digits, in pairs."""
    return _digits(words, _PAYLOAD, "pairs of hexadecimal digits: 0d0a")


@typed(Kind.WORDS, ("", "xx 0a"), ("0", "0g", "x"))
def reply(words: Sequence[str]) -> str:
    """Read nothing, or hexadecimal digits in pairs with ``x`` for any digit."""
    if len(words) == 1:
        return ""
    return _digits(words, _REPLY, "pairs of hexadecimal digits, with x for any: 0dxx0a")


def _digits(words: Sequence[str], form: re.Pattern[str], hint: str) -> str:
    digits = "".join(words[1:]).lower()
    if not form.fullmatch(digits):
        raise BadValueError(1, f"'{' '.join(words[1:])}' is not hexadecimal", hint)
    return digits


@typed(Kind.WORDS, ("SOA", "aaaa", "TYPE65280"), ("FOO", "TYPE0", "TYPE65536", "1"))
def dns_type(words: Sequence[str]) -> int:
    """Read a type of DNS records; the value is its number."""
    word = words[1].upper()
    if number := _DNS_NUMBER.fullmatch(word):
        value = int(number[1])
        if not 0 < value < 65_536:
            raise BadValueError(1, f"{words[1]} is not within TYPE1 to TYPE65535")
        return value
    if (known := TYPES.get(word)) is None:
        from difflib import get_close_matches  # noqa: PLC0415 - good files need no hints

        close = get_close_matches(word, TYPES, n=1, cutoff=0.7)
        meant = f"did you mean '{close[0]}'? " if close else ""
        usual = ", ".join(_USUAL_TYPES)
        hint = f"{meant}one of {usual}, another of the IANA's, or TYPE with its number"
        raise BadValueError(1, f"'{words[1]}' is no type of DNS records", hint)
    return known


@typed(Kind.TEXT, ("www.example.com.",), ("a..b", "é"))
def dns_name(words: Sequence[str]) -> str:
    """Read a name of DNS."""
    word = text(words)
    if not _DNS_NAME.fullmatch(word):
        raise BadValueError(1, f"'{word}' is not a name of DNS", "letters, digits, '-', '_', '.'")
    try:
        encode_name(word)
    except ValueError as bad:
        raise BadValueError(1, str(bad)) from bad
    return word


@typed(Kind.WORDS, ("", "192.0.2.1 192.0.2.2", '"10 mail.example."'), ('""', f'"{"a" * 256}"'))
def dns_answer(words: Sequence[str]) -> tuple[str, ...]:
    """Read nothing, or the values that records must have."""
    for index, word in enumerate(words[1:], 1):
        if not 0 < len(word) <= MAX_ANSWER:
            raise BadValueError(index, f"a value has 1 to {MAX_ANSWER} characters")
    return tuple(words[1:])


_count = integer(2, MAX_FLAPS)
_seconds = seconds()


@typed(Kind.WORDS, ("3 60", "2 0.5"), ("", "3", "1 60", "101 60", "3 0", "x 60"))
def damping(words: Sequence[str]) -> tuple[int, float]:
    """Read ``COUNT SECONDS``."""
    try:
        within = _seconds(words[1:3])
    except BadValueError as bad:
        raise BadValueError(2, bad.message, bad.hint) from bad
    count = _count(words)
    assert isinstance(count, int)
    assert isinstance(within, float)
    return count, within


_file_weight = signed(1 - 2**31, 2**31 - 1)


@typed(Kind.WORDS, ("-2147483647 reverse", "1"), ("x", "2147483648", "1 back"))
def file_weight(words: Sequence[str]) -> dict[str, object]:
    """Read ``weight N [reverse|noreverse]``."""
    values: dict[str, object] = {"weight": _file_weight(words)}
    if len(words) > 2:
        try:
            values["reverse"] = choice("reverse", "noreverse")(words[1:3]) == "reverse"
        except BadValueError as bad:
            raise BadValueError(2, bad.message, bad.hint) from bad
    return values
