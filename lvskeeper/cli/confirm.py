"""``lvskeeper confirm``: keep what ``reload --confirm`` brought."""

import argparse

from lvskeeper.cli.client import Client, add_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``confirm``."""
    add_run_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Confirm; return the exit status."""
    Client(args.run_dir).post("/confirm", {}, type(None))
    print("the configuration stays")
    return 0
