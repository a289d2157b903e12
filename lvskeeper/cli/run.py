"""``lvskeeper run``: the daemon, in the foreground."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

from lvskeeper.cli.check import add_reading
from lvskeeper.cli.keepalived_options import SIGNALS, add_keepalived
from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvskeeper.daemon.role import RoleName
    from lvskeeper.observe.outlets import Log, LogSettings

DEFAULT_FILE: Final = Path("/etc/lvskeeper/lvskeeper.conf")
DEFAULT_RUN_DIR: Final = Path("/run/lvskeeper")

LOG_PATIENCE: Final = 1.0
"""Seconds that the last lines get at the end, where nobody reads them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``run``."""
    parser.add_argument(
        "-f", "--file", "--use-file", type=Path, default=DEFAULT_FILE, metavar="FILE",
        help="configuration: keepalived.conf syntax, or YAML by its suffix (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", type=Path, default=DEFAULT_RUN_DIR, metavar="DIR",
        help="where the pid file and the state over restarts live (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-empty", action="store_true",
        help="take a configuration without a virtual server or anything of VRRP, at a reload too: "
        "all that was served is taken away",
    )  # fmt: skip
    parser.add_argument(
        "--web", default="", metavar="WHERE",
        help="serve a read-only status page, /status.json, /metrics, /healthz and /readyz at "
        "127.0.0.1:PORT, [::1]:PORT or unix:/PATH",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="run the checks beside the daemon that serves, tell in the log what would be done "
        "(would_do), and write nothing: no table, rule, address or sysctl, no advert, no mail, no "
        "script but those of MISC_CHECK; VRRP is not played. The runtime directory is DIR-dry-run",
    )  # fmt: skip
    add_reading(parser)
    _add_log(parser)
    add_keepalived(parser)
    parser.epilog = (
        "SIGHUP reloads the file: one with errors changes nothing. SIGUSR1 tells in the log how "
        "every VRRP instance is, and what SYN cookies were counted to do. SIGTERM and SIGINT stop "
        "the daemon and take its virtual servers out of the kernel, unless lvs_keep_on_stop is set."
    )


def _add_log(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("log")
    forms = ("auto", "console", "json", "keyvalue", "text")
    group.add_argument(
        "--log-format", choices=forms, default="auto",
        help="auto: console on a terminal, key=value under the journal, else JSON",
    )  # fmt: skip
    group.add_argument(
        "--log-level", choices=("error", "warning", "notice", "info", "debug"), default="info",
        help="least urgent events to tell (default: %(default)s); debug leaves out no repeats",
    )  # fmt: skip
    group.add_argument(
        "-g", "--log-file", nargs="?", const=Path("/var/log/lvskeeper/lvskeeper.log"), type=Path,
        metavar="FILE", help="write to FILE as well; it may be moved away at any time (logrotate)",
    )  # fmt: skip
    group.add_argument(
        "--log-file-format", choices=forms[2:], default="text",
        help="form of the file's lines (default: %(default)s: time, level, key=value)",
    )  # fmt: skip
    group.add_argument(
        "-S", "--log-facility", metavar="NAME",
        help="send to syslog as well: daemon, user, local0 to local7, or 0 to 7",
    )  # fmt: skip
    group.add_argument(
        "--log-compat", choices=("keepalived", "keepalived-only"),
        help="write the lines that monitors of keepalived look for, beside ours or alone",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop; return its exit status."""
    if args.config_test is not None:
        return _test(args)
    if args.dry_run and args.vrrp:
        raise OperatorError(
            "--dry-run plays no VRRP, and -P nothing else", status=ExitStatus.CONFIG
        )
    # A reload or a dump that is asked for during the imports would end the process.
    for number in (SIGNALS["RELOAD"], SIGNALS["STATS"], SIGNALS["STATS_CLEAR"], SIGNALS["JSON"]):
        signal.signal(number, signal.SIG_IGN)
    from lvskeeper.observe.log_file import await_writer, start_writer  # noqa: PLC0415 - seldom

    writer, pid = start_writer(args.log_file) if args.log_file else (-1, -1)
    try:
        return _serve(args, writer)
    finally:
        if writer >= 0:
            os.close(writer)
            await_writer(pid)


def _serve(args: argparse.Namespace, writer: int) -> int:
    import lvskeeper.daemon.roles  # noqa: F401, PLC0415 - all children need it, and share it so
    from lvskeeper.daemon.role import RoleName  # noqa: PLC0415 - asyncio
    from lvskeeper.daemon.supervisor import Settings, Supervisor  # noqa: PLC0415 - asyncio
    from lvskeeper.observe.outlets import Log  # noqa: PLC0415 - structlog

    settings = _log_settings(args, writer)

    def director(sock: socket.socket) -> int:
        from lvskeeper.daemon.director import director_main  # noqa: PLC0415 - in the child only

        return _play("director", settings, args.checkers_pid, lambda log: director_main(
            sock, args.run_dir, log.emit
        ))  # fmt: skip

    def dry_run(sock: socket.socket) -> int:
        from lvskeeper.daemon.dry_run import dry_run_main  # noqa: PLC0415 - in the child only

        return _play("director", settings, None, lambda log: dry_run_main(
            sock, args.run_dir, log.emit
        ))  # fmt: skip

    def router(sock: socket.socket) -> int:
        from lvskeeper.daemon.router import router_main  # noqa: PLC0415 - in the child only

        return _play("router", settings, args.vrrp_pid, lambda log: router_main(
            sock, args.run_dir, log.emit
        ))  # fmt: skip

    run_dir = dry_run_dir(args.run_dir) if args.dry_run else args.run_dir
    log = Log("supervisor", settings)
    supervisor = Supervisor(
        Settings(
            args.file, run_dir, args.allow_empty, args.config_id, tuple(args.off),
            compat=bool(args.compat),
            dry_run=args.dry_run,
            only=_only(args, RoleName.DIRECTOR, RoleName.ROUTER),
            keep_services=args.dont_release_ipvs,
            keep_vips=args.dont_release_vrrp,
            pid_file=None if args.dry_run else args.pid,
            web=args.web,
            dump_dir=args.dump_dir,
        ),
        {RoleName.DIRECTOR: dry_run if args.dry_run else director, RoleName.ROUTER: router},
        log.emit,
        cast("TextIO", log),
    )  # fmt: skip
    try:
        return asyncio.run(supervisor.run())
    finally:
        log.finish(LOG_PATIENCE)


def _play(
    role: str, settings: "LogSettings", pid_file: Path | None, work: "Callable[[Log], int]"
) -> int:
    """Let this process be *role*: with its log, and its pid file while it lives."""
    from lvskeeper.daemon.run_dir import remove_pid_file, write_pid_file  # noqa: PLC0415 - in a role
    from lvskeeper.observe.outlets import Log  # noqa: PLC0415 - structlog

    log = Log(role, settings)
    with contextlib.suppress(OperatorError):  # no reason not to serve
        write_pid_file(pid_file)
    try:
        return work(log)
    finally:
        remove_pid_file(pid_file)
        log.finish(LOG_PATIENCE)


def dry_run_dir(run_dir: Path) -> Path:
    """Return the runtime directory of a dry run beside the daemon that has *run_dir*."""
    return run_dir.with_name(f"{run_dir.name}-dry-run")


def _only(args: argparse.Namespace, director: "RoleName", router: "RoleName") -> "RoleName | None":
    if args.vrrp:
        return router
    return director if args.check or args.dry_run else None


def _log_settings(args: argparse.Namespace, writer: int) -> "LogSettings":
    from lvskeeper.observe.compat import Compat  # noqa: PLC0415 - with the supervisor
    from lvskeeper.observe.events import Level  # noqa: PLC0415 - with the supervisor
    from lvskeeper.observe.log import LogFormat  # noqa: PLC0415 - structlog
    from lvskeeper.observe.outlets import LogSettings  # noqa: PLC0415 - structlog
    from lvskeeper.observe.syslog import facility  # noqa: PLC0415 - seldom needed

    compat = {
        None: Compat.OFF, "keepalived": Compat.BESIDE, "keepalived-only": Compat.INSTEAD,
    }[args.log_compat]  # fmt: skip
    return LogSettings(
        LogFormat("console" if args.log_console else args.log_format),
        Level.DEBUG if args.log_detail else Level[args.log_level.upper()],
        file=writer,
        file_format=LogFormat(args.log_file_format),
        syslog=-1 if args.log_facility is None else facility(args.log_facility),
        compat=compat,
    )


def _test(args: argparse.Namespace) -> int:
    """Check the file as ``keepalived -t`` does: nothing is said of a good one."""
    from lvskeeper.daemon.loader import load_file  # noqa: PLC0415 - msgspec

    loaded = load_file(
        str(args.file), config_id=args.config_id, allow_empty=args.allow_empty,
        off=tuple(args.off), compat=bool(args.compat),
    )  # fmt: skip
    if args.config_test:
        try:
            Path(args.config_test).write_text(loaded.report, encoding="utf-8")
        except OSError as error:
            raise OperatorError(
                f"{args.config_test}: {error.strerror}", status=ExitStatus.PERMISSION
            ) from error
    else:
        sys.stderr.write(loaded.report)
    return ExitStatus.CONFIG if loaded.errors else ExitStatus.OK
