"""What the commands for overrides share: options, the question, and its answer in words."""

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Final

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.observe.override_words import in_words
from lvskeeper.observe.views import OrderView, OverridesView

LOOK: Final = 0.5
"""Seconds between two questions of ``drain --wait``."""

PATIENCE: Final = 60.0
"""Seconds for which ``--wait`` waits for a daemon, or its director, that is started anew."""

_PASSING: Final = frozenset({ExitStatus.NO_DAEMON, ExitStatus.TIMED_OUT, ExitStatus.PERMISSION})
"""What a start may look like: the socket is the daemon's alone until the file is loaded."""

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?", re.ASCII)
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TOTAL: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+", re.ASCII)


def duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``30m``, ``1h30m`` or ``2d``."""
    if not (_TOTAL.fullmatch(text) or re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a time such as 90s, 30m or 1h30m")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in _DURATION.findall(text))


def add_server(parser: argparse.ArgumentParser) -> None:
    """Declare the real server, and in which virtual servers it is meant."""
    parser.add_argument(
        "server", metavar="SERVER",
        help="real server: ADDRESS for all its ports, or ADDRESS:PORT, [ADDRESS]:PORT",
    )  # fmt: skip
    parser.add_argument(
        "--vs", action="append", default=[], metavar="NAME",
        help="only in this virtual server, as status names it; may be given again "
        "(default: in all)",
    )  # fmt: skip


def add_time(parser: argparse.ArgumentParser) -> None:
    """Declare how long it is to hold, and why."""
    parser.add_argument(
        "--for", dest="lasts", type=duration, metavar="TIME",
        help="end it by itself after this time, such as 30m (default: until it is lifted)",
    )  # fmt: skip
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="shown wherever the override is shown"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Declare that nobody may be left."""
    parser.add_argument(
        "--force", action="store_true",
        help="do it even if the virtual server then has nobody who takes new connections, or "
        "loses other servers with its quorum",
    )  # fmt: skip


def add_deadline(parser: argparse.ArgumentParser) -> None:
    """Declare how long connections are waited for, and whether the command waits."""
    parser.add_argument(
        "--deadline", type=duration, metavar="TIME",
        help="wait so long for connections, then take the server out of the table; what is left "
        "is cut (default: wait until none is left)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", action="store_true", help="return when it is out of the table, or undrained"
    )
    add_run_dir(parser)


def give(run_dir: Path, action: str, **fields: object) -> OverridesView:
    """Have the daemon do *action*, and print what holds then."""
    wanted = {name: value for name, value in fields.items() if value is not None}
    view = Client(run_dir).post("/overrides", {"action": action, **wanted}, OverridesView)
    for one in view.orders:
        print(describe(one))
    return view


def describe(one: OrderView) -> str:
    """Return an override with its subject, as one line."""
    subject = f"{one.real_server} of {one.virtual_server}" if one.real_server else (
        one.virtual_server
    )  # fmt: skip
    return f"{subject}: {in_words(one.override)}{' (not configured now)' if one.orphaned else ''}"


def wait(run_dir: Path, given: OverridesView) -> int:
    """Wait until what was *given* is drained, or lifted; tell changes. Return the exit status."""
    client = Client(run_dir)
    subjects = {(one.virtual_server, one.real_server) for one in given.orders}
    told: dict[tuple[str, str], str] = {}
    lifted = False
    while subjects:
        now = _held(client)
        held = {(one.virtual_server, one.real_server): one for one in now.orders}
        for subject in sorted(subjects):
            one = held.get(subject)
            left = f"{one.override.connections} left" if one else ""
            if one is None:
                lifted = True
            elif one.override.state == "draining":
                if told.get(subject) != left and one.override.connections is not None:
                    print(describe(one), flush=True)
                    told[subject] = left
                continue
            else:
                print(describe(one), flush=True)
            subjects.discard(subject)
        if subjects:
            time.sleep(LOOK)
    if lifted:
        print("lifted before it was drained", file=sys.stderr)
    return ExitStatus.REFUSED if lifted else ExitStatus.OK


def _held(client: Client) -> OverridesView:
    """Return what holds, from the daemon or its successor; raise after :data:`PATIENCE`."""
    until = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            return client.get("/overrides", OverridesView)
        except OperatorError as error:
            if error.status not in _PASSING:
                raise
            if time.monotonic() > until:
                raise OperatorError(
                    f"{error.message}; given up after {PATIENCE:g} s",
                    status=error.status,
                    hint="The drain is kept, and goes on with the daemon: lvskeeper status drains.",
                ) from error
            if not told:
                print(f"{error.message}; waiting for it", file=sys.stderr, flush=True)
                told = True
        time.sleep(LOOK)
