"""The part in brackets of ``~SEQ(...)`` and ``~LST(...)``."""

import re
from collections.abc import Iterable
from typing import Final, TypeAlias, final

Rounds: TypeAlias = tuple[tuple[str, ...], Iterable[tuple[str, ...]]]
"""The names, and for each round a value for every name."""

_SEQUENCE: Final = re.compile(r"~SEQ(?P<hex>x?)\((?P<words>[^()]*)\)")
_LIST: Final = re.compile(r"~LST\((?P<words>[^()]*)\)")
_ITEM: Final = re.compile(r"\s*(?:\{([^{}]*)\}|([^,{}]*))\s*(?:,|\Z)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]{1,15})|(0[0-7]{0,20})|([1-9]\d{0,17}))")

_SEQUENCE_FORM: Final = "the forms are: ~SEQ(VAR, [START, [STEP,]] END) TEXT, in hex: ~SEQx"
_LIST_FORM: Final = "the forms are: ~LST(VAR, A, B, ...) TEXT and ~LST({V, W}, {A, B}, ...) TEXT"


@final
class SequenceError(ValueError):
    """Why a sequence cannot be read."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def _number(word: str) -> int:
    match = _NUMBER.fullmatch(word)
    if match is None:
        raise SequenceError(f"'{word}' is no whole number", _SEQUENCE_FORM)
    sign, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -value if sign == "-" else value


def _name(word: str) -> str:
    if _NAME.fullmatch(word) is None:
        raise SequenceError(f"'{word}' is no name for a variable")
    return word


def parse_sequence(head: str, most: int) -> Rounds:
    """Read ``~SEQ(var, start, step, end)``; raise :class:`SequenceError`, also above *most*."""
    match = _SEQUENCE.fullmatch(head)
    words = [word.strip() for word in match["words"].split(",")] if match else []
    if match is None or not 2 <= len(words) <= 4:
        raise SequenceError("it cannot be read", _SEQUENCE_FORM)
    name = _name(words[0])
    numbers = [_number(word) for word in words[1:]]
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else (1 if end >= 0 else -1)
    step = numbers[1] if len(numbers) == 3 else (1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise SequenceError(f"steps of {step} from {start} never arrive at {end}", _SEQUENCE_FORM)
    if match["hex"] and min(start, end) < 0:
        raise SequenceError("~SEQx takes no negative numbers", _SEQUENCE_FORM)
    if (end - start) // step >= most:
        raise SequenceError(f"it stands for more than {most} lines")
    form = "x" if match["hex"] else "d"
    stop = end + (1 if step > 0 else -1)
    return (name,), ((format(value, form),) for value in range(start, stop, step))


def _items(text: str) -> list[str | list[str]]:
    """Return the comma-separated items, those in braces as lists of their own."""
    found: list[str | list[str]] = []
    at = 0
    while True:
        match = _ITEM.match(text, at)
        if match is None:
            raise SequenceError("its commas and braces do not fit", _LIST_FORM)
        if match[1] is not None:
            found.append([_plain(word) for word in match[1].split(",")])
        else:
            found.append(_plain(match[2]))
        at = match.end()
        if at >= len(text) and not match[0].endswith(","):
            return found


def _plain(word: str) -> str:
    word = word.strip()
    if re.search(r"[\s\"]", word):
        raise SequenceError(f"'{word}': a value holds no blanks and no quotes", _LIST_FORM)
    return word


def parse_list(head: str, most: int) -> Rounds:
    """Read ``~LST(v, a, b)`` or ``~LST({v, w}, {a, b})``; raise :class:`SequenceError`.

    Values that are missing in a round are empty.
    """
    match = _LIST.fullmatch(head)
    items = _items(match["words"]) if match else []
    if len(items) < 2 or len(items) > most:
        raise SequenceError("it cannot be read", _LIST_FORM)
    first, *rest = items
    names = tuple(_name(word) for word in (first if isinstance(first, list) else [first]))
    rounds: list[tuple[str, ...]] = []
    for item in rest:
        values = item if isinstance(item, list) else [item]
        if len(values) > len(names):
            raise SequenceError(f"{len(values)} values for {len(names)} names", _LIST_FORM)
        rounds.append((*values, *[""] * (len(names) - len(values))))
    return names, rounds
