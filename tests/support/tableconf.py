"""Configurations by chance, made of the keyword table and its examples."""

import random
from collections.abc import Iterator
from typing import Final, final

from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ROOT

ENTRIES: Final = {
    "local_address_group": ("192.0.2.5", "192.0.2.16-19 eth1", "2001:db8::1-9"),
    "virtual_server_group": ("192.0.2.10 80", "192.0.2.16-19 443", "fwmark 3 inet6"),
}
COMMENTS: Final = ("# why", "! since: then", "#", "# a: b {x} \"y' ${z}", "#\tå \x1b ")


@final
class TableWriter:
    """Writes files in the form of keepalived.conf; they need not make sense."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def file(self) -> str:
        """Return a whole file."""
        lines = list(self.block(ROOT, "", most=8))
        return "\n".join(lines) + "\n"

    def block(self, name: str, pad: str, most: int = 6) -> Iterator[str]:
        """Yield lines of the contents of a block."""
        table = [one for one in BLOCKS[name].values() if one.status is not Status.REFUSED]
        for keyword in self.random.choices(table, k=self.random.randint(0, most)):
            yield from self.comment(pad)
            yield from self.keyword(keyword, pad)
        yield from self.comment(pad)

    def keyword(self, keyword: Keyword, pad: str) -> Iterator[str]:
        """Yield the lines of one keyword."""
        head = f"{pad}{keyword.name} {self.value(keyword)}".rstrip()
        tail = self.random.choice(("", "", "", f" {self.random.choice(COMMENTS)}"))
        if not keyword.block:
            yield head + tail
            return
        yield f"{head} {{{tail}"
        inner = pad + "  "
        if keyword.name in ENTRIES and not pad:
            yield from (f"{inner}{one}" for one in self.several(ENTRIES[keyword.name]))
        elif keyword.entries is not None:
            assert keyword.type is not None
            for one in self.several(keyword.type.good):
                yield from self.comment(inner)
                yield inner + one
        elif keyword.name in BLOCKS:
            yield from self.block(keyword.name, inner)
        yield pad + "}" + tail

    def several(self, values: tuple[str, ...]) -> list[str]:
        return self.random.choices(values, k=self.random.randint(0, 3))

    def value(self, keyword: Keyword) -> str:
        """Return the words behind a keyword."""
        if keyword.block and keyword.least == 2 and keyword.most == 2:
            self.names += 1
            return self.random.choice((f"name{self.names}", f'"{self.names} # a: b"'))
        if keyword.entries is not None or keyword.read is None or keyword.type is None:
            return ""
        return self.random.choice(keyword.type.good)

    def comment(self, pad: str) -> list[str]:
        return self.random.choice(([], [], [pad + self.random.choice(COMMENTS)]))


def path_to(block: str) -> list[Keyword]:
    """Return the blocks that lead to *block*, from the outside in."""
    found: list[Keyword] = []
    while block != ROOT:
        outer, keyword = next(
            (outer, table[block])
            for outer, table in BLOCKS.items()
            if block in table and table[block].block and outer != block
        )
        found.insert(0, keyword)
        block = outer
    return found


def all_of(block: str) -> str:
    """Return a file with every value of every keyword of *block*, each in a block of its own."""
    writer = TableWriter(0)
    lines: list[str] = []
    for keyword in BLOCKS[block].values():
        if keyword.status is Status.REFUSED:
            continue
        plain = not keyword.block and keyword.read is not None and keyword.type is not None
        for value in keyword.type.good if plain and keyword.type is not None else ("",):
            outer = path_to(block)
            for depth, one in enumerate(outer):
                lines.append(f"{'  ' * depth}{one.name} {writer.value(one)} {{")
            pad = "  " * len(outer)
            if plain:
                lines.append(f"{pad}{keyword.name} {value}")
            else:
                lines += writer.keyword(keyword, pad)
            lines += ["  " * depth + "}" for depth in reversed(range(len(outer)))]
    return "\n".join(lines) + "\n"
