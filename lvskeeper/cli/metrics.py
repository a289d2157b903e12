"""``lvskeeper metrics``: the metrics of a running daemon, printed or written for node_exporter."""

import argparse
import sys
import time
from pathlib import Path

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError

NAMES = ("keepalived", "node")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``metrics``."""
    parser.add_argument(
        "--textfile", type=Path, metavar="FILE",
        help="write to FILE, at once and whole, for the collector textfile of node_exporter",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=_names, default=(), metavar="keepalived,node",
        help="add the names of keepalived-exporter, or of node_exporter's ipvs collector",
    )  # fmt: skip
    add_run_dir(parser)
    parser.epilog = (
        "docs/metrics.md has every metric. Where no daemon answers, FILE is emptied: what is known "
        "no longer is not told. Exit status: 7 no daemon runs, 10 a role did not answer; what is "
        "known of the others is written all the same."
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"no names '{name}'; there are {', '.join(NAMES)}")
    return names


def run(args: argparse.Namespace) -> int:
    """Print or write the metrics; return the exit status."""
    try:
        snapshot = Client(args.run_dir).snapshot()
    except OperatorError:
        if args.textfile is not None:
            _write(args.textfile, b"")
        raise
    from lvskeeper.kernel.ipvs_proc import read_traffic  # noqa: PLC0415 - needed here only
    from lvskeeper.observe.exposition import expose  # noqa: PLC0415 - prometheus-client
    from lvskeeper.observe.metric import Facts, Suite  # noqa: PLC0415 - see above

    suites = {"keepalived": Suite.KEEPALIVED, "node": Suite.NODE}
    facts = Facts(snapshot, time.monotonic(), read_traffic())
    text = expose(facts, (Suite.OWN, *(suites[name] for name in args.names)))
    if args.textfile is not None:
        _write(args.textfile, text)
    else:
        sys.stdout.write(text.decode())
    return ExitStatus.TIMED_OUT if snapshot.problems else ExitStatus.OK


def _write(path: Path, text: bytes) -> None:
    """Write *text* so that a reader finds the old file or the new one."""
    draft = path.with_suffix(f"{path.suffix}.new")
    try:
        draft.write_bytes(text)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise OperatorError(
            f"{path}: {error.strerror}", status=ExitStatus.PERMISSION,
            hint="The directory has to exist, and to be ours to write to.",
        ) from error  # fmt: skip
