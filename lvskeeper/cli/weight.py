"""``lvskeeper weight``: give a real server another weight at runtime."""

import argparse

from lvskeeper.cli import orders
from lvskeeper.cli.client import add_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``weight``."""
    orders.add_server(parser)
    parser.add_argument("weight", type=int, metavar="N", help="the weight; 0: no new connections")
    orders.add_time(parser)
    orders.add_force(parser)
    add_run_dir(parser)
    parser.epilog = "It holds over reloads and restarts of the daemon; undrain lifts it."


def run(args: argparse.Namespace) -> int:
    """Set the weight; return the exit status."""
    orders.give(
        args.run_dir, "weight", server=args.server, virtual_servers=args.vs, weight=args.weight,
        for_seconds=args.lasts, force=args.force, reason=args.reason,
    )  # fmt: skip
    return 0
