"""What definitions, conditional lines and sequences come to."""

import time

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import as_json, render_text
from lvskeeper.config.load import load
from lvskeeper.config.source import Surroundings
from lvskeeper.config.tree import Directive, Tree, parse_file

AROUND = Surroundings("one", "/etc/keepalived", {"SITE": "north"}, max)


def parse(text: str, **others: str) -> Tree:
    texts = {"a.conf": text, **{f"{name}.inc": held for name, held in others.items()}}
    return parse_file("a.conf", MemoryFiles(texts), AROUND)


def lines(directives: list[Directive]) -> list[str]:
    found = []
    for one in directives:
        found.append(str(one) if one.children is None else f"{one} {{")
        if one.children is not None:
            found += [*lines(one.children), "}"]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A=1\na $A", ["a 1"]),
        ("$A=1\na ${A}b x${A}", ["a 1b x1"]),
        ("$A=1\na $A,$A) $A", ["a 1,1) 1"]),
        ("$A=  1  2   # more\na $A", ["a 1 2"]),
        ("$A=1\n$A=2\na $A", ["a 2"]),
        ("$A=\na ${A}b", ["a b"]),
        (r"$A=x\#y" + "\na $A", ["a x#y"]),
        ('$A="b  c"\na $A', ["a b  c"]),
        ('$A=b\na "x ${A} y" "$A"', ["a x b y $A"]),
        ("$B=${A}y\n$A=x\na $B", ["a xy"]),
        ("$A=B\n$B=x\na ${${A}}", ["a x"]),
        ("a Tru$tNo1 $ x$", ["a Tru$tNo1 $ x$"]),
        ("$A=1\na $AB", ["a $AB"]),
        ("$A=$B=2\n$A\na $B", ["a 2"]),
        ("x {\n$A=1\n}\na $A", ["x {", "}", "a 1"]),
        ("$A=b { c }\na $A", ["a b {", "c", "}"]),
        ("$A=}\nx {\n$A\ny", ["x {", "}", "y"]),
        ("$A=include b.inc\nx {\n$A\n}", ["x {", "inner", "}"]),
        ("$A=b\ninclude ${A}.inc", ["inner"]),
        ("include d.inc\na $D", ["a of-d"]),
    ],
)
def test_definitions(text: str, expected: list[str]) -> None:
    tree = parse(text, b="inner", d="$D=of-d")
    assert lines(tree.directives) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$M=a {\\\n b ${X} \\\n # why \n }\n$X=1\n$M", ["a {", "b 1", "}"]),
        ("$M=a\\\n  b\nx $M", ["x a", "b"]),
        ("$M= \\\n  b \\\n c\n$M", ["b", "c"]),
        ("$M=a \\\n\nb\n$M", ["b", "a"]),
        ("$N=n1\\\nn2\n$M=m1 \\\n$N \\\nm2\n$M", ["m1", "n1", "n2", "m2"]),
        ("@two $M=a \\\n b\n@one $M=c \\\n d\n$M", ["c", "d"]),
        ("$M=a # x \\\n b \\ # y\n# z \\\n c\n$M", ["a", "b", "c"]),
        ("$M=a \\\n b\\", []),
    ],
)
def test_definitions_of_several_lines(text: str, expected: list[str]) -> None:
    assert lines(parse(text).directives) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@one a b\n@two a c", ["a b"]),
        ("@^one a b\n@^two a c", ["a c"]),
        ("@one $A=1\n@two $A=2\na $A", ["a 1"]),
        ("@one group A {\n@two group B {\nx\n}\ny", ["group A {", "x", "}", "y"]),
        ("$L=@two a\n$L\n$L=@one b\n$L", ["b"]),
        ("@two include b.inc\n@one include c.inc", ["of-c"]),
        ("  @one   a # b", ["a"]),
        ("a @two b", ["a @two b"]),
        ("a { @two }", ["a {", "@two", "}"]),
    ],
)  # fmt: skip
def test_conditional_lines(text: str, expected: list[str]) -> None:
    tree = parse(text, b="of-b", c="of-c")
    assert tree.diagnostics == []
    assert lines(tree.directives) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~SEQ(i, 1, 3) a$i/ $i", ["a$i/ 1", "a$i/ 2", "a$i/ 3"]),
        ("~SEQ(i, 3) a${i}", ["a1", "a2", "a3"]),
        ("~SEQ(i, -2) a${i}", ["a-1", "a-2"]),
        ("~SEQ(i, 4, 3) a${i}", ["a4", "a3"]),
        ("~SEQ(i, 1, 2, 6) a${i}", ["a1", "a3", "a5"]),
        ("~SEQ(i, 5, -2, 1) a${i}", ["a5", "a3", "a1"]),
        ("~SEQ(i, 0x10, 021) a${i}", ["a16", "a17"]),
        ("~SEQx(i, 9, 11) a${i}", ["a9", "aa", "ab"]),
        ("~SEQ(i,1,2)a${i}", ["a1", "a2"]),
        ("~SEQ(i, 1, 2) ~SEQ(j, 1, $i) a${i}${j}", ["a11", "a21", "a22"]),
        ("$S=2\n$T=3\n~SEQ(i, $S, ${T}) a${i}", ["a2", "a3"]),
        ("$i=9\n~SEQ(i, 1, 2) a$i\na ${i}", ["a1", "a2", "a 2"]),
        ("~SEQ(i, 1, 2) @one a${i}", ["a1", "a2"]),
        ("$M=a${i} {\\\nb\\\n}\n~SEQ(i, 1, 2) $M", ["a1 {", "b", "}", "a2 {", "b", "}"]),
        ("~SEQ(i, 1, 2)", []),
        ("~LST(v, a, b) x $v", ["x a", "x b"]),
        ("~LST(v, a,, b) x${v}", ["xa", "x", "xb"]),
        ("~LST({v, w}, {a, b}, {c}, d) x${v}_${w}_", ["xa_b_", "xc__", "xd__"]),
        ("$L=a, b\n~LST(v, ${L}, c) x $v", ["x a", "x b", "x c"]),
    ],
)
def test_sequences(text: str, expected: list[str]) -> None:
    assert lines(parse(text).directives) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${_PWD}", "a /etc/keepalived"),
        ("a ${_INSTANCE}", "a one"),
        ("a ${_ENV SITE}", "a north"),
        ("a ${_RANDOM} ${_RANDOM 5} ${_RANDOM 1 3}", "a 32767 32767 3"),
        ("a x${_HASH}y${_BANG}", "a x#y!"),
        ("$_INSTANCE=mine\na ${_INSTANCE}", "a mine"),
    ],
)
def test_standard_definitions(text: str, expected: str) -> None:
    assert lines(parse(text).directives) == [expected]


def test_the_folder_of_a_file_that_is_included() -> None:
    files = MemoryFiles({"a.conf": "include sub/b.inc", "sub/b.inc": "a ${_PWD}"})
    assert lines(parse_file("a.conf", files, AROUND).directives) == ["a /etc/keepalived/sub"]


def test_words_point_at_what_was_written() -> None:
    tree = parse('$A=one two\n  x  ${A} "y ${A}"   z\\#${A}')
    (found,) = tree.directives
    assert found.words == ["x", "one", "two", "y one two", "z#one", "two"]
    places = [found.span(index).text for index in range(6)]
    assert places == ["x", "${A}", "${A}", '"y ${A}"', "z\\#${A}", "${A}"]
    assert {found.span(index).line for index in range(6)} == {2}


def test_what_a_condition_leaves_keeps_its_places() -> None:
    (found,) = parse("  @one  lb_algo  rr # x").directives
    assert [found.span(index).text for index in range(2)] == ["lb_algo", "rr"]


BAD = "$ALGO=rrr\nvirtual_server 192.0.2.1 80 {\n  protocol TCP\n  lb_algo ${ALGO}\n}\n"


def test_a_diagnostic_names_the_place_as_written_and_the_definition() -> None:
    (found,) = load("a.conf", MemoryFiles({"a.conf": BAD}), AROUND).errors
    assert render_text(found).splitlines()[:5] == [
        "a.conf:4:11: error: lb_algo: 'rrr' is not known here [LK0207]",
        "  4 |   lb_algo ${ALGO}",
        "    |           ^^^^^^^",
        "  read as: lb_algo rrr",
        "  $ALGO is set at a.conf:1:1",
    ]
    assert as_json(found)["definitions"] == {"$ALGO": "a.conf:1:1"}


def test_what_a_sequence_repeats_is_told_once() -> None:
    text = "~SEQ(i, 1, 50) frobnicate $i\n~SEQ(i, 1, 50) frobnicate\n"
    told = load("a.conf", MemoryFiles({"a.conf": text})).errors
    assert [(one.code, one.span.line) for one in told] == [(Code.UNKNOWN, 1), (Code.UNKNOWN, 2)]


DOUBLES = "$A0=xxxxxxxxxx\n" + "".join(f"$A{i + 1}=${{A{i}}}${{A{i}}}\n" for i in range(60))

SPREADS = "$A0=a\\\nb\n" + "".join(f"$A{i + 1}=${{A{i}}}\\\n${{A{i}}}\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$A=${A}\n$A", "$A stands for itself: $A -> $A"),
        ("$A=x ${B}\n$B=${C}\n$C=$A\na $A", "$A stands for itself: $A -> $B -> $C -> $A"),
        ("$A=${A}${A}\n$A", "$A stands for itself: $A -> $A"),
        (f"{DOUBLES}$A60", "the line stands for more than 65536 characters"),
        (f"{SPREADS}$A40", "definitions and sequences are nested more than 32 deep"),
        ("~SEQ(i,1,999) ~SEQ(j,1,999) $C=1", "stand for more than 200000 pieces"),
        (f"$A={'x' * 60_000}\n" + "~SEQ(i,600) b $A", "stand for more than 33554432 char"),
        ("$A=x\n" + ("${A}" * 16_000 + "\n") * 20, "stand for more than 200000 pieces"),
        ("x" * 65_537, "the line has more than 65536 characters"),
        ("$A=x\\\n" * 20_000, "the definition has more than 10000 lines"),
        ("a {\n" * 1000, "blocks are nested more than 32 deep"),
        ("$A={ a {\n" + "b $A\n" * 1000, "blocks are nested more than 32 deep"),
        ("{\n" * 1000 , "blocks are nested more than 32 deep"),
        ("}\n" * 2000 , "more than 1000 errors"),
        ("a\n" * 2_000_000, "more than 1500000 lines"),
        ("frobnicate\n" * 2000, "more than 1000 errors"),
    ],
)  # fmt: skip
def test_limits_are_told_and_end_it(text: str, message: str) -> None:
    started = time.process_time()
    found = [one for one in load("a.conf", MemoryFiles({"a.conf": text}), AROUND).errors
             if one.code is Code.LIMIT]  # fmt: skip
    assert len(found) == 1
    assert message in found[0].message
    assert len(render_text(found[0])) < 70_000
    assert time.process_time() - started < 10


def test_a_sequence_that_is_too_long_is_not_begun() -> None:
    (found,) = parse("~SEQ(i, 1, 999999999) a $i").diagnostics
    assert found.message.endswith("it stands for more than 200000 lines")


def test_all_files_together_have_a_limit() -> None:
    texts = {"a.conf": "include b.inc\n" * 100, "b.inc": " " * 1_000_000}
    (found,) = parse_file("a.conf", MemoryFiles(texts)).diagnostics
    assert found.message == "the configuration has more than 67108864 characters"
