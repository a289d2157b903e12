"""``lvskeeper dump``: have the daemon write what it remembers of the last minutes."""

import argparse

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``dump``."""
    add_run_dir(parser)
    parser.epilog = (
        "Prints the file: events of all roles, every advert that was heard, the last probes and "
        "the last bad ones. The daemon writes such files by itself, too, some seconds after a "
        "change of master, a lost quorum or the death of a role; it keeps the last eight. "
        "`lvskeeper replay` shows one."
    )


def run(args: argparse.Namespace) -> int:
    """Ask for the file and print its path; return the exit status."""
    from lvskeeper.observe.snapshot import RecordingView  # noqa: PLC0415 - msgspec

    print(Client(args.run_dir).post("/recordings", {}, RecordingView).file)
    return ExitStatus.OK
