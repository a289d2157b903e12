"""``lvskeeper undrain``: let a real server have its own weight again."""

import argparse

from lvskeeper.cli import orders
from lvskeeper.cli.client import add_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``undrain``."""
    orders.add_server(parser)
    add_run_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Lift drains and weights; return the exit status."""
    orders.give(args.run_dir, "undrain", server=args.server, virtual_servers=args.vs)
    return 0
