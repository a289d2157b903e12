"""``lvskeeper explain``: what a code of ``check`` means, and why something is in its state."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lvskeeper.cli.client import Client, add_run_dir
from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvskeeper.config.explain import Example
    from lvskeeper.observe.snapshot import Snapshot

EXAMPLES: Final = Path(__file__).parents[1] / "config" / "examples.json"
KINDS: Final = {"vs": "virtual server", "rs": "real server", "instance": "VRRP instance"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "codes", nargs="+", metavar="CODE | vs NAME | rs NAME | instance NAME",
        help="codes, as LK0207; or what of a running daemon is to be explained",
    )  # fmt: skip
    add_run_dir(parser)
    parser.epilog = (
        "vs, rs and instance tell the chain of reasons: how it is, because of what, and what would "
        "change that. A name is that of status; a virtual server may be named by its address and "
        "port alone, a real server by its address."
    )


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; return the exit status: 2 where a code does not exist."""
    if args.codes[0] in KINDS:
        if len(args.codes) < 2:
            raise OperatorError(f"{args.codes[0]}: a name is missing", status=ExitStatus.CONFIG)
        return _explain_state(Client(args.run_dir), args.codes[0], " ".join(args.codes[1:]))
    return _explain_codes(args.codes)


def _explain_state(client: Client, kind: str, name: str) -> int:
    snapshot = client.snapshot()
    found = list(explanations(snapshot, kind, name, time.monotonic()))
    if found:
        print("\n".join(found), end="")
        return ExitStatus.OK
    role = "router" if kind == "instance" else "director"
    for problem in snapshot.problems:
        if role in problem.message:
            raise OperatorError(problem.message, status=ExitStatus.TIMED_OUT, hint=problem.hint)
    raise OperatorError(
        f"there is no {KINDS[kind]} '{name}'",
        status=ExitStatus.NOT_FOUND,
        hint=f"lvskeeper status {'vrrp' if kind == 'instance' else kind} names them all.",
    )


def explanations(snapshot: "Snapshot", kind: str, name: str, now: float) -> "Iterable[str]":
    """Yield the explanation of each thing of *kind* (``vs``, ``rs``, ``instance``) and *name*."""
    from lvskeeper.observe.explain import explain_server, explain_virtual  # noqa: PLC0415 - msgspec
    from lvskeeper.observe.explain_vrrp import explain_instance  # noqa: PLC0415 - msgspec

    router, director = snapshot.router, snapshot.director
    if kind == "instance" and router is not None:
        for instance in router.instances:
            if name in {instance.name, instance.key}:
                yield str(explain_instance(instance, router, now - router.taken))
    if kind == "instance" or director is None:
        return
    delay = now - director.taken
    for virtual in director.virtual_servers:
        if kind == "vs" and (
            name in {virtual.name, *virtual.services, *virtual.addresses}
            or f"tcp {name}" in virtual.services
            or f"udp {name}" in virtual.services
        ):
            yield str(explain_virtual(virtual, director, router, delay))
        for server in virtual.servers:
            if kind == "rs" and name in {server.name, server.name.rpartition(":")[0].strip("[]")}:
                yield str(explain_server(server, virtual, delay))


def _explain_codes(codes: list[str]) -> int:
    from lvskeeper.config.codes import find_code, suggest_codes  # noqa: PLC0415 - seldom needed
    from lvskeeper.config.explain import explain  # noqa: PLC0415 - seldom needed

    examples = read_examples()
    texts: list[str] = []
    status = ExitStatus.OK
    for name in codes:
        code = find_code(name)
        if code is not None:
            texts.append(explain(code, examples[code.number]))
            continue
        status = ExitStatus.CONFIG
        hint = suggest_codes(name)
        told = f"no code '{name}'; {hint}" if hint else f"no code '{name}'"
        print(f"lvskeeper explain: {told}", file=sys.stderr)
    print("\n".join(texts), end="")
    return status


def read_examples() -> dict[str, "Example"]:
    """Return the examples by the number of their code."""
    examples: dict[str, Example] = json.loads(EXAMPLES.read_text())
    return examples


def _page() -> str:
    from lvskeeper.config.explain import render  # noqa: PLC0415 - seldom needed

    return render(read_examples())


if __name__ == "__main__":
    sys.stdout.write(_page())
