"""``lvskeeper reload``: have a running daemon read its file anew."""

import argparse
import json
import sys
from typing import Final

import msgspec

from lvskeeper.cli.client import Client, add_run_dir, problem_of
from lvskeeper.cli.orders import duration
from lvskeeper.errors import ExitStatus
from lvskeeper.observe.snapshot import ReloadView
from lvskeeper.units import format_count, format_duration

LIMIT: Final = 320.0
"""Seconds to wait; the daemon gives up before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``reload``."""
    parser.add_argument(
        "--wait", action="store_true",
        help="return when it is in the kernel and verified, with a summary, or refused",
    )  # fmt: skip
    parser.add_argument(
        "--confirm", type=duration, metavar="TIME",
        help="bring the old configuration back after this time, unless `lvskeeper confirm` comes "
        "before; implies --wait",
    )  # fmt: skip
    add_run_dir(parser)
    parser.epilog = (
        "A file with errors changes nothing (status 2). Where the kernel refuses some of it, "
        "the rest is in force and that is tried again (status 5). While a reload waits to be "
        "confirmed, further ones are rolled back with it; a restart of the daemon takes the file "
        "as it is."
    )


def run(args: argparse.Namespace) -> int:
    """Reload; return the exit status."""
    waits = args.wait or args.confirm is not None
    fields = {"wait": waits} | ({} if args.confirm is None else {"confirm_seconds": args.confirm})
    status, body = Client(args.run_dir).exchange(
        "POST", "/reload", json.dumps(fields).encode(), LIMIT
    )
    if b'"applied"' not in body[:32]:
        raise problem_of(body)
    view = msgspec.json.decode(body, type=ReloadView)
    for line in view.errors:
        print(line, file=sys.stderr)
    if status != 200:
        print(f"lvskeeper reload: {view.message}", file=sys.stderr)
        return ExitStatus.CONFIG if view.errors else ExitStatus.REFUSED
    print(summary(view) if waits else view.message)
    if view.confirm_within is not None:
        within = format_duration(view.confirm_within)
        print(f"rolled back in {within} unless confirmed: lvskeeper confirm")
    if view.refused:
        refused = format_count(view.refused, "operation")
        print(
            f"lvskeeper reload: the kernel refused {refused}; what it says of each is in the log, "
            "and it is tried again",
            file=sys.stderr,
        )
        return ExitStatus.KERNEL
    return ExitStatus.OK


def summary(view: ReloadView) -> str:
    """Return what a reload did, in one line or two."""
    done = ", ".join(f"{kind}: {count}" for kind, count in view.changes.items())
    serves = ", ".join([
        format_count(view.virtual_servers, "virtual server"),
        format_count(view.real_servers, "real server"),
        *([format_count(view.instances, "VRRP instance")] if view.instances else []),
    ])  # fmt: skip
    text = f"{view.message} in {format_duration(view.took)}; {done or 'nothing to change'}"
    warnings = format_count(len(view.warnings), "warning")
    warned = f"; {warnings}, see lvskeeper check" if view.warnings else ""
    return f"{text}\nserves {serves}{warned}"
