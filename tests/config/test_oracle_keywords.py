"""keepalived's verdict on every keyword with good and bad values, against ours.

Ours is what test_every_keyword.py proves: the good ones are taken, the bad ones refused.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from support.frames import frame
from support.verdicts import COMPLAINTS, LENIENT

from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.value_type import type_of

pytestmark = pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived")

EVERY: Final = 1 if os.environ.get("LVSKEEPER_ORACLE") == "all" else 61
"""Each so many-th case is tried: one costs keepalived some 30 ms."""
PREFIX: Final = re.compile(r"^\(.*?Line \d+\) ")


class Case(NamedTuple):
    """A keyword with a value."""

    block: str
    keyword: Keyword
    value: str
    good: bool


def cases() -> Iterator[Case]:
    for block, table in BLOCKS.items():
        for keyword in table.values():
            known = "K" in keyword.origin and keyword.since != "2.4.3"
            if not known or keyword.block or keyword.status is Status.REFUSED:
                continue
            kind = type_of(keyword.read) if keyword.read else None
            for value in kind.good[:2] if kind else ():
                yield Case(block, keyword, value, good=True)
            for value in kind.bad[:3] if kind else ():
                yield Case(block, keyword, value, good=False)


def complaints(text: str, folder: Path) -> list[str]:
    path = folder / "a.conf"
    path.write_text(text)
    said = subprocess.run(
        ["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False
    )
    # 2.2.7 crashes over some blocks that lack something, but says first what is wrong.
    lines = [PREFIX.sub("", line) for line in said.stderr.splitlines()]
    return [line for line in lines if "SECURITY" not in line]


@cache
def usual(block: str, folder: Path) -> frozenset[str]:
    """Return what is said of the block without the keyword."""
    return frozenset(complaints(frame(block) % "", folder))


@pytest.mark.parametrize("part", range(4))
def test_where_the_verdicts_differ_there_is_a_reason(part: int, tmp_path: Path) -> None:
    lenient = {one.kind for one in LENIENT}
    known = [text for one in COMPLAINTS for text in one.begins]
    for case in list(cases())[::EVERY][part::4]:
        line = f"{case.keyword.name} {case.value}".rstrip()
        said = complaints(frame(case.block) % line, tmp_path)
        said = [one for one in said if one not in usual(case.block, tmp_path)]
        if case.good and said:
            assert any(text in said[0] for text in known), (case.block, line, said)
        elif not case.good and not said:
            assert case.keyword.type is not None
            assert case.keyword.type.kind in lenient, (case.block, line)


def test_each_case_is_of_a_keyword_that_keepalived_has() -> None:
    assert len(list(cases())) > 1_500
