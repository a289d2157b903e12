"""``lvskeeper drain``: take a real server out of service without cutting its connections."""

import argparse

from lvskeeper.cli import orders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``drain``."""
    orders.add_server(parser)
    orders.add_deadline(parser)
    orders.add_time(parser)
    orders.add_force(parser)
    parser.epilog = (
        "The server gets no new connections at once. When those that it has are gone it leaves "
        "the kernel's table, and it comes back by undrain only. Drains outlive reloads and "
        "restarts of the daemon."
    )


def run(args: argparse.Namespace) -> int:
    """Drain; return the exit status."""
    given = orders.give(
        args.run_dir, "drain", server=args.server, virtual_servers=args.vs,
        deadline_seconds=args.deadline, for_seconds=args.lasts, force=args.force,
        reason=args.reason,
    )  # fmt: skip
    return orders.wait(args.run_dir, given) if args.wait else 0
