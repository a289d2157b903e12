"""Files as editors, tools and accidents leave them: each cause once, and at its place."""

import json
import re
from pathlib import Path

import pytest

from lvskeeper.cli.main import main
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import MAX_MESSAGE, MAX_SHOWN, render_text
from lvskeeper.config.load import Loaded, load
from lvskeeper.kernel.files import LocalFiles

CONF = """\
virtual_server 192.0.2.1 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  real_server 198.51.100.1 80 {
    TCP_CHECK {
    }
  }
}
"""
YAML = """\
virtual_servers:
  - address: 192.0.2.1
    port: 80
    protocol: TCP
    lb_algo: rr
    lb_kind: NAT
    real_servers:
      - address: 198.51.100.1
        port: 80
        TCP_CHECK:
"""
WRONG, WRONG_YAML = (text.replace(" rr", " rrr") for text in (CONF, YAML))

GITHUB = re.compile(
    r"::(?:error|warning) file=(\S+),line=(\d+),col=(\d+),endColumn=\d+::.*\[(LK\d+)\].*"
)
Found = list[tuple[int, int, Code]]
CASES: dict[str, tuple[str, bytes, Found]] = {
    "CRLF": ("a.conf", WRONG.replace("\n", "\r\n").encode(), [(3, 11, Code.BAD_VALUE)]),
    "BOM": ("a.conf", b"\xef\xbb\xbf" + b"rrr\n" + CONF.encode(), [(1, 1, Code.UNKNOWN)]),
    "latin-1": (
        "a.conf", b"# caf\xe9\n" + WRONG.encode(), [(1, 6, Code.NOT_UTF8), (4, 11, Code.BAD_VALUE)],
    ),
    "UTF-16": ("a.conf", CONF.encode("utf-16"), [(1, 4, Code.NUL)]),
    "NUL": ("a.conf", CONF.replace("rr", "r\0r").encode(), [(3, 12, Code.NUL)]),
    "NULs at the end": ("a.conf", CONF.encode() + bytes(99), [(10, 1, Code.NUL)]),
    "tabs": ("a.conf", WRONG.replace("  ", "\t").encode(), [(3, 10, Code.BAD_VALUE)]),
    "no newline": ("a.conf", WRONG.rstrip("\n").encode(), [(3, 11, Code.BAD_VALUE)]),
    "control characters": (
        "a.conf", CONF.replace(" rr", " \x1b[31mrr\x07").encode(), [(3, 11, Code.BAD_VALUE)],
    ),
    "a long line": (
        "a.conf", CONF.replace("rr", "rr" + " x" * 9000).encode(), [(3, 14, Code.EXTRA)],
    ),
    "a line too long": (
        "a.conf", CONF.encode() + b"x" * 70_000, [(10, 1, Code.LIMIT)],
    ),
    "many braces": ("a.conf", b"{\n" * 5000, [(1, 1, Code.BRACE_STRAY)] ),
    "YAML with CRLF": (
        "a.yaml", WRONG_YAML.replace("\n", "\r\n").encode(), [(5, 14, Code.BAD_VALUE)],
    ),
    "YAML with BOM": ("a.yaml", b"\xef\xbb\xbf" + WRONG_YAML.encode(), [(5, 14, Code.BAD_VALUE)]),
    "YAML in latin-1": (
        "a.yaml", b"# \xe9\n" + WRONG_YAML.encode(),
        [(1, 3, Code.NOT_UTF8), (6, 14, Code.BAD_VALUE)],
    ),
    "YAML in UTF-16": ("a.yaml", YAML.encode("utf-16"), [(1, 4, Code.NUL)]),
    "YAML with NUL": ("a.yaml", YAML.replace("rr", "r\0r").encode(), [(5, 15, Code.NUL)]),
    "YAML with a control character": (
        "a.yaml", YAML.replace("rr", "é\x07").encode(), [(5, 15, Code.YAML_SYNTAX)],
    ),
    "YAML with a tab": (
        "a.yaml", YAML.replace("    lb_algo", "\tlb_algo").encode(), [(5, 1, Code.YAML_SYNTAX)],
    ),
    "YAML with an open quote": (
        "a.yaml", YAML.replace(" rr", " 'rr").encode(), [(5, 14, Code.YAML_SYNTAX)],
    ),
    "YAML with two documents": (
        "a.yaml", YAML.encode() + b"---\na: b\n", [(11, 1, Code.YAML_SYNTAX)],
    ),
    "YAML with a key twice": (
        "a.yaml", YAML.encode() + b"    lb_algo: wrr\n", [(11, 5, Code.YAML_DUPLICATE)],
    ),
    "YAML with a tag": (
        "a.yaml", YAML.replace(" rr", " !!binary cnI=").encode(), [(5, 14, Code.YAML_SHAPE)],
    ),
    "YAML with an object of Python": (
        "a.yaml", YAML.replace(" rr", ' !!python/object/apply:os.system ["id"]').encode(),
        [(5, 14, Code.YAML_SHAPE)],
    ),
    "YAML with a key that is a list": (
        "a.yaml", b"? [a, b]\n: c\n" + YAML.encode(), [(1, 3, Code.YAML_SHAPE)],
    ),
    "YAML without an anchor": (
        "a.yaml", YAML.replace(" rr", " *rr").encode(), [(5, 14, Code.YAML_SYNTAX)],
    ),
    "YAML that is a list": ("a.yaml", b"- a\n", [(1, 1, Code.YAML_SHAPE)]),
}  # fmt: skip


def read(tmp_path: Path, name: str, data: bytes) -> tuple[Path, Loaded]:
    path = tmp_path / name
    path.write_bytes(data)
    return path, load(str(path), LocalFiles())


@pytest.mark.parametrize("case", CASES)
def test_the_place_is_right_and_one_cause_is_told_once(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, data, wanted = CASES[case]
    path, loaded = read(tmp_path, name, data)
    found = [(one.span.line, one.span.column, one.code) for one in loaded.diagnostics]
    assert found[: len(wanted)] == wanted
    assert len(found) == len(wanted) or wanted[0][2] is Code.BRACE_STRAY
    for one in loaded.diagnostics:
        text = render_text(one)
        assert all(char.isprintable() or char in "\n\t" for char in text)
        assert all(len(line) < MAX_MESSAGE + MAX_SHOWN for line in text.split("\n"))
    # The same in the other forms
    main(["check", str(path), "--format", "json"])
    told = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [(one["line"], one["column"], one["code"]) for one in told[: len(wanted)]] == [
        (line, column, code.number) for line, column, code in wanted
    ]
    main(["check", str(path), "--format", "github"])
    lines = [line for line in capsys.readouterr().out.split("\n") if line.startswith("::")]
    assert len(lines) == len(found)
    for line, (number, column, code) in zip(lines, wanted, strict=False):
        match = re.fullmatch(
            r"::(?:error|warning) file=(\S+),line=(\d+),col=(\d+),endColumn=\d+::.*\[(LK\d+)\].*",
            line,
        )
        assert match is not None, line
        assert match.groups() == (str(path), str(number), str(column), code.number)


@pytest.mark.parametrize(
    ("line", "before", "carets"),
    [
        ("  lb_algo rrr", "          ", 3),
        ("\tlb_algo\trrr", "\t       \t", 3),
        ('  virtualhost "日本" lb_algo', " " * 21, 7),
        ('  virtualhost "e\u0301é" lb_algo', " " * 19, 7),
    ],
)
def test_the_caret_stands_under_its_word(
    line: str, before: str, carets: int, tmp_path: Path
) -> None:
    _, loaded = read(tmp_path, "a.conf", CONF.replace("  lb_algo rr", line).encode())
    text = render_text(loaded.diagnostics[-1]).split("\n")
    assert text[1] == f"  3 | {line}"
    assert text[2] == f"    | {before}{'^' * carets}"


def test_of_a_long_line_is_shown_what_is_around_the_caret(tmp_path: Path) -> None:
    line = f'  notify_down "{"y" * 500}" user gr/oup # {"and " * 100}'
    text = CONF.replace("    TCP_CHECK {", f"  {line}\n    TCP_CHECK {{")
    _, loaded = read(tmp_path, "a.conf", text.encode())
    (one,) = loaded.diagnostics
    _, shown, carets, *_ = render_text(one).split("\n")
    assert shown.startswith("  6 | ...yyy")
    assert shown.endswith("...")
    at = carets.index("^")
    assert shown[at : at + 6] == "gr/oup"
    assert carets.count("^") == 6
    assert len(shown) < MAX_SHOWN + 20


def test_a_cause_in_an_included_file_has_the_whole_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.conf").write_text("include c.yaml\n")
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbflb_algo: rrr\r\n")
    main_file = tmp_path / "a.conf"
    main_file.write_text(CONF.replace("  lb_algo rr", "  include b.conf"))
    main(["check", str(main_file), "--format", "json"])
    (one,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (Path(one["path"]).name, one["line"], one["column"], one["length"]) == (
        "c.yaml",
        1,
        10,
        3,
    )
    assert one["included_from"] == [f"{tmp_path}/b.conf:1:9", f"{main_file}:3:11"]
    main(["check", str(main_file)])
    text = capsys.readouterr().out
    assert f"  included from {tmp_path}/b.conf:1:9\n  included from {main_file}:3:11\n" in text


def test_what_aliases_multiply_is_bounded(tmp_path: Path) -> None:
    servers = ", ".join(f"{{address: 198.51.100.{n % 250}, TCP_CHECK: {{}}}}" for n in range(1000))
    bomb = f"virtual_servers:\n - &v {{address: 192.0.2.1, real_servers: [{servers}]}}\n"
    _, loaded = read(tmp_path, "a.yaml", (bomb + " - *v\n" * 200).encode())
    assert loaded.diagnostics[0].code is Code.LIMIT
    assert "aliases make more than" in loaded.diagnostics[0].message
    laugh = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
    )
    _, loaded = read(tmp_path, "a.yaml", laugh.encode())
    assert loaded.config is None


def test_a_file_of_many_servers_that_share_a_check_is_no_bomb(tmp_path: Path) -> None:
    servers = "".join(
        f"      - {{address: 10.{n // 250}.1.{n % 250}, port: 80, TCP_CHECK: *check}}\n"
        for n in range(2000)
    )
    head = YAML.replace("TCP_CHECK:\n", "TCP_CHECK: &check {connect_timeout: 2, retry: 2}\n")
    _, loaded = read(tmp_path, "a.yaml", (head + servers).encode())
    assert loaded.config is not None
    assert len(loaded.config.virtual_servers[0].real_servers) == 2001


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", False), ("off", False), ("yes", True), ("on", True), ("true", True), ("'no'", False)],
)
def test_flags_are_what_they_say(text: str, value: bool, tmp_path: Path) -> None:
    _, loaded = read(
        tmp_path, "a.yaml", YAML.replace("lb_kind", f"alpha: {text}\n    lb_kind").encode()
    )
    assert loaded.config is not None
    assert loaded.config.virtual_servers[0].alpha is value


@pytest.mark.parametrize("text", ["Yes", "NO", "y", "1", "0", "null true", "[yes, no]"])
def test_what_only_yaml_takes_for_a_flag_is_none(text: str, tmp_path: Path) -> None:
    made = YAML.replace("lb_kind", f"lvs_method: NAT\n    inhibit_on_failure: {text}\n    lb_kind")
    _, loaded = read(tmp_path, "a.yaml", made.encode())
    assert any(
        "inhibit_on_failure" in one.span.text or one.span.line == 7 for one in loaded.diagnostics
    )


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("+5", None), ("0x10", None), ("0o7", None), ("1_0", None),
                        ("1e3", None), ("1:30", None), (".inf", None), ("5", 5), ('"5"', 5)],
)  # fmt: skip
def test_numbers_are_decimal_as_written(text: str, value: int | None, tmp_path: Path) -> None:
    made = YAML.replace("lb_kind", f"quorum: 1\n    hysteresis: 0\n    weight: {text}\n    lb_kind")
    _, loaded = read(tmp_path, "a.yaml", made.encode())
    assert (loaded.config.virtual_servers[0].weight if loaded.config else None) == value


@pytest.mark.parametrize(
    "text", ["2026-11-27", "12:30:45", "1e3", "010", "yes", "~x", "0x1F", "1.10"]
)
def test_texts_stay_as_written(text: str, tmp_path: Path) -> None:
    _, loaded = read(tmp_path, "a.yaml", f"global_defs:\n  router_id: {text}\n{YAML}".encode())
    assert loaded.config is not None
    assert loaded.config.global_defs.router_id == text


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('notify_up "/x" us/er group', "us/er"),
        ('notify_up "/x" user gr/oup', "gr/oup"),
        ("lvs_method TUN type ip6", "ip6"),
    ],
)
def test_the_caret_is_under_the_very_word(line: str, word: str, tmp_path: Path) -> None:
    text = CONF.replace("    TCP_CHECK {", f"    {line}\n    TCP_CHECK {{")
    _, loaded = read(tmp_path, "a.conf", text.encode())
    assert [one.span.text for one in loaded.diagnostics] == [word]
    made = YAML.replace(
        "        TCP_CHECK:", f"        {line.replace(' ', ': ', 1)}\n        TCP_CHECK:"
    )
    if '"' not in line:
        _, loaded = read(tmp_path, "a.yaml", made.encode())
        assert [one.span.text for one in loaded.diagnostics] == [word]
