"""``lvskeeper explain LK0207``: what a code of ``lvskeeper check`` means, and what helps."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvskeeper.errors import ExitStatus

if TYPE_CHECKING:
    from lvskeeper.config.explain import Example

EXAMPLES: Final = Path(__file__).parents[1] / "config" / "examples.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("codes", nargs="+", metavar="CODE", help="a code, as LK0207")


def run(args: argparse.Namespace) -> int:
    """Print what each code means; return the exit status: 2 where one does not exist."""
    from lvskeeper.config.codes import find_code, suggest_codes  # noqa: PLC0415 - seldom needed
    from lvskeeper.config.explain import explain  # noqa: PLC0415 - seldom needed

    examples = read_examples()
    texts: list[str] = []
    status = ExitStatus.OK
    for name in args.codes:
        code = find_code(name)
        if code is not None:
            texts.append(explain(code, examples[code.number]))
            continue
        status = ExitStatus.CONFIG
        hint = suggest_codes(name)
        told = f"no code '{name}'; {hint}" if hint else f"no code '{name}'"
        print(f"lvskeeper explain: {told}", file=sys.stderr)
    print("\n".join(texts), end="")
    return status


def read_examples() -> dict[str, "Example"]:
    """Return the examples by the number of their code."""
    examples: dict[str, Example] = json.loads(EXAMPLES.read_text())
    return examples


def _page() -> str:
    from lvskeeper.config.explain import render  # noqa: PLC0415 - seldom needed

    return render(read_examples())


if __name__ == "__main__":
    sys.stdout.write(_page())
