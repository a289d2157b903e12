"""Manual pages, completion and schema: as the program would make them now, and at work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvskeeper.cli.arguments import command_of
from lvskeeper.cli.generated import FILES
from lvskeeper.cli.main import COMMANDS, build_parser
from lvskeeper.config.codes import Code
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.errors import ExitStatus

ROOT = Path(__file__).parents[2]
PAGES = [name for name in FILES if "/man/" in name]
BASH, ZSH, FISH = (f"packaging/completion/{name}" for name in
                   ("lvskeeper.bash", "_lvskeeper", "lvskeeper.fish"))  # fmt: skip


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_program_makes(name: str) -> None:
    path, made = ROOT / name, FILES[name]()
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        path.write_text(made)
    assert path.read_text() == made


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, cwd=ROOT, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs("mandoc")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_say_of_a_page(name: str) -> None:
    assert run("mandoc", "-T", "lint", "-W", "style", name) == ""


@needs("mandoc")
def test_the_page_of_the_file_has_every_keyword_and_that_of_the_program_every_option() -> None:
    plain = run("mandoc", "-T", "utf8", "-O", "width=500", PAGES[1]).replace("\b", "")
    page = run("mandoc", "-T", "html", PAGES[1])
    assert plain.startswith("LVSKEEPER.CONF(5)")
    for name in {name for table in BLOCKS.values() for name in table}:
        assert f"<b>{name}</b>" in page, name
    commands = run("mandoc", "-T", "html", PAGES[0])
    for command in command_of(build_parser()).walk():
        for flag in (flag for option in command.options for flag in option.flags):
            assert f"<b>{flag}</b>" in commands, flag


@needs("man")
@pytest.mark.parametrize("name", PAGES)
def test_groff_has_nothing_to_say_of_a_page(name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", name], capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "SEE ALSO" in done.stdout


def in_bash(*words: str) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source {BASH}; COMP_WORDS=(lvskeeper {quoted}); COMP_CWORD={len(words)}; "
        'compopt() { :; }; _lvskeeper; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return run("bash", "-u", "-c", script).split()


def in_fish(line: str) -> list[str]:
    script = f"source {FISH}; complete -C '{line}'"
    return [one.partition("\t")[0] for one in run("fish", "-N", "-c", script).splitlines()]


def test_bash_offers_commands_options_values_codes_and_files() -> None:
    assert set(in_bash("")) == set(COMMANDS)
    assert in_bash("conv") == ["convert"]
    assert in_bash("check", "--fo") == ["--format"]
    assert in_bash("check", "--format", "") == ["text", "json", "github"]
    assert in_bash("check", "--format", "=", "j") == ["json"]
    assert in_bash("check", "--format", "=") == ["text", "json", "github"]
    assert in_bash("check", "--off", "LK010") == [
        code.number for code in Code if code.number.startswith("LK010")
    ]
    assert in_bash("check", "conf/first") == ["conf/first.conf"]
    assert in_bash("run", "-f", "conf/pa") == ["conf/pair"]
    assert in_bash("schema", "") == []


@needs("fish")
def test_fish_offers_the_same() -> None:
    assert set(in_fish("lvskeeper ")) == set(COMMANDS)
    assert in_fish("lvskeeper check --fo") == ["--format"]
    assert set(in_fish("lvskeeper check --format ")) == {"text", "json", "github"}
    assert in_fish("lvskeeper check --off LK011")[0] == "LK0110"
    assert in_fish("lvskeeper check conf/first") == ["conf/first.conf"]
    assert in_fish("lvskeeper convert --to y") == ["yaml"]


ZSH_SESSION = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; fpath=($PWD/packaging/completion \\$fpath); autoload -Uz compinit; \\
compinit -u -D; bindkey '^I' complete-word; print REA''DY"
zpty -r shell said '*READY*'
zpty -w -n shell "lvskeeper $1"$'\\t'
zpty -r shell said "*$2*"
print -r -- "$said"
zpty -d shell
"""


@needs("zsh")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("", "convert"), ("check --format=", "github"), ("check --off LK01", "LK0116"),
     ("check conf/fir", "conf/first.conf"), ("convert --", "--force")],
)  # fmt: skip
def test_zsh_offers_the_same(typed: str, offered: str) -> None:
    # It waits until the shell has shown what is offered.
    run("zsh", "-f", "-c", ZSH_SESSION, "zsh", typed, offered)


@pytest.mark.parametrize("command", [["schema"], ["convert", "conf/first.conf"]])
def test_a_full_disk_is_no_bug(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lvskeeper", *command],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == ExitStatus.KERNEL
    assert done.stderr == f"lvskeeper {command[0]}: No space left on device\n"
