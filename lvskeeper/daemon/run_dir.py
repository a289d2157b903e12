"""The runtime directory: one daemon at a time has it, and its pid file says which."""

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Final, TextIO

from lvskeeper.errors import ExitStatus, OperatorError

LOCK_PATIENCE: Final = 10.0
"""Seconds to wait for the roles of a killed predecessor to end, with the scripts that they run."""


JSON_FILE: Final = "keepalived.json"
STATS_FILE: Final = "keepalived.stats"
DUMP_SIGNALS: Final = {
    signal.SIGRTMIN + 2: JSON_FILE,
    signal.SIGUSR2: STATS_FILE,
    signal.SIGRTMAX - 1: STATS_FILE,
}
"""keepalived's signals for dumps. The last one clears counters there; here nothing does."""

KEEP_MARK: Final = "keep"
"""File in the runtime directory: the next stop is that of an upgrade."""


async def take_run_dir(run_dir: Path) -> TextIO:
    """Take *run_dir* for this daemon and write the pid file; it is free when that is closed.

    Raises :class:`OperatorError` when another daemon has it.
    """
    file = _open_pid_file(run_dir)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            # Where it is dead, the last of its roles are about to let go.
            if time.monotonic() > deadline or _runs(owner):
                file.close()
                raise OperatorError(
                    f"another lvskeeper (pid {owner}) uses {run_dir}",
                    status=ExitStatus.BUSY,
                    hint="Stop it first, or name another directory with --run-dir.",
                ) from None
            await asyncio.sleep(0.05)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def is_taken(run_dir: Path) -> bool:
    """Whether a daemon has *run_dir*; nothing is written."""
    try:
        with (run_dir / "lvskeeper.pid").open(encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write_pid_file(path: Path | None) -> None:
    """Write our process id to *path*, if there is one; raise :class:`OperatorError`."""
    if path is None:
        return
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise OperatorError(
            f"pid file {path}: {error.strerror}",
            status=ExitStatus.PERMISSION,
            hint="Name a place that the daemon may write to, such as its runtime directory.",
        ) from error


def remove_pid_file(path: Path | None) -> None:
    """Remove what :func:`write_pid_file` wrote, if it is still ours."""
    if path is not None:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii").strip() == str(os.getpid()):
                path.unlink()


def take_keep_mark(run_dir: Path) -> bool:
    """Return whether somebody asked that this stop leaves the services in the kernel.

    An upgrade asks by a file; it holds for one stop, so it is removed.
    """
    try:
        (run_dir / KEEP_MARK).unlink()
    except OSError:
        return False
    return True


def _open_pid_file(run_dir: Path) -> TextIO:
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        return (run_dir / "lvskeeper.pid").open("a+", encoding="ascii")
    except OSError as error:
        raise OperatorError(
            f"runtime directory {run_dir}: {error.strerror}",
            status=ExitStatus.PERMISSION,
            hint="Run as root, or name another directory with --run-dir.",
        ) from error


def _runs(pid: str) -> bool:
    return bool(pid) and Path("/proc", pid).exists()
