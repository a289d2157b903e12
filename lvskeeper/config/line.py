"""A line while definitions change it: its text, and where each piece of it was written."""

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvskeeper.config.expand import Definition

Spot: TypeAlias = tuple[int, int, int]
"""Where a piece starts in the text, its column as written, and its length there.

The length is 0 for text that was written as it stands: then every character has its own column.
"""

_PIECES: Final = re.compile(r'"[^"]*"?|\\[#!]|[#!].*|\\|[^"\\#!]+', re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A line, or what it was made of."""

    text: str
    spots: tuple[Spot, ...]
    used: "tuple[tuple[Definition, int], ...]" = ()
    """The definitions whose text is in it, and which of their lines."""
    sequenced: bool = False
    """It is one of the lines of a sequence."""

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return column and length as written of ``text[start:end]``."""
        first, last = self._spot(start), self._spot(max(start, end - 1))
        column = first[1] if first[2] else first[1] + start - first[0]
        stop = last[1] + last[2] if last[2] else last[1] + end - last[0]
        return column, max(1, stop - column)

    def _index(self, at: int) -> int:
        return max(0, bisect_right(self.spots, at, key=itemgetter(0)) - 1)

    def _spot(self, at: int) -> Spot:
        return self.spots[self._index(at)]

    def cut(self, start: int) -> "Line":
        """Return what stands from *start* on."""
        spots = self._moved(start, len(self.text), 0) or [(0, *self.place(start, start))]
        return replace(self, text=self.text[start:], spots=tuple(spots))

    def upto(self, end: int) -> "Line":
        """Return what stands before *end*."""
        spots = tuple(spot for spot in self.spots if spot[0] < end)
        return replace(self, text=self.text[:end], spots=spots)

    def stripped(self) -> "Line":
        """Return the line without blanks at its ends."""
        lead = len(self.text) - len(self.text.lstrip())
        line = self.cut(lead) if lead else self
        return replace(line, text=line.text.rstrip())

    def replaced(self, pieces: "Sequence[tuple[int, int, Definition]]") -> "Line":
        """Return the line with the first line of a definition in place of each piece.

        *pieces* are start, end and definition, from left to right.
        """
        texts: list[str] = []
        spots: list[Spot] = []
        done = size = 0
        for start, end, definition in pieces:
            spots += self._moved(done, start, size)
            texts.append(self.text[done:start])
            size += start - done
            spots.append((size, *self.place(start, end)))
            texts.append(definition.lines[0])
            size += len(definition.lines[0])
            done = end
        spots += self._moved(done, len(self.text), size)
        texts.append(self.text[done:])
        used = dict.fromkeys((*self.used, *((piece[2], 0) for piece in pieces)))
        return replace(self, text="".join(texts), spots=tuple(spots), used=tuple(used))

    def _moved(self, start: int, end: int, to: int) -> list[Spot]:
        """Return the spots of ``text[start:end]``, which begins at *to* in another text."""
        if start >= end:
            return []
        index = self._index(start)
        at, column, length = self.spots[index]
        found = [(to, column if length else column + start - at, length)]
        for spot in self.spots[index + 1 :]:
            if spot[0] >= end:
                break
            found.append((spot[0] - start + to, *spot[1:]))
        return found

    def stand_in(self, start: int, end: int, definition: "Definition", index: int) -> "Line":
        """Return line *index* of a definition, to which ``text[start:end]`` refers."""
        column, length = self.place(start, end)
        used = tuple(dict.fromkeys((*self.used, (definition, index))))
        spots = ((0, column, length),)
        return replace(self, text=definition.lines[index], spots=spots, used=used)

    def in_sequence(self) -> "Line":
        """Return the line as one of a sequence."""
        return replace(self, sequenced=True)


def decomment(line: str) -> Line:
    r"""Return a line as written without its comment and outer blanks; ``\#`` is a ``#``."""
    if "#" not in line and "!" not in line:
        return Line(line, ((0, 1, 0),)).stripped()
    texts: list[str] = []
    size = 0
    spots: list[Spot] = []
    for match in _PIECES.finditer(line):
        piece = match[0]
        if piece[0] in "#!":
            break
        escaped = piece in {"\\#", "\\!"}
        spots.append((size, match.start() + 1, 2 if escaped else 0))
        texts.append(piece[1] if escaped else piece)
        size += len(texts[-1])
    return Line("".join(texts), tuple(spots) or ((0, 1, 0),)).stripped()
