"""``lvskeeper convert``: keepalived.conf to YAML and back."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lvskeeper.cli.check import add_reading
from lvskeeper.errors import ExitStatus, OperatorError

FORMS: Final = ("keepalived", "yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="keepalived.conf form, or .yaml, .yml")
    parser.add_argument(
        "--to", choices=FORMS,
        help="form to write (default: by the name of --output, else the one that FILE has not)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write it (default: standard output)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    add_reading(parser)
    parser.epilog = (
        "Both forms come to the same configuration; the result is read again to make sure. "
        "Comments are kept. Includes, definitions, conditions and sequences are resolved. "
        "Warnings are told on standard error. Exit status: 0 written, 2 the file is refused, or "
        "has what the other form cannot hold."
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file; return the exit status."""
    from lvskeeper.config.convert import Snapshot, convert, form_of, verify  # noqa: PLC0415 - pydantic
    from lvskeeper.config.diagnostics import render_text  # noqa: PLC0415 - see above
    from lvskeeper.config.load import judge  # noqa: PLC0415 - see above
    from lvskeeper.config.tree import parse_file  # noqa: PLC0415 - see above
    from lvskeeper.config.write_text import WriteError  # noqa: PLC0415 - see above
    from lvskeeper.kernel.files import LocalFiles, local_surroundings  # noqa: PLC0415 - see above

    form = _form(args, form_of)
    files = LocalFiles()
    tree = parse_file(args.file, files, local_surroundings(args.config_id))
    snapshot = Snapshot(tree.directives)
    loaded = judge(args.file, tree, files, allow_empty=True, off=args.off, compat=bool(args.compat))
    for one in loaded.diagnostics:
        print(render_text(one), file=sys.stderr)
    if loaded.config is None:
        return ExitStatus.CONFIG
    try:
        text = convert(args.file, tree.directives, form, snapshot.restore())
    except WriteError as bad:
        print(render_text(bad.diagnostic), file=sys.stderr)
        return ExitStatus.CONFIG
    verify(args.file, text, form, loaded.config, files, compat=bool(args.compat))
    if args.output is None:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    else:
        _write(Path(args.output), text, like=Path(args.file), force=args.force)
    return ExitStatus.OK


def _form(args: argparse.Namespace, form_of: Callable[[str], str]) -> str:
    """Return the form to write; raise ``OperatorError`` where the output's name denies it."""
    own = form_of(args.file)
    by_name = form_of(args.output) if args.output else None
    form: str = args.to or by_name or ("keepalived" if own == "yaml" else "yaml")
    if by_name is not None and form != by_name:
        wanted = "a name that ends" if form == "yaml" else "no name that ends"
        raise OperatorError(
            f"{args.output} would not be read as it is written: {form} needs {wanted} in "
            ".yaml or .yml",
            status=ExitStatus.CONFIG,
        )
    return form


def _write(path: Path, text: str, *, like: Path, force: bool) -> None:
    """Write the whole file or nothing; who may read *like* may read it, for it may hold passwords.

    Raises ``OperatorError``.
    """
    if not force and os.path.lexists(path):
        raise OperatorError(
            f"{path} exists", status=ExitStatus.CONFIG, hint="--force overwrites it"
        )
    mode = like.stat().st_mode & 0o666
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(file, "wb") as opened:
            opened.write(text.encode())
        if force:
            made.replace(path)
        else:
            path.hardlink_to(made)
    except FileExistsError:
        raise OperatorError(
            f"{path} exists", status=ExitStatus.CONFIG, hint="--force overwrites it"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise OperatorError(f"cannot write {path}: {reason}", status=ExitStatus.CONFIG) from error
    finally:
        made.unlink(missing_ok=True)
