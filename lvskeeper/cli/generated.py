"""Files that are made of the program's own tables: ``python -m lvskeeper.cli.generated``.

They are kept in the repository, for packages and editors; a test compares them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from lvskeeper.cli import completion, manual, schema
from lvskeeper.cli.arguments import Command, command_of
from lvskeeper.cli.main import build_parser

ROOT: Final = Path(__file__).parents[2]


def _root() -> Command:
    return command_of(build_parser())


FILES: Final[dict[str, Callable[[], str]]] = {
    "docs/lvskeeper.schema.json": schema.render,
    "packaging/man/lvskeeper.8": lambda: manual.command_page(_root()),
    "packaging/man/lvskeeper.conf.5": manual.file_page,
    "packaging/completion/lvskeeper.bash": lambda: completion.bash(_root()),
    "packaging/completion/_lvskeeper": lambda: completion.zsh(_root()),
    "packaging/completion/lvskeeper.fish": lambda: completion.fish(_root()),
}
"""Path below the repository, and what makes its contents."""


def write() -> None:
    """Write all of them anew."""
    for name, make in FILES.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())


if __name__ == "__main__":
    write()
