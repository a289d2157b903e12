"""``lvskeeper enable``: put a virtual server that was disabled into use again."""

import argparse

from lvskeeper.cli import orders
from lvskeeper.cli.client import add_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``enable``."""
    parser.add_argument(
        "virtual_servers", nargs="+", metavar="NAME", help="virtual server, as status names it"
    )
    add_run_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Enable; return the exit status."""
    orders.give(args.run_dir, "enable", virtual_servers=args.virtual_servers)
    return 0
