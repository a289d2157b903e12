"""One configuration in both forms: what is written reads the same, and keeps its comments."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bigconf import generate
from support.memfiles import MemoryFiles
from support.tableconf import TableWriter, all_of

from lvskeeper.cli.main import main
from lvskeeper.config.build import build
from lvskeeper.config.convert import convert
from lvskeeper.config.keyword import Status
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.model import Config
from lvskeeper.config.source import Files
from lvskeeper.config.tree import parse_file
from lvskeeper.config.write_text import WriteError
from lvskeeper.errors import ExitStatus
from lvskeeper.kernel.files import LocalFiles

ROOT = Path(__file__).parents[2]
FILES = 15


def model(path: str, files: Files) -> Config:
    return build(parse_file(path, files), files).config


def there_and_back(path: str, files: Files, folder: str = "") -> tuple[str, str]:
    """Convert a file to the other form and back; both results have its model."""
    wanted = model(path, files)
    tree = parse_file(path, files)
    assert not [one for one in tree.diagnostics if one.severity.value == "error"]
    first_form = "keepalived" if path.endswith(".yaml") else "yaml"
    there = convert(path, tree.directives, first_form)
    name = f"{folder}there.{'conf' if first_form == 'keepalived' else 'yaml'}"
    written = MemoryFiles({name: there})
    assert model(name, written) == wanted, there
    other = "yaml" if first_form == "keepalived" else "keepalived"
    back = convert(name, parse_file(name, written).directives, other)
    name = f"{folder}back.{'yaml' if other == 'yaml' else 'conf'}"
    assert model(name, MemoryFiles({name: back})) == wanted, back
    return there, back


FOLDERS = ("conf", "conf/pair", "packaging", "tests/golden/config", "tests/golden/plan")
EXAMPLES = sorted(
    str(path.relative_to(ROOT))
    for folder in FOLDERS
    for path in (ROOT / folder).iterdir()
    if path.suffix in {".conf", ".yaml"}
)
README = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", README)
def test_every_configuration_of_the_readme_comes_back_the_same(text: str) -> None:
    there_and_back("a.conf", MemoryFiles({"a.conf": text}))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_comes_back_the_same(name: str) -> None:
    there_and_back(str(ROOT / name), LocalFiles())


def test_the_same_form_shows_what_a_file_stands_for() -> None:
    files = LocalFiles()
    path = str(ROOT / "conf/pair/director1.conf")
    made = convert(path, parse_file(path, files).directives, "keepalived")
    assert not any(line.lstrip().startswith("include") for line in made.split("\n"))
    assert model("a.conf", MemoryFiles({"a.conf": made})) == model(path, files)


def test_a_big_configuration_comes_back_the_same() -> None:
    there_and_back("a.conf", MemoryFiles({"a.conf": generate(300)}))


@pytest.mark.parametrize("seed", range(8))
def test_what_chance_makes_of_the_table_comes_back_the_same(seed: int) -> None:
    for number in range(FILES):
        text = TableWriter(seed * FILES + number).file()
        there_and_back("a.conf", MemoryFiles({"a.conf": text}))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_value_of_the_table_comes_back_the_same(block: str) -> None:
    text = all_of(block)
    names = {word for line in text.split("\n") for word in line.split()[:1]}
    wanted = {one.name for one in BLOCKS[block].values() if one.status is not Status.REFUSED}
    assert wanted <= names
    there_and_back("a.conf", MemoryFiles({"a.conf": text}))


def convert_text(text: str, name: str = "a.conf", **others: str) -> str:
    files = MemoryFiles({name: text, **{k.replace("_", "."): v for k, v in others.items()}})
    form = "yaml" if name.endswith("conf") else "keepalived"
    return convert(name, parse_file(name, files).directives, form)


def test_comments_stay_where_they_were() -> None:
    text = """\
! what this file is for

# of the block
global_defs { # beside it
  router_id "a # b" # beside a keyword \\# with a mark
  # at its end
}
virtual_server 192.0.2.1 80 {
  protocol TCP
  # of a server
  real_server 198.51.100.1 80 { # beside a server
    # of a check
    TCP_CHECK {
    } ! behind a brace
  }
}
# the end
"""
    made = convert_text(text)
    assert (
        made
        == """\
# Made by lvskeeper convert from a.conf.

# what this file is for

# of the block
global_defs: # beside it
  router_id: 'a # b' # beside a keyword \\# with a mark
  # at its end

virtual_servers:
  - address: 192.0.2.1
    port: 80
    protocol: TCP
    real_servers:
      # of a server
      - address: 198.51.100.1 # beside a server
        port: 80
        # of a check
        TCP_CHECK: {}
          # behind a brace
# the end
"""
    )
    back = convert_text(made, "there.yaml")
    for line in text.split("\n"):
        comment = line.rpartition("# ")[2] if "# " in line else line.rpartition("! ")[2]
        assert comment.strip() in back


def test_what_is_resolved_is_said() -> None:
    made = convert_text(
        "$P=80\n@other global_defs { }\ninclude b.conf\n",
        b_conf="~SEQ(i, 2) virtual_server 192.0.2.${i} $P { } # each\n",
    )
    assert made.startswith(
        "# Made by lvskeeper convert from a.conf.\n"
        "# Made by lvskeeper convert: includes are resolved: b.conf.\n"
        "# Made by lvskeeper convert: definitions, conditions and sequences are carried out.\n"
    )
    assert "- address: 192.0.2.1\n    port: 80\n" in made
    assert "- address: 192.0.2.2 # each\n    port: 80\n" in made
    assert "Made by" not in convert_text(made, "there.yaml").partition("\n\n")[2]


def test_checks_of_several_kinds_keep_their_order() -> None:
    text = """\
virtual_server 192.0.2.1 80 {
  real_server 198.51.100.1 80 {
    TCP_CHECK {
      connect_port 1
    }
    PING_CHECK {
    }
    TCP_CHECK {
    }
  }
}
"""
    assert convert_text(text).endswith(
        "        checks:\n          - TCP_CHECK:\n              connect_port: 1\n"
        "          - PING_CHECK: {}\n          - TCP_CHECK: {}\n"
    )


def test_a_key_file_is_found_from_the_new_place() -> None:
    files = MemoryFiles(
        {
            "c/a.conf": "vrrp_instance a {\n include d/b.conf\n}\n",
            "c/d/b.conf": "auth_hmac {\n key 1 file:k\n}\n",
            "c/d/k": "x" * 32,
        }
    )
    made = convert("c/a.conf", parse_file("c/a.conf", files).directives, "yaml")
    assert "key: 1 file:d/k\n" in made


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("'a \"b\"'", "no way to write a double quote"),
        ("'${_PWD}/x'", "would be replaced"),
        ('"a\\nb"', "cannot go on in another line"),
    ],
)
def test_what_keepalived_conf_cannot_hold_is_told_with_its_place(value: str, said: str) -> None:
    with pytest.raises(WriteError) as caught:
        convert_text(f"global_defs:\n  router_id: {value}\n", "a.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.yaml:2:14: error: cannot be written")


STANDARD = re.compile(r"\$\{?_[A-Z]")
WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters='"\0\r\n', exclude_categories=["Cs"]),
    min_size=1, max_size=12,
)  # fmt: skip


@given(st.lists(WORDS, min_size=1, max_size=3))
def test_any_words_come_back(words: list[str]) -> None:
    text = "".join(f'track_file "n{number}{word}" {{\nfile "/{word}"\n}}\n'
                   for number, word in enumerate(words))  # fmt: skip
    files = MemoryFiles({"a.conf": text})
    if STANDARD.search(text):
        return  # it may be replaced before it is read
    there_and_back("a.conf", files)


def run(*arguments: str | Path) -> int:
    return main(["convert", *map(str, arguments)])


def test_the_command_writes_a_file_and_overwrites_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, made = tmp_path / "a.conf", tmp_path / "b.yaml"
    source.write_text((ROOT / "conf/first.conf").read_text())
    source.chmod(0o640)
    assert run(source, "-o", made) == ExitStatus.OK
    assert model(str(made), LocalFiles()) == model(str(source), LocalFiles())
    assert stat.S_IMODE(made.stat().st_mode) == 0o640
    before = made.read_text()
    assert run(source, "-o", made) == ExitStatus.CONFIG
    assert "exists\nhint: --force overwrites it" in capsys.readouterr().err
    made.write_text("old")
    assert run(source, "-o", made, "--force") == ExitStatus.OK
    assert made.read_text() == before
    assert run(made) == ExitStatus.OK
    assert "virtual_server 192.0.2.10 80 {" in capsys.readouterr().out
    assert run(source, "--to", "yaml", "-o", tmp_path / "c.conf") == ExitStatus.CONFIG
    assert "yaml needs a name that ends in .yaml or .yml" in capsys.readouterr().err
    assert run(source, "-o", tmp_path / "none" / "c.yaml") == ExitStatus.CONFIG
    assert "cannot write" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conf", "b.yaml"]


def test_a_file_with_errors_is_refused_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.conf"
    source.write_text("virtual_server 192.0.2.1 80 {\n  protocol TPC\n}\n")
    assert run(source) == ExitStatus.CONFIG
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{source}:2:12: error: protocol: 'TPC'" in told.err


@pytest.mark.parametrize("form", ["yaml", "keepalived"])
def test_what_compat_leaves_out_stays_as_a_comment(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.conf"
    text = (ROOT / "conf/first.conf").read_text()
    source.write_text(text.replace("    delay_loop 5", "  delay_loop 5s\n  odd {\n a b\n }"))
    assert run(source, "--to", form) == ExitStatus.CONFIG
    assert run(source, "--to", form, "--compat", "keepalived") == ExitStatus.OK
    told = capsys.readouterr()
    for line in ("delay_loop 5s", "odd {", "    a b", "}"):
        assert f"# left out: {line}\n" in told.out
    assert f"{source}:" in told.err
    source.write_text(text)
    assert run(source, "--to", form, "--compat", "keepalived") == ExitStatus.OK
    assert "left out" not in capsys.readouterr().out


def test_a_script_may_read_the_result_from_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lvskeeper", "convert", ROOT / "conf/first.conf"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "virtual_servers:" in done.stdout
    assert done.stderr == ""
