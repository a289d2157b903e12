"""``python -m lvskeeper.lab run -- COMMAND``: runs a command on a kernel with ip_vs."""

import argparse
import os
import sys

from lvskeeper.errors import OperatorError
from lvskeeper.lab.kernels import KERNEL_VARIABLE
from lvskeeper.lab.qemu import Machine
from lvskeeper.lab.vm import run_where_ipvs_is, where_ipvs_is


def main() -> int:
    """Parse the command line and run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lvskeeper.lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser(
        "run",
        help="run a command here if this kernel has ip_vs, else in a VM that is booted for it",
    )
    default = Machine()
    run.add_argument("--cpus", type=int, default=default.cpus, help="of the VM")
    run.add_argument("--memory", type=int, default=default.memory_mib, help="of the VM, MiB")
    run.add_argument(
        "--icount",
        action="store_true",
        help="always a VM, which counts instructions as time: its CPU times bear no host load",
    )
    run.add_argument(
        "--timeout",
        type=float,
        default=default.timeout,
        help="seconds for the command, 0: no limit",
    )
    run.add_argument("command", nargs="+", metavar="COMMAND", help="with its arguments, after --")
    run.set_defaults(serve=_run)
    where = commands.add_parser("where", help="say where commands would run, or why they cannot")
    where.set_defaults(serve=_where)
    for command in (run, where):
        command.add_argument(
            "--kernel",
            metavar="oldest|newest|IMAGE",
            help=f"always a VM, with this kernel; as the variable {KERNEL_VARIABLE} says it",
        )
    options = parser.parse_args()
    if options.kernel:
        os.environ[KERNEL_VARIABLE] = options.kernel
    try:
        return int(options.serve(options))
    except OperatorError as error:
        print(f"lab: {error}", file=sys.stderr)
        return int(error.status)
    except KeyboardInterrupt:
        print("lab: interrupted; nothing is left behind", file=sys.stderr)
        return 130


def _where(_: argparse.Namespace) -> int:
    print(where_ipvs_is())
    return 0


def _run(options: argparse.Namespace) -> int:
    machine = Machine(
        cpus=options.cpus,
        memory_mib=options.memory,
        icount=options.icount,
        timeout=options.timeout,
    )
    return run_where_ipvs_is(options.command, machine)


if __name__ == "__main__":
    sys.exit(main())
