"""What the values of keywords are, beside the readers that read them.

Schema, documentation, completion and tests ask for it; the readers do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, TypeVar, final

Reader: TypeAlias = Callable[[Sequence[str]], object]
"""From the words of a directive, the keyword first, to a value; see :mod:`.values`."""

_R = TypeVar("_R", bound=Reader)


@final
class Kind(Enum):
    """The kind of a value."""

    FLAG = "yes or no"
    INTEGER = "whole number"
    SECONDS = "time in seconds"
    CHOICE = "one of the words that are listed"
    ADDRESS = "address"
    PATH = "path of a file"
    COMMAND = "command, and who runs it"
    TEXT = "one word, or a text in quotes"
    WORDS = "words in a form of its own"


@final
@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a value, and examples as a file has them."""

    kind: Kind
    good: tuple[str, ...]
    """Values that are taken; an empty one stands for the keyword alone."""
    bad: tuple[str, ...]
    """Values that are refused."""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    """Words that are taken, beside a number where the kind is one."""
    unit: str = ""


_TYPES: Final[dict[Reader, ValueType]] = {}


def typed(
    kind: Kind,
    good: Sequence[str],
    bad: Sequence[str],
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    unit: str = "",
) -> Callable[[_R], _R]:
    """Return what tells the type of a reader's values, and gives the reader back."""
    told = ValueType(kind, tuple(good), tuple(bad), low, high, tuple(choices), unit)

    def tell(reader: _R) -> _R:
        _TYPES[reader] = told
        return reader

    return tell


def whole(low: int, high: int, unit: str = "", choices: Sequence[str] = ()) -> Callable[[_R], _R]:
    """Return the type of whole numbers from *low* to *high*."""
    bad = ("x", "1.5", str(low - 1), str(high + 1))
    good = (str(low), str(high), *choices)
    return typed(Kind.INTEGER, good, bad, low=low, high=high, choices=choices, unit=unit)


def type_of(reader: Reader) -> ValueType:
    """Return the type of what *reader* reads.

    Raises :class:`KeyError` for a reader whose type nobody told: a bug.
    """
    return _TYPES[reader]
