"""``lvskeeper cleanup``: takes out of the kernel what a dead daemon has left there."""

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lvskeeper.cli.run import DEFAULT_RUN_DIR
from lvskeeper.errors import ExitStatus

if TYPE_CHECKING:
    from lvskeeper.daemon.cleanup import Mains


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cleanup``."""
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, metavar="DIR",
        help="runtime directory of the daemon, which tells what is its own (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--vips", action="store_true",
        help="only what belongs to VRRP: addresses, routes, rules and virtual devices, which a "
        "peer has by now; services and their connections go on without a daemon",
    )  # fmt: skip
    parser.epilog = (
        "Nothing is done while a daemon runs, and nothing that the state files do not name is "
        "touched. Exit status: 0 nothing is left, 5 something could not be removed."
    )


def run(args: argparse.Namespace) -> int:
    """Remove what was left; return the exit status."""
    from lvskeeper.daemon.cleanup import clean_up, left_behind  # noqa: PLC0415 - asyncio, msgspec
    from lvskeeper.daemon.role import RoleName  # noqa: PLC0415 - see above

    roles = left_behind(args.run_dir)
    if args.vips:
        roles = tuple(name for name in roles if name is RoleName.ROUTER)
    if not roles:
        print("nothing to remove")
        return ExitStatus.OK
    left = asyncio.run(clean_up(args.run_dir, roles, _mains(args.run_dir)))
    for reason in left:
        print(f"lvskeeper cleanup: {reason}", file=sys.stderr)
    return ExitStatus.KERNEL if left else ExitStatus.OK


def _mains(run_dir: Path) -> "Mains":
    from lvskeeper.daemon.role import RoleName  # noqa: PLC0415 - see above
    from lvskeeper.observe.outlets import Log, LogSettings  # noqa: PLC0415 - structlog

    def director(sock: socket.socket) -> int:
        from lvskeeper.daemon.director import director_main  # noqa: PLC0415 - in the child only

        return director_main(sock, run_dir, Log("director", LogSettings()).emit)

    def router(sock: socket.socket) -> int:
        from lvskeeper.daemon.router import router_main  # noqa: PLC0415 - in the child only

        return router_main(sock, run_dir, Log("router", LogSettings()).emit)

    return {RoleName.DIRECTOR: director, RoleName.ROUTER: router}
