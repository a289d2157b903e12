"""``lvskeeper run``: the daemon, in the foreground."""

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from lvskeeper.cli.check import add_reading

DEFAULT_FILE: Final = Path("/etc/lvskeeper/lvskeeper.conf")
DEFAULT_RUN_DIR: Final = Path("/run/lvskeeper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``run``."""
    parser.add_argument(
        "-f", "--file", type=Path, default=DEFAULT_FILE, metavar="FILE",
        help="configuration: keepalived.conf syntax, or YAML by its suffix (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, metavar="DIR",
        help="where the pid file and the state over restarts live (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--log-format", choices=("auto", "console", "json", "keyvalue"), default="auto",
        help="auto: console on a terminal, key=value under the journal, else JSON",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", choices=("error", "warning", "notice", "info", "debug"), default="info",
        help="least urgent events to tell (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-empty", action="store_true",
        help="take a configuration without a virtual server or anything of VRRP, at a reload too: "
        "all that was served is taken away",
    )  # fmt: skip
    add_reading(parser)
    parser.epilog = (
        "SIGHUP reloads the file: one with errors changes nothing. SIGUSR1 tells in the log how "
        "every VRRP instance is, and what SYN cookies were counted to do. SIGTERM and SIGINT stop "
        "the daemon and take its virtual servers out of the kernel, unless lvs_keep_on_stop is set."
    )


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop; return its exit status."""
    # A reload that is asked for during the imports would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    import lvskeeper.daemon.roles  # noqa: F401, PLC0415 - all children need it, and share it so
    from lvskeeper.daemon.role import RoleName  # noqa: PLC0415 - asyncio
    from lvskeeper.daemon.supervisor import Settings, Supervisor  # noqa: PLC0415 - asyncio
    from lvskeeper.observe.events import Level  # noqa: PLC0415 - with the supervisor
    from lvskeeper.observe.log import LogFormat, make_emit  # noqa: PLC0415 - structlog
    from lvskeeper.observe.stream import RoleStream  # noqa: PLC0415 - asyncio

    log_format = LogFormat(args.log_format)
    level = Level[args.log_level.upper()]

    def director(sock: socket.socket) -> int:
        from lvskeeper.daemon.director import director_main  # noqa: PLC0415 - in the child only

        emit = make_emit("director", log_format, level, RoleStream())
        return director_main(sock, args.run_dir, emit)

    def router(sock: socket.socket) -> int:
        from lvskeeper.daemon.router import router_main  # noqa: PLC0415 - in the child only

        return router_main(sock, args.run_dir, make_emit("router", log_format, level, RoleStream()))

    supervisor = Supervisor(
        Settings(args.file, args.run_dir, args.allow_empty, args.config_id, tuple(args.off)),
        {RoleName.DIRECTOR: director, RoleName.ROUTER: router},
        make_emit("supervisor", log_format, level),
        sys.stderr,
    )
    return asyncio.run(supervisor.run())
