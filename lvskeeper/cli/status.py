"""``lvskeeper status``: how a running daemon is, as tables or JSON, once or again and again."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from lvskeeper.observe.snapshot import Snapshot

PARTS: Final = ("vs", "rs", "vrrp", "checks", "drains", "lips", "sync")
CLEAR: Final = "\x1b[H\x1b[2J"
"""Empties a terminal."""
PERIOD: Final = 2.0
"""Seconds between two looks of ``--watch``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``status``."""
    parser.add_argument(
        "part", nargs="?", choices=PARTS,
        help="virtual servers, real servers, VRRP, checks, drains and other overrides, local "
        "addresses, or state sync alone",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", choices=("table", "wide", "json"), default="table",
        help="table (default), more columns, or JSON with every value that there is",
    )  # fmt: skip
    parser.add_argument(
        "--watch", nargs="?", type=float, const=PERIOD, metavar="SECONDS",
        help=f"look again and again, every {PERIOD:g} seconds unless given",
    )  # fmt: skip
    parser.add_argument(
        "--is-master", metavar="NAME",
        help="print nothing; exit with 0 where the VRRP instance or sync group is MASTER, else 1",
    )  # fmt: skip
    parser.add_argument(
        "--is-serving", metavar="NAME",
        help="print nothing; exit with 0 where the virtual server takes new connections, else 1",
    )  # fmt: skip
    add_run_dir(parser)
    parser.epilog = (
        "Every table says how old its values are. Exit status: 0 all roles answered, 1 the answer "
        "to --is-... is no, 7 no daemon runs, 9 there is nothing of this name, 10 a role that has "
        "to be there does not answer (what answered is shown all the same)."
    )


def run(args: argparse.Namespace) -> int:
    """Show what is asked for; return the exit status."""
    client = Client(args.run_dir)
    if args.is_master is not None or args.is_serving is not None:
        return _answer(client.snapshot(), args.is_master, args.is_serving)
    if args.watch is None:
        return _show(client.snapshot(), args)
    if args.watch <= 0:
        raise OperatorError("--watch needs a time above 0", status=ExitStatus.CONFIG)
    return _watch(client, args)


def _answer(snapshot: "Snapshot", instance: str | None, virtual: str | None) -> int:
    from lvskeeper.observe.status import is_master, is_serving  # noqa: PLC0415 - msgspec

    yes = True
    for name, ask, role, view in (
        (instance, is_master, "router", snapshot.router),
        (virtual, is_serving, "director", snapshot.director),
    ):
        if name is None:
            continue
        if view is None and (told := _problem(snapshot, role)):
            raise told
        answer = ask(snapshot, name)
        if answer is None:
            thing = "virtual server" if role == "director" else "VRRP instance or sync group"
            raise OperatorError(f"there is no {thing} '{name}'", status=ExitStatus.NOT_FOUND)
        yes = yes and answer
    return ExitStatus.OK if yes else ExitStatus.ATTENTION


def _problem(snapshot: "Snapshot", role: str) -> OperatorError | None:
    """Return why *role* is not known, or nothing where it has nothing to do."""
    for problem in snapshot.problems:
        if role in problem.message:
            return OperatorError(problem.message, status=ExitStatus.TIMED_OUT, hint=problem.hint)
    return None


def _show(snapshot: "Snapshot", args: argparse.Namespace) -> int:
    sys.stdout.write(_text(snapshot, args))
    sys.stdout.flush()
    if snapshot.problems:
        for problem in snapshot.problems:
            print(f"lvskeeper status: {problem.message}", file=sys.stderr)
        return ExitStatus.TIMED_OUT
    return ExitStatus.OK


def _text(snapshot: "Snapshot", args: argparse.Namespace) -> str:
    from lvskeeper.observe.status import SECTIONS, render_status  # noqa: PLC0415 - msgspec

    now = time.monotonic()
    wide = args.output == "wide"
    if args.output == "json":
        import msgspec  # noqa: PLC0415 - needed here only

        shown = msgspec.json.encode(_part(snapshot, args.part))
        return msgspec.json.format(shown, indent=2).decode() + "\n"
    if args.part is None:
        return render_status(snapshot, now, wide=wide)
    return str(SECTIONS[args.part](snapshot, now, wide=wide))


def _part(snapshot: "Snapshot", part: str | None) -> object:
    match part:
        case None:
            return snapshot
        case "vrrp":
            return snapshot.router
        case _:
            return snapshot.director


def _watch(client: Client, args: argparse.Namespace) -> int:
    """Look until Ctrl-C; a daemon that does not answer is told, and nothing from before shown."""
    clear = CLEAR if sys.stdout.isatty() else ""
    seen: float | None = None
    while True:
        try:
            snapshot = client.snapshot()
        except OperatorError as error:
            ago = "" if seen is None else f"; it last answered {time.monotonic() - seen:.0f} s ago"
            text = f"NO ANSWER: {error.message}{ago}\n"
        else:
            seen = time.monotonic()
            text = _text(snapshot, args)
        stamp = "" if args.output == "json" else time.strftime("%H:%M:%S\n")
        sys.stdout.write(f"{clear}{stamp}{text}")
        sys.stdout.flush()
        time.sleep(args.watch)
