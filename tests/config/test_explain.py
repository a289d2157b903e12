"""Every code is explained, by examples that the golden files bring about."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from config.test_golden import NAMES, load_bad
from support.memfiles import MemoryFiles

from lvskeeper.cli.explain import EXAMPLES, read_examples
from lvskeeper.cli.main import main
from lvskeeper.config.codes import Code
from lvskeeper.config.explain import make_example, render
from lvskeeper.config.include import MAX_DEPTH
from lvskeeper.config.load import load

if TYPE_CHECKING:
    from lvskeeper.config.diagnostics import Diagnostic

PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"
WRITE = os.environ.get("LVSKEEPER_GOLDEN") == "write"


def examples() -> dict[str, dict[str, str]]:
    deep = {f"{number}.conf": f"include {number + 1}.conf" for number in range(MAX_DEPTH + 5)}
    found: dict[Code, list[Diagnostic]] = {}
    for loaded in (*map(load_bad, NAMES), load("0.conf", MemoryFiles(deep))):
        for one in loaded.diagnostics:
            found.setdefault(one.code, []).append(one)
    return {code.number: make_example(found[code]) for code in Code}


def test_the_examples_are_of_the_golden_files() -> None:
    if WRITE:
        EXAMPLES.write_text(json.dumps(examples(), indent=1) + "\n")
    assert read_examples() == examples(), "renew them: LVSKEEPER_GOLDEN=write"


def test_the_page_is_up_to_date() -> None:
    if WRITE:
        PAGE.write_text(render(read_examples()))
    assert PAGE.read_text() == render(read_examples()), (
        "python -m lvskeeper.cli.explain > docs/diagnostics.md"
    )


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_cure(code: Code) -> None:
    assert code.cure or read_examples()[code.number]["hint"]


def test_a_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "lk0105"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LK0105: A quoted word is not closed on its line.",
        "",
        "Example:",
        '    script_user "nobody',
        "                ^^^^^^^",
        "    error: the quote is not closed on this line",
        "",
        'Cure: close it with a " on the same line; a quote holds no other double quote',
    ]


def test_several_codes_one_of_which_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "LK0208", "LK0299"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("LK0208: ")
    assert told.err.startswith("lvskeeper explain: no code 'LK0299'; did you mean LK0")


def test_what_is_far_from_a_code_has_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "quorum of mine"]) == 2
    assert capsys.readouterr().err == "lvskeeper explain: no code 'quorum of mine'\n"
