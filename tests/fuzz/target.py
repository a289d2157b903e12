"""What a fuzzer asks of an input: whatever it says, there is an answer, and soon."""

from typing import Final

from support.memfiles import MemoryFiles

from lvskeeper.config.diagnostics import as_json, render_github, render_text
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.source import Surroundings

SPLIT: Final = "\x1e"
"""Parts the files of an input: the second is included, the third is YAML, and read if there."""
SHOWN: Final = 2
"""Diagnostics that are shown in every form; all would take longer than all the rest."""
NAMES: Final = ("a.conf", "b.inc", "c.yaml")
AROUND: Final = Surroundings("one", "/etc", {"E": "of-the-environment"}, max)


def judge(text: str) -> Loaded:
    """Load what *text* says, leniently where its length is odd."""
    parts = text.split(SPLIT, 2)
    files = MemoryFiles(dict(zip(NAMES, parts, strict=False)), exposed=["b.inc"])
    name = NAMES[2] if len(parts) > 2 else NAMES[0]
    loaded = load(name, files, AROUND, compat=len(text) % 2 == 1)
    assert (loaded.config is None) == bool(loaded.errors)
    for one in loaded.diagnostics:
        assert 1 <= one.span.line <= len(one.span.source.lines) + 1
        assert one.span.column >= 1
    for one in loaded.diagnostics[:SHOWN]:
        assert render_text(one)
        assert "\n" not in render_github(one)
        assert as_json(one)["line"] == one.span.line
    return loaded
