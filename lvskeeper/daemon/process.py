"""Child processes of the supervisor: forked, each with one end of a socket pair."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, final

from lvskeeper.errors import ExitStatus

_LEFT_TO_PARENT: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""The supervisor answers these and tells its children over the channel."""

_PR_SET_PDEATHSIG: Final = 1
"""``linux/prctl.h``"""

_parent_ends: Final[set[socket.socket]] = set()
"""The supervisor's ends of all channels: a later child must not keep them open."""


@final
@dataclass(frozen=True, slots=True)
class Child:
    """A running child: its process, and our end of its channel."""

    name: str
    pid: int
    sock: socket.socket

    def release(self) -> None:
        """Forget the channel after its stream has closed it."""
        _parent_ends.discard(self.sock)


def spawn(
    name: str, main: Callable[[socket.socket], int], *, die_with_parent: bool = False
) -> Child:
    """Fork a child that runs *main* on its end of a channel and exits with what it returns.

    The child shares the pages of the light supervisor and imports on its own what it needs. A role
    ends when its channel does; a child that may hang without reading it is to *die_with_parent*.
    Raises ``OSError`` where the machine, or our control group, has no room for a process.
    """
    with contextlib.suppress(OSError):
        # What is buffered would be written twice.
        sys.stdout.flush()
        sys.stderr.flush()
    ours, theirs = socket.socketpair()
    _parent_ends.add(ours)
    gc.freeze()
    # Signals stay blocked over the fork: a handler of the parent must not run in the child.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _parent_ends.discard(ours)
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        try:
            _name_process(name)
            os._exit(_run_child(main, theirs, blocked, die_with_parent=die_with_parent))
        finally:
            os._exit(ExitStatus.INTERNAL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return Child(name, pid, ours)


def _name_process(name: str) -> None:
    """Let ``ps -o comm`` and ``top`` show which child this is; 15 characters count."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"lvs:{name}", encoding="ascii")


def _run_child(
    main: Callable[[socket.socket], int],
    sock: socket.socket,
    mask: set[int | signal.Signals],
    *,
    die_with_parent: bool,
) -> int:
    status: int = ExitStatus.INTERNAL
    try:
        if die_with_parent:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in _LEFT_TO_PARENT:
            # Not SIG_IGN: programs that the child starts would inherit that.
            signal.signal(number, _leave_to_parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for end in _parent_ends:
            with contextlib.suppress(OSError):
                os.close(end.detach())
        status = main(sock)
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _leave_to_parent(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the supervisor has the same signal, and tells what follows from it."""


async def reaped(pid: int) -> int:
    """Wait until the child *pid* has ended, and return its ``waitpid`` status.

    By a pid file descriptor rather than a thread: the supervisor forks, and threads do not.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return os.waitpid(pid, 0)[1]  # noqa: ASYNC222 - it has ended


def describe_status(status: int) -> str:
    """Return how a process ended, from its ``waitpid`` status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def end_on_bug(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """End the process with what *context* tells: an exception handler for a role's loop.

    A callback that broke would leave the daemon looking well while a part of it stands still. A
    new role adopts the kernel as it is.
    """
    loop.default_exception_handler(context)
    sys.stderr.flush()
    os._exit(ExitStatus.INTERNAL)
