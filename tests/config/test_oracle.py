"""What keepalived itself makes of the language, against what we make of it.

A keyword that keepalived does not know is told with its line, after all definitions, conditions and
sequences have done their work. So files of such keywords show what it reads, word for word.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.differences import DIFFERENCES, Difference, page
from support.oracle import CONFIG_ID, FIRST, Verdict, taken, theirs, write

from lvskeeper.config.tree import Directive, parse_file
from lvskeeper.kernel.files import LocalFiles, local_surroundings

pytestmark = pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived")

PAGE = Path(__file__).parents[2] / "docs" / "keepalived-language.md"
FILES = 25
"""Files of a test: each costs keepalived some 30 ms."""


def words(path: Path) -> tuple[tuple[int, str], ...]:
    """Return the first word of every directive, and its line, as keepalived tells them."""
    tree = parse_file(str(path), LocalFiles(), local_surroundings(CONFIG_ID))
    return tuple(_words(tree.directives, str(path)))


def _words(directives: list[Directive], path: str) -> Iterator[tuple[int, str]]:
    for one in directives:
        if one.children is None:
            yield (one.line if one.source.path == path else 0, one.words[0])
        else:
            yield from _words(one.children, path)


class Writer:
    """Writes files of the language by chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["A", "B", "C_1", "_d"]
        self.several = ["M", "N"]
        self.defined = set[str]()

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def reference(self) -> str:
        name = self.one(*sorted(self.defined)) if self.defined else ""
        if not name:
            return "x"
        return self.one(f"${{{name}}}", f"${{{name}}}", f"${name},", f"${name})", f"${name}/24")

    def word(self) -> str:
        pieces = [
            self.one("a", "b7", "-", "1.5", "/x", "'q'", "$", "Tru$tNo1", "\\n", self.reference(),
                     self.reference(), "${_INSTANCE}", "${_PWD}")
            for _ in range(self.random.randint(1, 4))
        ]  # fmt: skip
        return f"p{''.join(pieces)}"

    def text(self) -> str:
        made = self.word()
        if self.random.random() < 0.3:
            made = f'"p q {self.reference()} # no {self.one("!", ";", "{", "}")} comment"'
        tail = self.one("", "", " two", f" {self.reference()}", "#c", " ! c { }", ' "z', " # }")
        return made + tail.replace('"z', '"z"')

    def define(self) -> str:
        name = self.one(*self.names)
        value = self.one("v", "1 2", self.word(), f"{self.word()} {self.reference()}", "", "  w  ",
                         'x "y  z"', "$ $", "a # gone")  # fmt: skip
        if f"${{{name}}}" in value or f"${name}" in value:
            value = "v"
        # A loop is refused here, and keeps keepalived busy for ever.
        if "$" in value and "Tru" not in value and value != "$ $":
            value = "".join(re.split(r"\$\{?[A-Z_]\w*\}?", value)) or "v"
        self.defined.add(name)
        return f"${name}={self.one('', ' ')}{value}"

    def several_lines(self) -> str:
        name = self.one(*self.several)
        pieces = [f"{self.word()}{self.one('', ' two', ' # why')}" for _ in range(2)]
        pieces = [
            piece.replace(" #", " \\ #") if "#" in piece else f"{piece} \\" for piece in pieces
        ]
        return f"${name}={pieces[0]}\n  {pieces[1]}\n  pend\n{self.one('', 'pbefore ')}${name}"

    def sequence(self) -> str:
        head = self.one("~SEQ(i, 1, 3)", "~SEQ(i, 3)", "~SEQ(i,2,-1,0)", "~SEQ(i, 0x8, 010)",
                        "~SEQx(i, 9, 11)", "~SEQ(i,1,2) ~SEQ(j,1,${i})", "~LST(i, a, b)",
                        "~LST({i, k}, {a, b}, {c}, d)")  # fmt: skip
        return f"{head} p${{i}}_{self.text()}"

    def line(self) -> str:
        condition = self.one("", "", "", "", "@host ", "@^host ", "@other  ", "@^other ")
        if condition in {"@^host ", "@other  "}:
            return f"{condition}{self.one(self.text(), '$A=no', 'include none')}"
        kinds = (self.define, self.define, self.sequence, self.include, self.text, self.text)
        choice = self.random.randrange(len(kinds) + 2)
        if choice < len(kinds):
            return condition + kinds[choice]()
        return self.several_lines() if choice == len(kinds) else self.block()

    def include(self) -> str:
        return f"include {self.one('b.inc', '*.inc', '{b,c}.inc', 'no*')}"

    def block(self) -> str:
        return f"global_defs {self.one('{', chr(10) + '{')}\n  {self.text()}\n}}"

    def file(self) -> str:
        count = self.random.randint(3, 14)
        return "\n".join([FIRST, *(self.line() for _ in range(count))]) + "\n"


OTHERS = {"b.inc": "pb1 x\n  pb2 # ${_PWD}\n", "c.inc": "pc_${_PWD}\n"}


@pytest.mark.parametrize("seed", range(8))
def test_both_read_the_same_words(seed: int, tmp_path: Path) -> None:
    for number in range(FILES):
        path = write(tmp_path, Writer(seed * FILES + number).file(), OTHERS)
        assert words(path) == theirs(path).words, path.read_text()


def sound(rng: random.Random) -> str:
    """Return a file that serves something, and uses the language for it."""
    count = rng.randint(1, 3)
    return f"""\
$NET=198.51.100 # the real servers
$ALGO={rng.choice(["rr", "wlc", "lc"])}
@host   $PORT=80
@^host  $PORT=eighty
$REAL=real_server ${{NET}}.${{i}} $PORT {{ \\
    weight 1 ! of all \\
    }}
global_defs {{ router_id "{rng.choice(["a b", "c"])}" }}
virtual_server 192.0.2.1 ${{PORT}} {{
    lb_algo $ALGO
    lb_kind NAT
    protocol TCP
    delay_loop {rng.randint(1, 60)}
    ~SEQ(i, 1, {count}) $REAL
    ~LST({{n, w}}, {{7, 1}}, {{8, 2}}) real_server ${{NET}}.${{n}}0 80 {{ weight $w }}
}}
"""


FAULTS = (
    ("weight 1", "weight one"),
    ("lb_algo $ALGO", "lb_algo x$ALGO"),
    ("~SEQ(i,", "~SEQ(i;"),
    ("{n, w}", "{n}"),
    ("@^host  $PORT", "@host  $PORT"),
    ("protocol TCP", "protokol TCP"),
    ("weight $w }\n}", "weight $w }\n}\n}"),
    ("$REAL=", "$REEL="),
    ("${NET}.${i}", "${NET}.${i"),
    ('router_id "', 'router_id ""'),
    ("    delay_loop ", "    delay_loop x"),
    ("$ALGO=", "$ALGO=x"),
)


@pytest.mark.parametrize("seed", range(4))
def test_both_take_a_sound_file(seed: int, tmp_path: Path) -> None:
    path = write(tmp_path, sound(random.Random(seed)), {})
    assert theirs(path).good
    assert taken(path)


@pytest.mark.parametrize("fault", FAULTS)
def test_both_complain_of_a_fault(fault: tuple[str, str], tmp_path: Path) -> None:
    text = sound(random.Random(1))
    assert fault[0] in text
    path = write(tmp_path, text.replace(*fault, 1), {})
    assert (theirs(path).good, taken(path)) == (False, False)


@pytest.mark.parametrize("one", DIFFERENCES, ids=lambda one: one.title)
def test_a_difference_on_purpose_is_one(one: Difference, tmp_path: Path) -> None:
    path = write(tmp_path, one.text, one.others)
    try:
        said: Verdict | None = theirs(path, 1.0 if one.hangs else 20.0)
    except subprocess.TimeoutExpired:
        said = None
    assert (said is None) == one.hangs
    if said is not None:
        assert said.good is one.theirs
    assert taken(path) is one.ours


def test_the_page_of_the_differences_is_up_to_date() -> None:
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        PAGE.write_text(page())
    assert PAGE.read_text() == page()
