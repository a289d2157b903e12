"""Every keyword of the table, with values that it takes and values that it refuses.

The values come from the table, too: a keyword that is added is tested from then on.
"""

from collections.abc import Iterator

import pytest
from support.frames import frame
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, Severity
from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS
from lvskeeper.config.load import load
from lvskeeper.config.value_type import type_of

FORM = {
    Code.UNKNOWN, Code.MISPLACED, Code.NOTED, Code.REFUSED, Code.NO_VALUE, Code.EXTRA,
    Code.BAD_VALUE, Code.NO_BLOCK, Code.BLOCK, Code.PLACEHOLDER, Code.PLACEHOLDER_PART,
}  # fmt: skip
"""What is said of a line alone, whatever stands around it."""


def told(block: str, line: str) -> list[Diagnostic]:
    """Return what is said of the form of *line*, or of what stands within it."""
    text = frame(block) % line
    start = frame(block).partition("%s")[0].count("\n") + 1
    end = start + line.count("\n")
    loaded = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    return [
        one for one in loaded.diagnostics
        if one.code in FORM and start <= one.span.line <= end
    ]  # fmt: skip


def lines(keyword: Keyword) -> Iterator[tuple[str, bool]]:
    """Yield lines with the keyword, and whether each is good."""
    name = keyword.name
    entries = keyword.entries or (ENTRY_BLOCKS.get(name) if keyword.block else None)
    if not keyword.block:
        if keyword.read is None:
            yield name, True
            return
        kind = type_of(keyword.read)
        yield from ((f"{name} {value}".rstrip(), True) for value in kind.good)
        yield from ((f"{name} {value}", False) for value in kind.bad)
        if keyword.least > 1:
            yield name, False
        return
    head = name
    if keyword.read is not None:
        kind = type_of(keyword.read)
        head = f"{name} {kind.good[0]}"
        yield from ((f"{name} {value} {{\n}}", True) for value in kind.good)
        yield from ((f"{name} {value} {{\n}}", False) for value in kind.bad)
    yield head, False
    if entries is not None:
        kind = type_of(entries)
        yield from ((f"{head} {{\n{value}\n}}", True) for value in kind.good)
        yield from ((f"{head} {{\n{value}\n}}", False) for value in kind.bad)
    else:
        yield f"{head} {{\nno_such_keyword\n}}", False


@pytest.mark.parametrize("block", BLOCKS)
def test_good_values_are_taken_and_bad_ones_are_told(block: str) -> None:
    for keyword in BLOCKS[block].values():
        for line, good in lines(keyword):
            found = told(block, line)
            match keyword.status:
                case _ if block in {"tunnel_group", "tunnel_entry", "BFD_CHECK"}:
                    continue  # the block around it is refused, and what is in it not looked at
                case Status.REFUSED:
                    assert [one.code for one in found] == [Code.REFUSED], line
                    assert found[0].hint == keyword.reason
                case Status.NOTED if good and block != "bfd_instance":
                    assert [one.code for one in found] == [Code.NOTED], (line, found)
                    assert found[0].hint == keyword.reason
                case Status.SERVED | Status.NOTED if good:
                    assert found == [], line
                case _:
                    wrong = [one for one in found if one.severity is Severity.ERROR]
                    assert len(wrong) == 1, (line, found)
                    assert "%" not in wrong[0].message


def test_what_is_in_a_refused_block_is_refused_with_it() -> None:
    for block in ("tunnel_group", "tunnel_entry", "BFD_CHECK"):
        outer = "tunnel_group" if block == "tunnel_entry" else block
        text = frame(block) % "no_such_keyword"
        loaded = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
        assert [one.code for one in loaded.errors] == [Code.REFUSED]
        assert outer in loaded.errors[0].message
