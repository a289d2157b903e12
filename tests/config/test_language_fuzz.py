"""Whatever definitions, conditions and sequences are made of, there is an answer, and soon."""

import time

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from support.memfiles import MemoryFiles

from lvskeeper.config.diagnostics import as_json, render_github, render_text
from lvskeeper.config.lexer import tokens
from lvskeeper.config.line import decomment
from lvskeeper.config.load import load
from lvskeeper.config.source import Surroundings

AROUND = Surroundings("one", "/etc", {"E": "of-the-environment"}, max)

PIECES = st.sampled_from(
    ["$", "${", "}", "{", "$A", "$A=", "${A}", "${B}", "$B=", "$i", "${i}", "\\\n", "\n", "\n", " ",
     "~SEQ(i, 1, 3) ", "~SEQ(", "~SEQx(", "~LST(", "~LST({i, A}, ", "{x, y}", ")", ",", "0x", "-1",
     "9", "@one ", "@^one ", "@", "#", "!", "\\#", "\\", '"', "'", "_", "a", "é", "\t", "\r", "\0",
     "${_PWD}", "${_ENV E}", "${_RANDOM 1 2}", "${_", "include b.inc\n", "includeb {a,b}.inc",
     "virtual_server 192.0.2.1 80 {\n", "global_defs {", "router_id ", "{{ x }}", "@x@", "<%",
     "\ufeff", "warnings_off LK0201\n", "$A=$B\n$B=$A\n", "$A=a \\\n b ${B}\\\n c\n"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)
WHOLE = 20_000
"""Characters of a text that is made of a few pieces again and again."""

QUICK = (Phase.explicit, Phase.generate)
"""To shrink what was slow would be slow."""

SOON = 5.0
"""Seconds of CPU for them; a look at all of it for each of its words would take longer."""


@given(TEXTS, TEXTS)
@example("$A=include a.conf\n$A", "")
@example("$A={{\n$A $A}", "}")
def test_there_is_an_answer_with_a_place(first: str, second: str) -> None:
    loaded = load("a.conf", MemoryFiles({"a.conf": first, "b.inc": second}), AROUND)
    assert (loaded.config is None) == bool(loaded.errors)
    for one in loaded.diagnostics:
        assert 1 <= one.span.line <= len(one.span.source.lines)
        line = one.span.source.lines[one.span.line - 1]
        assert 1 <= one.span.column <= len(line) + 1
        assert one.span.column + one.span.length <= max(len(line), one.span.column) + 1
        assert render_text(one).startswith(str(one.span).split("\n")[0][:6])
        assert "\n" not in render_github(one)
        assert as_json(one)["line"] == one.span.line


@given(TEXTS)
def test_a_line_without_its_comment_keeps_its_places(text: str) -> None:
    written = text.replace("\n", " ")
    line = decomment(written)
    for index, char in enumerate(line.text):
        column, length = line.place(index, index + 1)
        assert written[column - 1 : column - 1 + length].lstrip("\\") in {char, ""}
    if "${" in written or "{{" in written:
        return  # the lexer keeps these whole, with what would be a comment within them
    words = [token.text.rstrip() for token in tokens(written)]
    assert [token.text.rstrip() for token in tokens(line.text, comments=False)] == words


@settings(max_examples=20, phases=QUICK)
@given(st.lists(PIECES, min_size=1, max_size=4).map("".join), st.sampled_from(["", "$A=x y\n"]))
def test_a_long_line_takes_no_long_time(piece: str, before: str) -> None:
    flat = piece.replace("\n", " ")
    text = f"{before}{flat * (WHOLE // len(flat))}\n"
    _soon(text)


@settings(max_examples=20, phases=QUICK)
@given(st.lists(PIECES, min_size=1, max_size=4).map("".join))
def test_many_lines_take_no_long_time(piece: str) -> None:
    _soon(f"$A=x y\n{f'{piece}{chr(10)}' * (WHOLE // (len(piece) + 1))}")


def _soon(text: str) -> None:
    started = time.process_time()
    load("a.conf", MemoryFiles({"a.conf": text, "b.inc": "x\n"}), AROUND)
    assert time.process_time() - started < SOON
