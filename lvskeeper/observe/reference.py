"""Generates docs/events.md from the catalogue: ``python -m lvskeeper.observe.reference``."""

import inspect
from typing import get_type_hints

from lvskeeper.observe.events import Event, catalogue
from lvskeeper.observe.log import LEVEL_NAMES

_HEAD = """\
# Events

Generated from the event catalogue (`lvskeeper/observe/events.py`); names and fields are stable.
Every line of the log is one event: a timestamp, the level, the name, the role that tells it, and
the fields below. `lvskeeper run --log-format` chooses the form: `console`, `json` or `keyvalue`.
"""


def render() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(kind) for kind in catalogue())])


def _section(kind: type[Event]) -> str:
    meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    lines = [f"## {kind.NAME}", "", f"*{LEVEL_NAMES[kind.LEVEL]}* · {meaning}", ""]
    if kind.CURE:
        lines += [f"**What to do:** {kind.CURE}", ""]
    hints = get_type_hints(kind, include_extras=True)
    lines += ["| field | meaning |", "| --- | --- |"]
    for name in kind.__struct_fields__:
        lines.append(f"| `{name}` | {hints[name].__metadata__[0]} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - it is a generator
