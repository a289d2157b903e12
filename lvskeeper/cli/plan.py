"""``lvskeeper plan``: what a configuration would change, and whom that would touch."""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lvskeeper.cli.check import add_reading
from lvskeeper.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvskeeper.daemon.plan_change import Change
    from lvskeeper.daemon.roles import DirectorSpec
    from lvskeeper.daemon.router_spec import RouterSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``plan``."""
    parser.add_argument("file", metavar="FILE", help="configuration file")
    parser.add_argument(
        "--against", metavar="FILE",
        help="compare with this configuration, as a daemon that runs by it would at a reload; no "
        "kernel is looked at",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", type=Path, default=Path("/run/lvskeeper"), metavar="DIR",
        help="runtime directory of the daemon, which tells what is ours (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-empty", action="store_true", help="take a file that serves nothing, as run does"
    )
    add_reading(parser)
    parser.add_argument(
        "-o", "--output", "--format", dest="format", choices=("text", "json"), default="text",
        help="form of the output",
    )  # fmt: skip
    parser.epilog = (
        "Nothing is written. Without --against it is compared with this kernel, into which ip_vs "
        "is loaded where it is missing: health is taken from the table as it stands, as a "
        "starting daemon would, and which instance is master depends on the peers. With --against "
        "every real server of both files is taken to be up, and the kernel to be a stock one. "
        "Each change has its impact. nothing: no client notices it; in place: new connections "
        "find it, established ones go on; affects connections: established ones may end, or move "
        "to the peer; interrupts: a service or an address is away, for a moment or for good; "
        "needs a restart: it has no effect before the next start. "
        "What waits for a good check or an election is told as waiting. Exit status: 0 nothing "
        "would change, 1 there are changes, 2 a file is refused."
    )


def run(args: argparse.Namespace) -> int:
    """Print one line a change; return the exit status."""
    told: list[str] = []
    specs = _load(args.file, args)
    if specs is None:
        return ExitStatus.CONFIG
    if args.against is not None:
        before = _load(args.against, args)
        if before is None:
            return ExitStatus.CONFIG
        changes = _compare(before, specs)
    else:
        changes, told = _of_kernel(*specs, args.run_dir)
    if args.format == "json":
        document = {"notes": told, "changes": [asdict(change) for change in changes]}
        print(json.dumps(document, indent=2))
    else:
        for note in told:
            print(f"note: {note}")
        _print_text(changes, of_kernel=args.against is None)
    if any(not change.waiting for change in changes):
        return ExitStatus.ATTENTION
    return ExitStatus.OK


def _load(file: str, args: argparse.Namespace) -> "tuple[DirectorSpec, RouterSpec | None] | None":
    """Return what the roles would get of *file*, or nothing where it is refused and told."""
    import msgspec  # noqa: PLC0415 - heavy

    from lvskeeper.daemon.loader import NOTHING, load_file  # noqa: PLC0415 - see above
    from lvskeeper.daemon.roles import DirectorSpec  # noqa: PLC0415 - see above
    from lvskeeper.daemon.router_spec import RouterSpec  # noqa: PLC0415 - see above

    loaded = load_file(
        file, config_id=args.config_id, allow_empty=args.allow_empty, off=tuple(args.off),
        compat=bool(args.compat),
    )  # fmt: skip
    if loaded.errors:
        sys.stderr.write(loaded.report)
        return None
    router = None
    if loaded.router != NOTHING:
        router = msgspec.json.decode(loaded.router, type=RouterSpec)
    return msgspec.json.decode(loaded.spec, type=DirectorSpec), router


def _compare(
    before: "tuple[DirectorSpec, RouterSpec | None]",
    after: "tuple[DirectorSpec, RouterSpec | None]",
) -> "list[Change]":
    from lvskeeper.daemon.compare_director import compare_director  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.compare_router import compare_router  # noqa: PLC0415 - see above

    return compare_director(before[0], after[0]) + compare_router(before[1], after[1])


def _of_kernel(
    spec: "DirectorSpec", router: "RouterSpec | None", run_dir: Path
) -> "tuple[list[Change], list[str]]":
    """Return what would change in this kernel, and what is to be known beside it."""
    from lvskeeper.daemon.plan import is_idle, plan  # noqa: PLC0415 - heavy
    from lvskeeper.daemon.plan_notes import notes  # noqa: PLC0415 - see above
    from lvskeeper.daemon.plan_router import plan_router  # noqa: PLC0415 - see above
    from lvskeeper.kernel.ipvs import IpvsClient  # noqa: PLC0415 - see above

    changes: list[Change] = []
    told: list[str] = []
    if not is_idle(spec, run_dir):
        client = IpvsClient()
        client.open()
        changes = plan(spec, client, run_dir)
        told = notes(spec, native=client.traits.native_fullnat)
    return changes + plan_router(router, run_dir), told


def _print_text(changes: "Sequence[Change]", *, of_kernel: bool) -> None:
    for change in changes:
        print(f"waiting: {change.what}" if change.waiting else f"{change.what}  [{change.impact}]")
    done = [change for change in changes if not change.waiting]
    if not done:
        there = "the kernel is as configured" if of_kernel else "a reload would change nothing"
        print(f"nothing to do: {there}")
        return
    from lvskeeper.daemon.plan_change import EFFECTS  # noqa: PLC0415 - see above

    counts = Counter(change.impact for change in done)
    parts = ", ".join(f"{counts[effect]} {effect}" for effect in EFFECTS if counts[effect])
    print(f"{len(done)} change{'s' * (len(done) != 1)}: {parts}")
