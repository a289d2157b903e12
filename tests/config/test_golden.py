"""Every diagnostic, word for word. LVSKEEPER_GOLDEN=write renews the files; read the difference."""

import os
from pathlib import Path

import pytest
from support.memfiles import MemoryFiles, MemoryHost

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import as_json, render_text
from lvskeeper.config.load import Loaded, load

BAD = Path(__file__).parents[1] / "golden" / "config" / "bad"
NAMES = sorted(path.name for path in BAD.iterdir() if path.suffix in {".conf", ".yaml"})


HOST = MemoryHost(
    ["lo", "eth0", "eth1", "eth2"],
    {"/usr/local/bin/alive": "/usr/local/bin/alive is writable by everybody"},
)


def load_bad(name: str) -> Loaded:
    texts = {path.name: path.read_text(errors="replace") for path in BAD.iterdir()}
    files = MemoryFiles(texts, exposed=["open.key", "advice.conf"])
    return load(name, files, host=HOST if name == "advice.conf" else None)


@pytest.mark.parametrize("name", NAMES)
def test_text(name: str) -> None:
    loaded = load_bad(name)
    assert loaded.config is None
    text = "\n".join(render_text(one) for one in loaded.diagnostics) + "\n"
    golden = BAD / f"{name}.txt"
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_one_cause_is_told_once(name: str) -> None:
    told = [(str(one.span), one.code, one.message) for one in load_bad(name).diagnostics]
    assert len(told) == len(set(told))


@pytest.mark.parametrize("name", NAMES)
def test_in_order_of_the_file(name: str) -> None:
    keys = [one.span.sort_key for one in load_bad(name).diagnostics]
    assert keys == sorted(keys)


def test_every_code_has_an_example() -> None:
    seen = {one.code for name in NAMES for one in load_bad(name).diagnostics}
    elsewhere = {Code.INCLUDE_DEPTH}  # test_tree.py: it would be a golden file of 33 others
    assert seen | elsewhere == set(Code)


def test_json_has_the_place_and_the_chain() -> None:
    found = [as_json(one) for one in load_bad("include.conf").diagnostics]
    inner = next(one for one in found if one["path"] == "part.inc" and one["code"] == "LK0207")
    assert inner == {
        "severity": "error",
        "code": "LK0207",
        "path": "part.inc",
        "line": 1,
        "column": 9,
        "length": 3,
        "message": "lb_algo: 'rrr' is not known here",
        "hint": "did you mean 'rr'? one of rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed,"
        " nq or twos",
        "included_from": ["include.conf:8:13"],
    }


def test_codes_are_unique() -> None:
    numbers = [code.number for code in Code]
    assert len(numbers) == len(set(numbers))
