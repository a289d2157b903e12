"""Child processes of the supervisor: forked, each with one end of a socket pair."""

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.errors import ExitStatus

_IGNORED_IN_CHILD: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""The supervisor answers these and tells its children over the channel."""

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


def spawn(name: str, main: Callable[[socket.socket], int]) -> Child:
    """Fork a child that runs *main* on its end of a channel and exits with what it returns.

    The child shares the pages of the light supervisor and imports on its own what it needs. It
    ends when its channel does, so that it never outlives the supervisor.
    """
    ours, theirs = socket.socketpair()
    _parent_ends.add(ours)
    # Signals stay blocked over the fork: a handler of the parent must not run in the child.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_IN_CHILD)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        _run_child(main, theirs, blocked)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return Child(name, pid, ours)


def _run_child(
    main: Callable[[socket.socket], int], sock: socket.socket, mask: set[int | signal.Signals]
) -> None:
    status: int = ExitStatus.INTERNAL
    try:
        signal.set_wakeup_fd(-1)
        for number in _IGNORED_IN_CHILD:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for end in _parent_ends:
            with contextlib.suppress(OSError):
                os.close(end.detach())
        status = main(sock)
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def describe_status(status: int) -> str:
    """Return how a process ended, from its ``waitpid`` status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"
