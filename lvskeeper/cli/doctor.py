"""``lvskeeper doctor``: is this machine fit for it, and what mends what is not."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvskeeper.cli.check import add_reading
from lvskeeper.cli.run import DEFAULT_FILE, DEFAULT_RUN_DIR
from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvskeeper.observe.doctor import Finding, Needs

LISTEN: Final = 3.0
"""Seconds that adverts are waited for: those of most masters come every second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``doctor``."""
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE",
        help=f"what the machine is to be fit for (default: {DEFAULT_FILE}, if it exists)",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, metavar="DIR",
        help="runtime directory of the daemon (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--listen", type=float, default=LISTEN, metavar="SECONDS",
        help="how long adverts of other virtual routers are waited for; 0 for not at all "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add_reading(parser)
    parser.epilog = (
        "It changes nothing; nft may load the modules that it is asked about. Exit status: 0 all "
        "is well, 1 there are warnings, 4 something does not work as it is, 2 the file is refused."
    )


def run(args: argparse.Namespace) -> int:
    """Print a line a finding; return the exit status."""
    needs = _needs(args)
    if needs is None:
        return ExitStatus.CONFIG
    from lvskeeper.daemon.doctor import examine  # noqa: PLC0415 - msgspec, asyncio
    from lvskeeper.observe.doctor import Verdict, render  # noqa: PLC0415 - see above

    findings = [*examine(needs, args.run_dir, listen=args.listen), *_fail_over(args.run_dir)]
    if args.output == "json":
        lines = [
            {"topic": one.topic, "verdict": one.verdict.value, "text": one.text,
             "command": one.command}
            for one in findings
        ]  # fmt: skip
        print(json.dumps(lines, indent=2, ensure_ascii=False))
    else:
        print(render(findings, colors=sys.stdout.isatty()))
    verdicts = {one.verdict for one in findings}
    if Verdict.PROBLEM in verdicts:
        return ExitStatus.UNSUPPORTED
    return ExitStatus.ATTENTION if Verdict.WARNING in verdicts else ExitStatus.OK


def _fail_over(run_dir: Path) -> "Iterator[Finding]":
    """Yield what a running daemon says of state sync; nothing where none runs, or it has none."""
    from lvskeeper.cli.client import Client  # noqa: PLC0415 - msgspec
    from lvskeeper.observe.doctor import carried  # noqa: PLC0415 - see above

    with contextlib.suppress(OperatorError):
        director = Client(run_dir).snapshot().director
        if director is not None and director.state_sync is not None:
            yield carried(director.state_sync)


def _needs(args: argparse.Namespace) -> "Needs | None":
    """Return what the file asks for; nothing, after its report, where it is refused."""
    from lvskeeper.observe.doctor import Needs  # noqa: PLC0415 - see above

    file = args.file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if file is None:
        return Needs()
    import msgspec  # noqa: PLC0415 - see above

    from lvskeeper.daemon.doctor import needs_of  # noqa: PLC0415 - see above
    from lvskeeper.daemon.loader import NOTHING, load_file  # noqa: PLC0415 - see above
    from lvskeeper.daemon.roles import DirectorSpec  # noqa: PLC0415 - see above
    from lvskeeper.daemon.router_spec import RouterSpec  # noqa: PLC0415 - see above

    loaded = load_file(str(file), config_id=args.config_id, allow_empty=True, off=tuple(args.off))
    if loaded.errors:
        sys.stderr.write(loaded.report)
        return None
    director = msgspec.json.decode(loaded.spec, type=DirectorSpec)
    router = None
    if loaded.router != NOTHING:
        router = msgspec.json.decode(loaded.router, type=RouterSpec)
    return needs_of(director, router)
