"""``lvskeeper schema``: the JSON schema of the YAML form, for editors."""

import argparse
import json

from lvskeeper.errors import ExitStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the epilog; there are no arguments."""
    parser.epilog = (
        "It follows draft 2020-12. An editor with a YAML language server reads it where the first "
        "line of a file is: # yaml-language-server: $schema=FILE"
    )


def run(_args: argparse.Namespace) -> int:
    """Print the schema; return the exit status."""
    print(render(), end="")
    return ExitStatus.OK


def render() -> str:
    """Return the schema as text, a keyword a line."""
    from lvskeeper.config.schema import schema  # noqa: PLC0415 - the keyword table

    return _dump(schema(), "") + "\n"


def _dump(value: object, pad: str) -> str:
    if not isinstance(value, dict) or ("description" in value and pad) or len(value) < 2:
        return json.dumps(value, ensure_ascii=False)
    inner = pad + "  "
    lines = [f"{inner}{json.dumps(key)}: {_dump(one, inner)}" for key, one in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{pad}}}"
