import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lvskeeper.config.lexer import SPECIAL, Kind, tokens

LINES = st.text(st.sampled_from(" \t\\\"'#!{}$ab1.-\u00e9\u00a0"), max_size=40)


def words(line: str) -> list[str]:
    return [token.text for token in tokens(line) if token.kind is Kind.WORD]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b\tc", ["a", "b", "c"]),
        ("router_id foo#bar", ["router_id", "foo"]),
        ("a ! b", ["a"]),
        (r"a \# b\!c", ["a", "#", "b!c"]),
        (r"a \n\x", ["a", r"\n\x"]),
        ('a "b # c" d', ["a", "b # c", "d"]),
        ('abc"d e"f', ["abc", "d e", "f"]),
        ('a ""', ["a", ""]),
        ('a "{" b', ["a", "{", "b"]),
        ("it's one", ["it's", "one"]),
        ("a ${B} c", ["a", "${B}", "c"]),
        ("a {{ b }} c", ["a", "{{ b }}", "c"]),
        ("a \\", ["a", "\\"]),
    ],
)
def test_words(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize("line", ["80{", "{ a", "} }", "block { x }", "a}b"])
def test_braces_end_words(line: str) -> None:
    assert "".join(token.text for token in tokens(line)) == line.replace(" ", "")
    assert all(
        (token.text in "{}") == (token.kind in {Kind.OPEN, Kind.CLOSE}) for token in tokens(line)
    )


def test_an_open_quote_runs_to_the_end_of_the_line() -> None:
    (word, quote) = tokens('a "b c # d  ')
    assert (word.text, quote.kind, quote.text) == ("a", Kind.UNCLOSED, "b c # d")


@given(LINES)
@example('"')
def test_tokens_stand_where_they_say(line: str) -> None:
    end = 0
    for token in tokens(line):
        assert end <= token.start < token.end <= len(line)
        end = token.end
        piece = line[token.start : token.end]
        if token.kind is Kind.WORD and not piece.startswith('"'):
            assert piece.replace("\\#", "#").replace("\\!", "!") == token.text
        # What is cut out reads the same on its own.
        assert [again.text for again in tokens(piece)] == [token.text]


@given(LINES)
def test_plain_lines_may_be_split(line: str) -> None:
    if SPECIAL.isdisjoint(line) and "{" not in line and "}" not in line:
        assert words(line) == line.split()
