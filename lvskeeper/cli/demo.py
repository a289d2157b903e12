"""``lvskeeper demo``: a director, and a pair, at work in network namespaces."""

import argparse
import os
import sys

from lvskeeper.errors import ExitStatus, OperatorError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``demo``."""
    parser.epilog = (
        "It runs on this kernel if that has ip_vs, else in a VM with Debian's kernel; it takes "
        "about five minutes there. Nothing of this machine's network or services is touched. Exit "
        "status: 0 only if every step held."
    )


def run(_args: argparse.Namespace) -> int:
    """Run the demonstration where ip_vs is; return its exit status."""
    if os.geteuid() != 0:
        raise OperatorError(
            "the demonstration makes network namespaces, and that takes root",
            status=ExitStatus.PERMISSION,
            hint="sudo lvskeeper demo",
        )
    from lvskeeper.lab.vm import run_where_ipvs_is  # noqa: PLC0415 - the laboratory's own imports

    return run_where_ipvs_is([sys.executable, "-m", "lvskeeper.lab.demo"])
