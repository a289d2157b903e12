from pathlib import Path

from lvskeeper.config.reference import render

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), (
        "python -m lvskeeper.config.reference > docs/configuration.md"
    )
