from hypothesis import given
from hypothesis import strategies as st
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.include import MAX_DEPTH
from lvskeeper.config.load import load
from lvskeeper.config.tree import Directive, Tree, parse_file

TEXTS = st.lists(
    st.sampled_from(
        [
            "virtual_server", "192.0.2.1", "80", "real_server", "TCP_CHECK", "{", "}", "\n", "\n",
            "\n", '"', "#", "include", "b.conf", "lb_algo", "rr", "é", "\\", "group", "g", "$X",
            "{{ x }}", "global_defs", "vrrp_instance", "url", "HTTP_GET", "fwmark", "\t", "",
            "local_address_group", "virtual_server_group", "path", "/", "1-2", "notify_up", "'",
        ]
    ),
    max_size=60,
).map(" ".join)  # fmt: skip


def parse(**texts: str) -> Tree:
    return parse_file("a.conf", MemoryFiles({f"{name}.conf": text for name, text in texts.items()}))


def shape(directives: list[Directive]) -> list[object]:
    return [
        (str(one), shape(one.children)) if one.children is not None else str(one)
        for one in directives
    ]


def everyone(directives: list[Directive]) -> list[Directive]:
    found = []
    for one in directives:
        found += [one, *everyone(one.children or [])]
    return found


def test_braces_may_stand_anywhere() -> None:
    tree = parse(a="a 80{ b c\n d { x }\n e }\nf\n\n{\n g\n}\n")
    assert tree.diagnostics == []
    assert shape(tree.directives) == [("a 80", ["b c", ("d", ["x"]), "e"]), ("f", ["g"])]


def test_line_ends_of_windows_and_none_at_the_end() -> None:
    tree = parse(a="a {\r\n  b c\r\n}\r\nd")
    assert shape(tree.directives) == [("a", ["b c"]), "d"]


def test_a_byte_order_mark_is_no_word() -> None:
    assert shape(parse(a="\ufeffa b").directives) == ["a b"]


def test_includes_at_any_depth_and_by_pattern() -> None:
    files = MemoryFiles(
        {
            "etc/a.conf": "include conf.d/*.conf\nx {\n include part # here\n}\n",
            "etc/conf.d/2.conf": "two",
            "etc/conf.d/1.conf": "one\ninclude ../other",
            "etc/other": "other",
            "etc/part": "p { q }",
        }
    )
    tree = parse_file("etc/a.conf", files)
    assert tree.diagnostics == []
    assert shape(tree.directives) == ["one", "other", "two", ("x", [("p", ["q"])])]
    inner = tree.directives[1].span()
    assert str(inner) == "etc/conf.d/../other:1:1"
    assert str(inner.source.included_from) == "etc/conf.d/1.conf:2:9"


def test_a_file_may_be_included_twice() -> None:
    tree = parse(a="x {\n include b.conf\n}\ny {\n include b.conf\n}", b="b")
    assert tree.diagnostics == []
    assert shape(tree.directives) == [("x", ["b"]), ("y", ["b"])]


def test_a_loop_is_named() -> None:
    (found,) = parse(a="include b.conf", b="include a.conf").diagnostics
    assert found.code is Code.INCLUDE_LOOP
    assert "a.conf -> b.conf -> a.conf" in found.message


def test_includes_are_not_followed_for_ever() -> None:
    texts = {f"{number}.conf": f"include {number + 1}.conf" for number in range(MAX_DEPTH + 5)}
    (found,) = parse_file("0.conf", MemoryFiles(texts)).diagnostics
    assert found.code is Code.INCLUDE_DEPTH


def test_a_loop_that_branches_ends() -> None:
    class Links:
        def read_text(self, path: str) -> str:
            assert path.endswith("a")
            return "include x/a\ninclude y/a\n"

        def glob(self, pattern: str) -> list[str]:
            raise AssertionError(pattern)

        def exposed(self, path: str) -> bool:
            raise AssertionError(path)

        def check_include(self, path: str) -> None:
            assert path.endswith("a")

    codes = {one.code for one in parse_file("a", Links()).diagnostics}
    assert codes == {Code.INCLUDE_DEPTH}


def test_a_brace_does_not_cross_files() -> None:
    tree = parse(a="x\ninclude b.conf\n", b="{\n y\n}\n")
    assert [one.code for one in tree.diagnostics] == [Code.BRACE_STRAY]


def test_the_words_of_one_line_have_their_own_places() -> None:
    tree = parse(a='a { b "c d" { e } f }')
    places = {
        str(one): [one.span(index).text for index in range(len(one.words))]
        for one in everyone(tree.directives)
    }
    assert places == {"a": ["a"], "b c d": ["b", '"c d"'], "e": ["e"], "f": ["f"]}


@given(TEXTS, TEXTS)
def test_whatever_the_text_there_is_an_answer(first: str, second: str) -> None:
    files = MemoryFiles({"a.conf": first, "b.conf": second})
    loaded = load("a.conf", files)
    assert (loaded.config is None) == bool(loaded.errors)
    for one in loaded.diagnostics:
        assert 1 <= one.span.line <= max(1, len(one.span.source.lines))


@given(TEXTS)
def test_spans_point_at_their_words(text: str) -> None:
    tree = parse(a=text, b="c d")
    for one in everyone(tree.directives):
        for index, word in enumerate(one.words):
            piece = one.span(index).text
            quoted = piece.startswith('"')
            assert piece.removeprefix('"').removesuffix('"').rstrip() == word.rstrip() or not quoted
            assert quoted or piece.replace("\\#", "#") == word
