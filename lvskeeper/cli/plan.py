"""``lvskeeper plan``: what a configuration would change in this kernel's table."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lvskeeper.cli.check import add_reading
from lvskeeper.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvskeeper.daemon.plan import Change


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``plan``."""
    parser.add_argument("file", metavar="FILE", help="configuration file")
    parser.add_argument(
        "--run-dir", type=Path, default=Path("/run/lvskeeper"), metavar="DIR",
        help="runtime directory of the daemon, which tells what is ours (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-empty", action="store_true", help="take a file that serves nothing, as run does"
    )
    add_reading(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.epilog = (
        "Health is taken from the table as it stands, as a starting daemon would. Nothing is "
        "written. What VRRP will hold depends on the peers, and is not planned. Exit status: 0 "
        "nothing would change, 1 there are changes, 2 the file is refused."
    )


def run(args: argparse.Namespace) -> int:
    """Print one line a change; return the exit status."""
    from lvskeeper.daemon.loader import load_file  # noqa: PLC0415 - msgspec

    loaded = load_file(
        args.file, config_id=args.config_id, allow_empty=args.allow_empty, off=tuple(args.off),
        compat=bool(args.compat),
    )  # fmt: skip
    if loaded.errors:
        sys.stderr.write(loaded.report)
        return ExitStatus.CONFIG
    import msgspec  # noqa: PLC0415 - see above

    from lvskeeper.daemon.plan import is_idle, plan  # noqa: PLC0415 - see above
    from lvskeeper.daemon.plan_notes import notes  # noqa: PLC0415 - see above
    from lvskeeper.daemon.roles import DirectorSpec  # noqa: PLC0415 - see above
    from lvskeeper.kernel.ipvs import IpvsClient  # noqa: PLC0415 - see above

    spec = msgspec.json.decode(loaded.spec, type=DirectorSpec)
    changes: list[Change] = []
    told: list[str] = []
    if not is_idle(spec, args.run_dir):
        client = IpvsClient()
        client.open()
        changes = plan(spec, client, args.run_dir)
        told = notes(spec, native=client.traits.native_fullnat)
    if args.format == "json":
        document = {"notes": told, "changes": [asdict(change) for change in changes]}
        print(json.dumps(document, indent=2))
    else:
        for note in told:
            print(f"note: {note}")
        _print_text(changes)
    if any(not change.waiting for change in changes):
        return ExitStatus.ATTENTION
    return ExitStatus.OK


def _print_text(changes: "Sequence[Change]") -> None:
    for change in changes:
        print(f"waiting: {change.what}" if change.waiting else f"{change.what}  [{change.impact}]")
    count = sum(not change.waiting for change in changes)
    if not count:
        print("nothing to do: the kernel is as configured")
        return
    breaking = sum(change.impact == "breaks flows" for change in changes)
    print(f"{count} change{'s' * (count != 1)}, {breaking} of them breaking flows")
