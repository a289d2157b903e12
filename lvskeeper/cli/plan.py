"""``lvskeeper plan``: what a configuration would change in this kernel's table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lvskeeper.errors import ExitStatus

if TYPE_CHECKING:
    from lvskeeper.daemon.roles import DirectorSpec
    from lvskeeper.ipvs.operation import Operation
    from lvskeeper.kernel.ipvs import IpvsClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``plan``."""
    parser.add_argument("file", metavar="FILE", help="configuration file")
    parser.add_argument(
        "--run-dir", type=Path, default=Path("/run/lvskeeper"), metavar="DIR",
        help="runtime directory of the daemon, which tells what is ours (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.epilog = (
        "Health is taken from the table as it stands, as a starting daemon would. Nothing is "
        "written. Exit status: 0 nothing would change, 1 there are changes, 2 the file is refused."
    )


def run(args: argparse.Namespace) -> int:
    """Print one line an operation; return the exit status."""
    from lvskeeper.daemon.loader import load_file  # noqa: PLC0415 - msgspec

    loaded = load_file(args.file)
    if loaded.errors:
        sys.stderr.write(loaded.report)
        return ExitStatus.CONFIG
    import msgspec  # noqa: PLC0415 - see above

    from lvskeeper.daemon.roles import DirectorSpec  # noqa: PLC0415 - see above

    spec = msgspec.json.decode(loaded.spec, type=DirectorSpec)
    from lvskeeper.kernel.ipvs import IpvsClient  # noqa: PLC0415 - see above

    client = IpvsClient()
    client.open()
    operations = plan_operations(spec, client, args.run_dir)
    ruleset = () if client.traits.native_fullnat else plan_ruleset(spec)
    if args.format == "json":
        _print_json(operations, ruleset)
    else:
        _print_text(operations, ruleset)
    return ExitStatus.ATTENTION if operations or ruleset else ExitStatus.OK


def plan_operations(spec: "DirectorSpec", client: "IpvsClient", run_dir: Path) -> "list[Operation]":
    """Return what a daemon that starts now with *spec* would do to the IPVS table."""
    from lvskeeper.daemon.desired import (  # noqa: PLC0415 - the command's own imports
        entries,
        make_pool,
        pool_specs,
        prior_of,
    )
    from lvskeeper.daemon.state import StateFile  # noqa: PLC0415
    from lvskeeper.ipvs.desired import render_entry  # noqa: PLC0415
    from lvskeeper.ipvs.diff import diff  # noqa: PLC0415

    owned = set(StateFile(run_dir).load().services)
    keys = {key for virtual in spec.virtual_servers for key in virtual.keys} | owned
    actual = client.table(keys)
    groups = pool_specs(spec)
    desired = {}
    for virtual in spec.virtual_servers:
        pool = make_pool(virtual, 0.0, prior_of(virtual, actual))
        pool.start()
        wanted = entries(virtual, pool.serving(), groups.get(virtual.pool))
        desired.update({key: render_entry(entry, client.traits) for key, entry in wanted.items()})
    return diff(desired, actual, owned=keys)


def plan_ruleset(spec: "DirectorSpec") -> tuple[str, ...]:
    """Return how the FULLNAT ruleset of this namespace differs from what *spec* needs."""
    import asyncio  # noqa: PLC0415 - the command's own imports

    from lvskeeper.daemon.fullnat import differences_from, ruleset_of  # noqa: PLC0415
    from lvskeeper.kernel.nft import Nft  # noqa: PLC0415

    wanted = ruleset_of(spec)
    if not wanted.services:
        return ()

    async def compare() -> tuple[str, ...]:
        nft = Nft()
        try:
            return differences_from(wanted, await nft.read())
        finally:
            nft.close()

    return asyncio.run(compare())


def _print_text(operations: "Sequence[Operation]", ruleset: Sequence[str]) -> None:
    for operation in operations:
        print(f"{operation}  [{operation.impact.value}]")
    for difference in ruleset:
        print(f"replace FULLNAT ruleset: {difference}  [new flows only]")
    count = len(operations) + bool(ruleset)
    if not count:
        print("nothing to do: the kernel is as configured")
        return
    breaking = sum(operation.impact.value == "breaks flows" for operation in operations)
    print(f"{count} change{'s' * (count != 1)}, {breaking} of them breaking flows")


def _print_json(operations: "Sequence[Operation]", ruleset: Sequence[str]) -> None:
    changes = [
        {
            "operation": str(operation),
            "service": str(operation.service),
            "impact": operation.impact.value,
        }
        for operation in operations
    ]
    print(json.dumps({"changes": changes, "ruleset": list(ruleset)}, indent=2))
