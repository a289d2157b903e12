"""The table of keywords against what the parsers of keepalived and its forks know."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.frames import frame

from lvskeeper.config.include import INCLUDES
from lvskeeper.config.keyword import Status
from lvskeeper.config.keywords import BLOCKS, ROOT

FACTS = Path(__file__).parent / "facts"
VERSIONS = ("1.2.2", "2.0.19", "2.2.7", "2.4.3")


def facts(name: str) -> set[tuple[str, str]]:
    """Return blocks and keywords of a file."""
    found = set()
    for line in (FACTS / name).read_text().splitlines():
        block, _, keywords = line.partition(": ")
        found |= {(ROOT if block == "(root)" else block, word) for word in keywords.split()}
    return found


@pytest.mark.parametrize("path", [one for one in FACTS.iterdir() if one.suffix != ".md"],
                         ids=lambda path: path.name)  # fmt: skip
def test_every_keyword_is_known(path: Path) -> None:
    known = {(block, name) for block, table in BLOCKS.items() for name in table}
    known |= {(ROOT, name) for name in INCLUDES}
    assert facts(path.name) - known == set()


def test_origin_and_since_are_what_was_found() -> None:
    versions = {version: facts(f"keepalived-{version}") for version in VERSIONS}
    holders = {
        "K": versions["2.2.7"] | versions["2.4.3"],
        "T": versions["1.2.2"] | facts("taobao"),
        "D": versions["2.0.19"] | facts("dpvs"),
    }
    for block, table in BLOCKS.items():
        for name, keyword in table.items():
            key = (block, name)
            origin = "".join(letter for letter, known in holders.items() if key in known)
            assert keyword.origin == (origin or "L"), key
            since = next((one for one in VERSIONS if key in versions[one]), "")
            assert keyword.since == since, key


def test_every_keyword_is_documented_and_typed() -> None:
    for block, table in BLOCKS.items():
        for name, keyword in table.items():
            assert keyword.doc.endswith((".", "`", ")")), (block, name)
            assert bool(keyword.reason) == (keyword.status is not Status.SERVED), (block, name)
            assert (keyword.type is None) == (keyword.read is keyword.entries is None)
            if keyword.instead:
                assert keyword.instead in table, (block, name)


@pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived")
def test_keepalived_knows_what_is_written_down_of_it(tmp_path: Path) -> None:
    version = subprocess.run(["keepalived", "-v"], capture_output=True, text=True, check=False)
    if "v2.2.7" not in version.stderr:
        pytest.skip("the list is of 2.2.7")
    known = facts("keepalived-2.2.7")
    asked = sorted(key for key in facts("keepalived-2.4.3") if key[0] in {"url", "bfd_instance"})
    for block, name in asked:
        path = tmp_path / "a.conf"
        path.write_text(frame(block) % f"{name} 1")
        said = subprocess.run(
            ["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False
        ).stderr
        assert (f"Unknown keyword '{name}'" not in said) == ((block, name) in known), said
