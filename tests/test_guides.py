"""What the guides claim: their files are right, their commands, options, events and links exist."""

import re
import shlex
from pathlib import Path

import pytest

from lvskeeper.cli.main import COMMANDS, build_parser
from lvskeeper.config.load import load
from lvskeeper.kernel.files import LocalFiles, local_surroundings
from lvskeeper.observe.compat import lines_of
from lvskeeper.observe.events import RealServerDown, catalogue

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = ("operate.md", "take-over.md", "first-hour.md")
TEXTS = {name: (DOCS / name).read_text() for name in GUIDES}
ALL = "\n".join(TEXTS.values())
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXTS["operate.md"], re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(3), ids=["pair", "group", "fullnat"])
@pytest.mark.parametrize("node", ["a", "b"])
def test_the_configurations_are_right(tmp_path: Path, number: int, node: str) -> None:
    assert len(BLOCKS) == 3
    file = tmp_path / "guide.conf"
    file.write_text(BLOCKS[number])
    loaded = load(str(file), LocalFiles(), local_surroundings(node), allow_empty=True)
    assert loaded.config is not None
    assert not loaded.errors
    if not number:
        assert loaded.config.vrrp is not None
        (instance,) = loaded.config.vrrp.instances
        assert instance.priority == {"a": 150, "b": 100}[node]


def commands() -> list[str]:
    """Return the calls of lvskeeper in code and in text, without shell around them."""
    found = re.findall(r"(?:^ {4,}|^# |`|&& )(lvskeeper [^`\n#&;|]*)", ALL, re.MULTILINE)
    return sorted({one.replace("2>/dev/null", "").strip() for one in found})


@pytest.mark.parametrize("command", commands())
def test_the_commands_exist_with_their_options(command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0].startswith("-"):
        return  # $(lvskeeper --signum=...) is tested with the numbers
    assert words[0] in COMMANDS
    build_parser(only=words[0]).parse_args(words)


def options_of_the_table() -> list[str]:
    rows = re.findall(r"^\| (`-.*?) \|", TEXTS["take-over.md"], re.MULTILINE)
    return sorted(set(re.findall(r"`(--?[\w-]+)`", " ".join(rows))))


@pytest.mark.parametrize("option", options_of_the_table())
def test_the_options_of_keepalived_are_taken(option: str) -> None:
    parser = build_parser(only="run")
    value = {"--signum": "JSON"}.get(option, "1")
    for words in ([option], [option, value]):
        try:
            args = parser.parse_args(["run", *words])
        except SystemExit as ended:
            if not ended.code:
                return  # it printed what it was asked for
        else:
            assert args.command == "run"
            return
    pytest.fail(f"{option} is not taken")


def test_the_events_and_keywords_that_they_name_exist() -> None:
    events = {kind.NAME for kind in catalogue()}
    keywords = (DOCS / "configuration.md").read_text()
    named = set(re.findall(r"`([a-z]+_[a-z_]+)[` ]", ALL))
    assert {"vip_lost", "vrrp_no_swap", "repeats_suppressed"} <= named
    for name in named - events:
        assert re.search(rf"\b{name}\b", keywords), name


def test_the_files_that_they_link_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", ALL)
    assert len(links) > 4
    for target in links:
        assert (DOCS / target).exists(), target
    for target in re.findall(r"`(packaging/\S+|tests/\S+)`", ALL):
        assert (DOCS.parent / target).exists(), target


def test_the_line_that_is_quoted_is_the_one_that_is_written() -> None:
    event = RealServerDown(
        "tcp 192.0.2.10:80", "10.0.0.1:80", "TCP_CHECK", 1, "connect", "refused", "1 ms"
    )
    written = [line.text for line in lines_of(event)]
    assert any(f"`{text}`" in " ".join(TEXTS["take-over.md"].split()) for text in written)
