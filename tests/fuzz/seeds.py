"""What fuzzers begin with: the examples, the golden files, the keyword table, and the corpus."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fuzz.target import SPLIT
from support.frames import frame

from lvskeeper.config.keyword import Keyword
from lvskeeper.config.keywords import BLOCKS

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = Path(__file__).with_name("corpus.jsonl")
"""Inputs that came to something new, a JSON string a line; ``--found`` adds to such a file."""

_DEFINITIONS: Final = """\
$A=x ${B}
$B=y \\
 z \\
 w
global_defs { router_id ${A} }
~SEQ(i, 1, 3) virtual_server 192.0.2.${i} 80 { protocol TCP }
~LST({a, b}, {1, 2}, {3, 4}) x ${a} ${b}
@one alpha
@^one beta
${_ENV E} ${_RANDOM 1 2} ${_PWD}
include b.inc
"""


def seeds() -> list[str]:
    """Return inputs to begin with."""
    found = [_DEFINITIONS + SPLIT + "virtual_server 192.0.2.99 80 {\n}\n"]
    for folder in (ROOT / "conf", ROOT / "tests/golden/config/bad"):
        for path in sorted(folder.iterdir()):
            if path.suffix in {".conf", ".yaml"}:
                head = SPLIT * 2 if path.suffix == ".yaml" else ""
                found.append(head + path.read_text(errors="replace"))
    for block, table in BLOCKS.items():
        found.append(frame(block) % "\n".join(_lines(table.values())))
    if CORPUS.exists():
        found += map(json.loads, CORPUS.read_text().splitlines())
    return found


def _lines(table: Iterable[Keyword]) -> Iterator[str]:
    for keyword in table:
        value = keyword.type.good[-1] if keyword.type else ""
        if not keyword.block:
            yield f"{keyword.name} {value}"
        elif keyword.entries is not None:
            yield f"{keyword.name} {'N' if keyword.read else ''} {{ {value} }}"
        else:
            yield f"{keyword.name} {value} {{\n}}"
