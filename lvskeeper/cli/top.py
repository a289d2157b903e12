"""``lvskeeper top``: a running daemon on the whole screen, in an optional extra (textual)."""

import argparse

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError

PERIOD = 2.0
"""Seconds between two looks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``top``."""
    parser.add_argument(
        "-d", "--delay", type=float, default=PERIOD, metavar="SECONDS",
        help="time between two looks (default: %(default)g)",
    )  # fmt: skip
    add_run_dir(parser)
    parser.epilog = (
        "Keys: 1 to 7 choose a table, e explains the line under the cursor, q ends. It needs "
        "textual, which is an extra: pip install 'lvskeeper[top]'. A daemon that does not answer "
        "has no state: the tables are emptied."
    )


def run(args: argparse.Namespace) -> int:
    """Show it until the user ends it; return the exit status."""
    if args.delay <= 0:
        raise OperatorError("--delay needs a time above 0", status=ExitStatus.CONFIG)
    try:
        from lvskeeper.cli.top_app import TopApp  # noqa: PLC0415 - textual
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        raise OperatorError(
            "textual is not installed",
            status=ExitStatus.UNSUPPORTED,
            hint="pip install 'lvskeeper[top]'; lvskeeper status --watch needs nothing.",
        ) from error
    TopApp(Client(args.run_dir), args.delay).run()
    return ExitStatus.OK
