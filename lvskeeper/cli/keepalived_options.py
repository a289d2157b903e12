"""keepalived's own options of ``lvskeeper run``, so that a unit file needs one word changed."""

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

SIGNALS: Final = {
    "STOP": signal.SIGTERM,
    "RELOAD": signal.SIGHUP,
    "DATA": signal.SIGUSR1,
    "STATS": signal.SIGUSR2,
    "STATS_CLEAR": signal.SIGRTMAX - 1,
    "JSON": signal.SIGRTMIN + 2,
}
"""keepalived's words for its signals; the numbers are the same."""

_IGNORED: Final = {
    ("-n", "--dont-fork"): "run never forks into the background",
    ("-G", "--no-syslog"): "there is no syslog without --log-facility",
    ("-B", "--no_bfd"): "there is no BFD process",
}


class PrintSignal(argparse.Action):
    """Prints the number of a signal, and ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: object,
        _option: str | None = None,
    ) -> None:
        """Print what ``kill -s`` takes."""
        name = str(values).upper()
        if name not in SIGNALS:
            parser.error(f"--signum: one of {', '.join(SIGNALS)}")
        sys.stdout.write(f"{int(SIGNALS[name])}\n")
        parser.exit()


def add_signum(parser: argparse._ActionsContainer) -> None:
    """Declare ``--signum``: scripts say ``kill -s $(lvskeeper --signum=RELOAD)``."""
    parser.add_argument(
        "--signum", action=PrintSignal, metavar="NAME",
        help=f"print the number of a signal and end: {', '.join(SIGNALS)}",
    )  # fmt: skip


def add_keepalived(parser: argparse.ArgumentParser) -> None:
    """Declare the options that keepalived has, and that make sense here."""
    group = parser.add_argument_group("keepalived's options")
    group.add_argument(
        "-t", "--config-test", nargs="?", const="", metavar="LOG",
        help="check the configuration, to LOG or standard error, and end: status 0 or 2",
    )  # fmt: skip
    group.add_argument("-l", "--log-console", action="store_true", help="as --log-format console")
    group.add_argument("-D", "--log-detail", action="count", default=0, help="as --log-level debug")
    part = group.add_mutually_exclusive_group()
    part.add_argument("-P", "--vrrp", action="store_true", help="serve the VRRP part alone")
    part.add_argument(
        "-C", "--check", action="store_true", help="serve virtual servers and checks alone"
    )
    group.add_argument(
        "-I", "--dont-release-ipvs", action="store_true",
        help="leave services and rules in the kernel at a stop",
    )  # fmt: skip
    group.add_argument(
        "-V", "--dont-release-vrrp", action="store_true",
        help="leave virtual addresses in place at a stop, and tell the peers nothing",
    )  # fmt: skip
    group.add_argument("-p", "--pid", type=Path, metavar="FILE", help="one more pid file")
    group.add_argument("-r", "--vrrp_pid", type=Path, metavar="FILE", help="that of the router")
    group.add_argument(
        "-c", "--checkers_pid", type=Path, metavar="FILE", help="that of the director"
    )
    group.add_argument(
        "--dump-dir", type=Path, metavar="DIR",
        help="where keepalived.json (signal JSON) and keepalived.stats (STATS) go; keepalived has "
        "/tmp, here it is the runtime directory",
    )  # fmt: skip
    add_signum(group)
    words = "; ".join(f"{names[0]}: {why}" for names, why in _IGNORED.items())
    for names in _IGNORED:
        group.add_argument(*names, action="store_true", help=argparse.SUPPRESS)
    group.description = f"As with keepalived. Taken and without effect: {words}."
