"""``lvskeeper disable``: take a virtual server out of use without cutting its connections."""

import argparse

from lvskeeper.cli import orders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``disable``."""
    parser.add_argument(
        "virtual_servers", nargs="+", metavar="NAME",
        help="virtual server, as status names it; ADDRESS:PORT means all its protocols",
    )  # fmt: skip
    orders.add_deadline(parser)
    orders.add_time(parser)
    parser.epilog = (
        "All its real servers are drained: its quorum is lost, and its sorry server, where there "
        "is one, takes new connections. It holds over reloads and restarts; enable lifts it."
    )


def run(args: argparse.Namespace) -> int:
    """Disable; return the exit status."""
    given = orders.give(
        args.run_dir, "disable", virtual_servers=args.virtual_servers,
        deadline_seconds=args.deadline, for_seconds=args.lasts, reason=args.reason,
    )  # fmt: skip
    return orders.wait(args.run_dir, given) if args.wait else 0
