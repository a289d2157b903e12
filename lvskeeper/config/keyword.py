"""A keyword of the configuration language, and short ways to write one down in a table."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import final

from lvskeeper.config import values as v
from lvskeeper.config.value_type import ValueType, type_of


@final
class Status(Enum):
    """What happens when a keyword is met."""

    SERVED = "served"
    NOTED = "noted"
    """Its value is read, and nothing acts on it: a warning says why."""
    REFUSED = "refused"
    """To pass over it would change what is served: an error says why."""


@final
@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword of one block."""

    name: str
    args: str
    doc: str
    origin: str
    """Who has it: K keepalived, T Taobao fork, D DPVS, L lvskeeper."""
    read: v.Reader | None = None
    least: int = 1
    """Fewest words, the keyword included."""
    most: int = 2
    default: str = ""
    key: str = ""
    """Field of the model; the keyword's own name where nothing is said."""
    block: bool = False
    """It opens a block; every mention adds to the ones before."""
    status: Status = Status.SERVED
    reason: str = ""
    """Why it is noted or refused, as a sentence part."""
    since: str = ""
    """The version of keepalived that had it first, among those that were compared; see
    :mod:`lvskeeper.config.since`."""
    instead: str = ""
    """The name of today, where this one is deprecated."""
    whole: bool = False
    """A plain YAML scalar is one word, blanks included."""
    bare: bool = False
    """keepalived takes no argument: whatever the word, the keyword switches on."""
    entries: v.Reader | None = None
    """The block holds entries in place of keywords: reader of one; a list stands for several."""
    many: bool = False
    """It may be given again and again; the model has all of them."""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.name)

    @property
    def type(self) -> ValueType | None:
        """The type of its value, of its entries, or of what stands on the line of its block."""
        reader = self.entries or self.read
        return type_of(reader) if reader else None


def noted(keyword: Keyword, reason: str) -> Keyword:
    """Return *keyword* as one that is passed over with a warning that gives *reason*."""
    return replace(keyword, status=Status.NOTED, reason=reason)


def refuse(keyword: Keyword, reason: str) -> Keyword:
    """Return *keyword* as one that is refused for *reason*."""
    return replace(keyword, status=Status.REFUSED, reason=reason)


def old(keyword: Keyword, name: str, *, origin: str = "") -> Keyword:
    """Return the deprecated *name* of *keyword*."""
    doc = f"Old name of `{keyword.name}`."
    return replace(
        keyword, name=name, doc=doc, instead=keyword.name, origin=origin or keyword.origin
    )


def flag(name: str, doc: str, origin: str = "K", *, default: str = "no") -> Keyword:
    """Return a keyword that is on or off."""
    return Keyword(name, "[BOOL]", doc, origin, v.flag, default=default, key=name.replace("-", "_"))


def bare(name: str, doc: str, origin: str = "K") -> Keyword:
    """Return a keyword that is on by its name alone; keepalived passes over a word behind it."""
    return Keyword(
        name, "[BOOL]", doc, origin, v.flag, default="no", key=name.replace("-", "_"), bare=True
    )


def value(
    name: str, args: str, doc: str, read: v.Reader, *, default: str = "", origin: str = "K",
    key: str = "",
) -> Keyword:  # fmt: skip
    """Return a keyword with one word."""
    return Keyword(name, args, doc, origin, read, least=2, default=default, key=key)


def text(name: str, args: str, doc: str, read: v.Reader, *, default: str = "") -> Keyword:
    """Return a keyword with a text; in YAML its blanks are its own."""
    return Keyword(name, args, doc, "K", read, least=2, default=default, whole=True)


def command(name: str, doc: str) -> Keyword:
    """Return a keyword with a command, and who runs it."""
    return Keyword(
        name, '"CMD ARGS" [USER [GROUP]]', doc, "K", v.command, least=2, most=99, whole=True
    )


def block(
    name: str, args: str, doc: str, origin: str = "K", *, read: v.Reader | None = None,
    least: int = 1, most: int = 1, key: str = "",
) -> Keyword:  # fmt: skip
    """Return a keyword that opens a block."""
    return Keyword(
        name, args, doc, origin, read, least=least, most=most, block=True,
        key=key,
    )  # fmt: skip


def refused(name: str, doc: str, reason: str, origin: str = "K") -> Keyword:
    """Return a keyword that is refused for *reason*."""
    return Keyword(name, "", doc, origin, most=99, status=Status.REFUSED, reason=reason)
