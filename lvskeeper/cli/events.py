"""``lvskeeper events``: what the daemon told lately, and what it tells from now on."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvskeeper.observe.diary import Entry, EventsView

LEVELS: Final = ("error", "warning", "notice", "info", "debug")
WAIT: Final = 10.0
"""Seconds that one question waits for the next event."""
PAUSE: Final = 1.0
"""Seconds between two questions where there is nothing to wait for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``events``."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on, until Ctrl-C")
    parser.add_argument(
        "-n", "--last", type=int, default=20, metavar="COUNT",
        help="begin with the last so many of those to show that the daemon still has (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-l", "--level", choices=LEVELS, default="info",
        help="least urgent events to show (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-e", "--event", action="append", default=[], metavar="NAME",
        help="only events of this name; may be given again and again",
    )  # fmt: skip
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add_run_dir(parser)
    parser.epilog = (
        "docs/events.md has every event with its meaning. The daemon keeps some thousand events in "
        "memory; with -f, those that are gone before they were read are counted, and a daemon that "
        "ends is waited for."
    )


def run(args: argparse.Namespace) -> int:
    """Print events; return the exit status."""
    client = Client(args.run_dir)
    view, found = _read_last(client, args)
    _print(found, args)
    if args.follow:
        _follow(client, view, args)
    return ExitStatus.OK


def _read_last(client: Client, args: argparse.Namespace) -> "tuple[EventsView, list[Entry]]":
    """Return the last events that are wanted, and the answer that had the newest."""
    view = _read(client, last=args.last)
    found = _wanted(view.entries, args)
    if len(found) < args.last and view.entries and view.entries[0].number > 1:
        # Others took their places: look through all that is kept.
        view, found = _read(client, after=0), []
        while view.entries:
            found += _wanted(view.entries, args)
            view = _read(client, after=view.last)
    return view, found[max(0, len(found) - args.last) :]


def _follow(client: Client, view: "EventsView", args: argparse.Namespace) -> None:
    pid, last, gone = view.pid, view.last, False
    while True:
        asked = time.monotonic()
        try:
            view = _read(client, after=last, wait=WAIT)
            if view.pid != pid:
                print("lvskeeper events: another daemon runs now", file=sys.stderr)
                pid, last, gone = view.pid, 0, False
                continue
        except OperatorError as error:
            if not gone:
                print(f"lvskeeper events: {error.message}; waiting for it", file=sys.stderr)
            gone = True
            time.sleep(PAUSE)
            continue
        gone = False
        if view.missed:
            print(f"lvskeeper events: {view.missed} events were not read in time", file=sys.stderr)
        _print(_wanted(view.entries, args), args)
        last = view.last
        if not view.entries and time.monotonic() - asked < PAUSE:
            time.sleep(PAUSE)  # too many wait already


def _read(client: Client, **fields: float) -> "EventsView":
    from lvskeeper.observe.diary import EventsView  # noqa: PLC0415 - msgspec

    return client.get(f"/events?{urlencode(fields)}", EventsView)


def _wanted(entries: "Iterable[Entry]", args: argparse.Namespace) -> "list[Entry]":
    levels = LEVELS[: LEVELS.index(args.level) + 1]
    return [
        entry for entry in entries
        if entry.level in levels and (not args.event or entry.event in args.event)
    ]  # fmt: skip


def _print(entries: "list[Entry]", args: argparse.Namespace) -> None:
    for entry in entries:
        print(line_of(entry) if args.output == "text" else _json(entry))
    sys.stdout.flush()


def line_of(entry: "Entry") -> str:
    """Return *entry* as a line of text."""
    whole, part = divmod(entry.time, 1)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
    fields = json.loads(bytes(entry.fields))
    told = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
    return f"{stamp}.{int(part * 1000):03} {entry.level} {entry.role} {entry.event} {told}".rstrip()


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text


def _json(entry: "Entry") -> str:
    head = {"number": entry.number, "time": entry.time, "level": entry.level}
    head |= {"event": entry.event, "role": entry.role}
    return json.dumps(head | json.loads(bytes(entry.fields)))
