"""The ``lvskeeper`` command: picks the subcommand, and turns errors into messages."""

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from lvskeeper import __version__
from lvskeeper.cli.keepalived_options import add_signum
from lvskeeper.errors import ExitStatus, OperatorError

COMMANDS: Final = {
    "run": "run the daemon in the foreground",
    "check": "check a configuration file",
    "convert": "write a configuration in the other form: keepalived.conf or YAML",
    "schema": "print the JSON schema of the YAML form",
    "status": "show how a running daemon is",
    "events": "show what the daemon told lately, and follow it",
    "top": "watch a running daemon on the whole screen",
    "metrics": "print the metrics, or write them for node_exporter",
    "dump": "write what was told, heard and probed in the last minutes to a file",
    "replay": "show such a file, and let the VRRP machines do it again",
    "reload": "have a running daemon read its file anew",
    "confirm": "keep what reload --confirm brought",
    "drain": "take a real server out of service without cutting its connections",
    "undrain": "let a real server have its own weight again",
    "weight": "give a real server another weight at runtime",
    "disable": "take a virtual server out of use without cutting its connections",
    "enable": "put a virtual server that was disabled into use again",
    "explain": "tell why something is in its state, or what a code of check means",
    "plan": "show what a configuration would change in this kernel's table",
    "doctor": "look whether this machine is fit for it, and say what mends what is not",
    "cleanup": "take out of the kernel what a dead daemon has left there",
    "demo": "watch lvskeeper work, in a laboratory that leaves no trace",
}

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_STATUSES: Final = """\
exit status:
  0   done; plan: nothing would change
  1   check --strict: warnings; plan: changes; demo: a failed step; status --is-master: no
  2   the configuration or the command line is refused
  3   a privilege is missing (root, or CAP_NET_ADMIN)
  4   the kernel lacks ip_vs, or another feature that is needed
  5   the kernel or a helper program refused or did not answer
  6   another lvskeeper uses the runtime directory
  7   no daemon answers
  8   the daemon refuses what was asked
  9   there is nothing of this name
  10  the daemon, or a part of it, did not answer in time
  70  a bug in lvskeeper
  130 Ctrl-C ended the command
"""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the command line's parser; with *only*, just that command's options are loaded."""
    parser = argparse.ArgumentParser(
        prog="lvskeeper",
        description="High availability for Linux Virtual Server.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_signum(parser)
    parser.add_argument("--version", action="version", version=f"lvskeeper {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        told = f"{summary[:1].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=told)
        if only in (None, name):
            module = importlib.import_module(f"lvskeeper.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    _open_closed_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    first = arguments[0] if arguments else ""
    args = build_parser(only=first if first in COMMANDS else None).parse_args(arguments)
    try:
        status: int = args.run(args)
        print(end="", flush=True)
    except OperatorError as error:
        print(f"lvskeeper {args.command}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(f"lvskeeper {args.command}: interrupted", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing more to say, and no traceback.
        sys.stderr.close()
        return ExitStatus.OK
    except Exception as error:  # noqa: BLE001 - the last frame: a bug gets its own exit status
        if isinstance(error, OSError) and error.errno in _FULL:
            print(f"lvskeeper {args.command}: {error.strerror}", file=sys.stderr)
            return ExitStatus.KERNEL
        traceback.print_exc()
        print(f"lvskeeper {args.command}: this is a bug; please report it", file=sys.stderr)
        return ExitStatus.INTERNAL
    return status


def _open_closed_streams() -> None:
    """Give what was started with a standard stream closed (``>&-``) one that leads nowhere.

    Its number would go to the next file that is opened, which would then get our output.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
