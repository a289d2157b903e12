"""What README claims."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lvskeeper.cli.main import COMMANDS, build_parser
from lvskeeper.config.load import load
from lvskeeper.daemon.plan_change import Effect
from lvskeeper.errors import ExitStatus
from lvskeeper.kernel.files import LocalFiles

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("number", range(4), ids=["first", "synproxy", "pair", "state sync"])
def test_the_configurations_are_right(tmp_path: Path, number: int) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    file = tmp_path / "readme.conf"
    file.write_text(blocks[number])
    loaded = load(str(file), LocalFiles(), allow_empty=True)
    assert loaded.config is not None
    assert loaded.diagnostics == ()


def test_the_keywords_and_events_that_it_names_exist() -> None:
    known = "".join(
        (ROOT / "docs" / name).read_text() for name in ("configuration.md", "events.md")
    )
    named = set(re.findall(r"`([a-z]+_[a-z_]+)[` ]", README))
    assert {"vrrp_fence", "vrrp_report"} <= named
    assert not [name for name in named if not re.search(rf"\b{name}\b", known)]


def test_the_commands_exist() -> None:
    named = set(re.findall(r"^    lvskeeper (\w+)", README, re.MULTILINE))
    assert {"check", "explain", "plan", "run", "status"} <= named
    assert named < set(COMMANDS)


def test_the_impacts_of_a_plan_are_those_of_the_program() -> None:
    listed = re.search(r"has its impact: (.*?)\. `-o json`", README, re.DOTALL)
    assert listed is not None
    assert re.findall(r"`([a-z ]+)`", listed[1]) == [effect.value for effect in Effect]


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in sorted(set(re.findall(r"make (demo|test|lint|bench|boots)\b", README))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_exit_statuses_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert [int(number) for number, _ in rows] == [status.value for status in ExitStatus]
    help_text = build_parser().format_help()
    for number, meaning in rows:
        plain = meaning.replace("`", "")
        assert re.search(rf"^  {number} +{re.escape(plain)}$", help_text, re.MULTILINE), plain


def test_the_files_that_it_links_are_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lvskeeper", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"usage: lvskeeper {command}")
