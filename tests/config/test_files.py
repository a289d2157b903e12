import os
from pathlib import Path

import pytest

from lvskeeper.config.braces import expand_braces
from lvskeeper.config.tree import parse_file
from lvskeeper.kernel.files import LocalFiles


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a{b,c}d", ["abd", "acd"]),
        ("{a,{b,c}d}", ["a", "bd", "cd"]),
        ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]),
        ("{a,}b", ["ab", "b"]),
        ("{a", ["{a"]),
        ("a}b", ["a}b"]),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize("pattern", ["{a,b}" * 10, "{" * 100_000, "{a}" * 100, "{" * 65 + "}" * 65])
def test_braces_have_a_limit(pattern: str) -> None:
    with pytest.raises(OSError, match="more than"):
        expand_braces(pattern)


@pytest.mark.parametrize("name", ["a\0b", "*\0"])
def test_a_name_with_a_nul_is_an_error_of_the_system(name: str) -> None:
    with pytest.raises(OSError, match="NUL"):
        LocalFiles().read_text(name)
    with pytest.raises(OSError, match="NUL"):
        LocalFiles().glob(name)


def test_glob_finds_files_in_order(tmp_path: Path) -> None:
    for name in ("b.conf", "a.conf", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "d.conf").mkdir()
    found = LocalFiles().glob(f"{tmp_path}/{{*.conf,a*}}")
    assert [Path(path).name for path in found] == ["a.conf", "b.conf"]


def test_odd_bytes_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"caf\xe9")
    assert LocalFiles().read_text(str(path)) == "caf\ufffd"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("include none", "error"),
        ("includer none", "warning"),
        ("includeb none", "warning"),
        ("includem none", "error"),
        ("includew none", "error"),
        ("includea none", "error"),
        ("include no*", ""),
        ("includer no*", ""),
        ("includem no*", ""),
        ("includew no*", "error"),
        ("includeb no*", ""),
        ("includea no*", "error"),
        ("include {b,no}.conf", ""),
        ("includew {b,no}.conf", ""),
        ("includeb {b,no}.conf", "error"),
        ("includea {b,no}.conf", "error"),
        ("includeb {b,c}.conf", ""),
        ("include script", "error"),
        ("includer script", "error"),
    ],
)
def test_how_strict_an_include_is(line: str, expected: str, tmp_path: Path) -> None:
    for name in ("b.conf", "c.conf", "script"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "script").chmod(0o755)
    path = tmp_path / "a.conf"
    path.write_text(f"{line}\n")
    told = parse_file(str(path), LocalFiles()).diagnostics
    assert [one.severity.value for one in told] == ([expected] if expected else [])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "a.conf"
    path.write_text("include pipe\n")
    (told,) = parse_file(str(path), LocalFiles()).diagnostics
    assert told.message.endswith("it is not a regular file")


@pytest.mark.parametrize(
    ("asked", "line", "expected"),
    [
        ("include_check", "include no*", True),
        ("include_check wildcard_match", "include no*", True),
        ("include_check wildcard_match", "includer no*", False),
        ("include_check brace_match", "include {b,no}.conf", True),
        ("include_check read match", "include no*", False),
        ("include_check\ninclude_check -wildcard_match", "include no*", False),
        ("include_check +wildcard_match\ninclude_check +brace_match", "include no*", True),
        ("include_check everything", "include no*", False),
    ],
)
def test_include_check_asks_more_of_a_plain_include(
    asked: str, line: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / "b.conf").write_text("")
    path = tmp_path / "a.conf"
    path.write_text(f"{line}\nglobal_defs {{\n{asked}\n}}\n")
    assert not parse_file(str(path), LocalFiles()).diagnostics
    path.write_text(f"global_defs {{\n{asked}\n{line}\n}}\n")
    assert bool(parse_file(str(path), LocalFiles()).diagnostics) is expected
