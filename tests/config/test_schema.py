"""The JSON schema takes what the program takes, and names what it refuses at a glance."""

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.memfiles import MemoryFiles
from support.tableconf import TableWriter, all_of, path_to

from lvskeeper.config.convert import convert
from lvskeeper.config.keyword import Status
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.schema import schema
from lvskeeper.config.tree import parse_file

CONF = Path(__file__).parents[2] / "conf"
VALIDATOR = Draft202012Validator(schema())


class Plain(yaml.SafeLoader):
    """Reads YAML by the rules of 1.2: of texts only true and false are truths."""


Plain.yaml_implicit_resolvers = {
    char: [(tag, regex) for tag, regex in found if not tag.endswith((":bool", ":timestamp"))]
    for char, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def complaints(text: str) -> list[str]:
    """Return what the schema says against a file, as editors of both kinds read it."""
    return [
        f"{error.json_path}: {error.message[:300]}"
        for loader in (yaml.SafeLoader, Plain)
        for error in VALIDATOR.iter_errors(yaml.load(text, Loader=loader))
    ]


def as_yaml(text: str) -> str:
    files = MemoryFiles({"a.conf": text})
    return convert("a.conf", parse_file("a.conf", files).directives, "yaml")


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_and_names_the_schema_for_editors(path: Path) -> None:
    text = path.read_text()
    assert complaints(text) == []
    first = text.partition("\n")[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    assert name != first
    assert (path.parent / name).resolve() == CONF.parent / "docs" / "lvskeeper.schema.json"


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.conf")), ids=lambda path: path.name)
def test_every_example_is_valid_when_converted(path: Path) -> None:
    assert complaints(as_yaml(path.read_text())) == []


def is_refused(block: str) -> bool:
    return any(one.status is Status.REFUSED for one in path_to(block))


@pytest.mark.parametrize("block", [block for block in BLOCKS if not is_refused(block)])
def test_every_value_that_is_read_is_valid(block: str) -> None:
    assert complaints(as_yaml(all_of(block))) == []


def test_what_chance_makes_is_valid() -> None:
    for seed in range(20):
        made = as_yaml(TableWriter(seed).file())
        assert complaints(made) == [], made


HEAD = "virtual_servers:\n  - address: 192.0.2.1\n    port: 80\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("virtual_serverz: []\n", "virtual_serverz"),
        (HEAD + "protocoll: TCP\n", "protocoll"),
        (HEAD + "protocol: TPC\n", "TPC"),
        (HEAD + "weight: many\n", "many"),
        (HEAD + "delay_loop: 2s\n", "2s"),
        (HEAD + "alpha: perhaps\n", "perhaps"),
        (HEAD + "real_servers: [{port: 80}]\n", "address"),
        ("virtual_servers: [{port: 80}]\n", "is not valid under any"),
        ("virtual_servers: [{address: 192.0.2.1, fwmark: 1}]\n", "valid under each"),
        ("vrrp_instances: [{priority: 256, name: a}]\n", "256"),
    ],
)
def test_what_is_refused_is_not_valid(text: str, said: str) -> None:
    told = complaints(text)
    assert len(told) >= 2  # one a kind of editor
    assert said in told[0]


def test_every_keyword_is_described_and_refused_ones_are_left_out() -> None:
    made = schema()
    defs = made["$defs"]
    assert isinstance(defs, dict)
    for block, table in BLOCKS.items():
        of_block = defs[block] if block else made
        assert isinstance(of_block, dict)
        properties = of_block["properties"]
        assert isinstance(properties, dict)
        for name, keyword in table.items():
            assert (name in properties) == (keyword.status is not Status.REFUSED), name
