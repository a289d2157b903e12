"""What all who run scripts share: the child, its user, its environment, its output.

A child has its own session, so that its process group can be signalled as a whole. It is started
without a shell and without Python code between fork and exec, and awaited by a pid file
descriptor: no thread, no signal handler.
"""

import asyncio
import contextlib
import grp
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from lvskeeper.kernel.capabilities import without_ambient

MAX_OUTPUT: Final = 4096
"""Bytes of output that are kept, the last ones."""
READ_SIZE: Final = 65536
PIPE_READS: Final = 16
"""Reads after a script's end: the largest unprivileged pipe."""
READ_PAUSE: Final = 0.02
"""Seconds without reading after a full buffer, so that a flood of output cannot fill the loop."""
KILL_DELAY: Final = 2.0
"""Seconds between SIGTERM and SIGKILL, as keepalived has it."""
STALL: Final = 0.1
"""Seconds that a limit is noticed late from which on the lateness is ours, and nobody else's."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FACT_PREFIX: Final = "LVSKEEPER_"

F = TypeVar("F", bound="asyncio.Future[Any]")
"""Of whatever it will hold: only its end is waited for."""


@final
@dataclass(frozen=True, slots=True)
class Identity:
    """Who a child is to be. ``None``: as we are."""

    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


OURSELVES: Final = Identity()


def identity(user: str, group: str) -> Identity:
    """Return who *user* and *group* are, with that user's groups only; empty names are nobody else.

    Raises ``LookupError``. It may ask a directory service, and so take its time.
    """
    if not user and not group:
        return OURSELVES
    if not user:
        return Identity(group=grp.getgrnam(group).gr_gid, extra_groups=())
    entry = pwd.getpwnam(user)
    gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    groups = os.getgrouplist(user, gid)
    # To change nothing spares a fork: only vfork is cheap in a big process.
    if (entry.pw_uid, gid) == (os.geteuid(), os.getegid()) and set(groups) == {
        gid,
        *os.getgroups(),
    }:
        return OURSELVES
    return Identity(entry.pw_uid, gid, tuple(groups))


def environment(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a script: a path, a locale and the *facts*."""
    env = {"PATH": PATH, "LANG": "C.UTF-8"}
    env.update({FACT_PREFIX + name.upper(): value for name, value in facts.items()})
    return env


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def explain(error: OSError | ValueError | LookupError) -> str:
    """Return why a child could not be started, in words."""
    match error:
        case OSError(strerror=str(text)):
            return text.lower()
        case LookupError(args=(str(text),)):
            return text  # "getpwnam(): name not found: 'x'"
        case _:
            return str(error)


async def first_of(*awaited: F, limit: float) -> None:
    """Wait until the first of *awaited* is done, *limit* seconds at most.

    Where the machine stood still it is we who are late, and the others had no more time than we:
    once they get it.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + limit
    first = asyncio.FIRST_COMPLETED
    done, _ = await asyncio.wait(awaited, timeout=limit, return_when=first)
    late = loop.time() - due
    if not done and late > STALL:
        await asyncio.wait(awaited, timeout=min(late, limit), return_when=first)


@final
class Child:
    """A started process. Its end is awaited and reaped whether or not somebody asks for it."""

    __slots__ = ("_descriptor", "_loop", "_process", "condemned", "ended", "pid")

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        who: Identity = OURSELVES,
        output: int | None = None,
        keep: Sequence[int] = (),
        trusted: bool = False,
    ) -> None:
        """Start *argv*; raise ``OSError`` or ``ValueError`` where that fails.

        *output* is a descriptor for standard output and error, ours without one; the child
        inherits the descriptors *keep* as well. A *trusted* program of ours gets our capabilities.
        """
        # No waiting inside: Popen returns when the child runs the program, or could not.
        with contextlib.nullcontext() if trusted else without_ambient():
            self._process: Final = subprocess.Popen(  # noqa: S603 - no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=dict(environment),
                start_new_session=True,
                pass_fds=keep,
                user=who.user,
                group=who.group,
                extra_groups=who.extra_groups,
            )
        self.pid: Final = self._process.pid
        self._loop: Final = asyncio.get_running_loop()
        self.ended: Final[asyncio.Future[int]] = self._loop.create_future()
        """The exit status, or the negative number of the signal that ended it."""
        self.condemned = False
        """Whatever is left of its group when it ends is killed."""
        try:
            self._descriptor: Final = os.pidfd_open(self.pid)
        except OSError:
            self._process.kill()  # subprocess itself reaps what nobody holds
            raise
        self._loop.add_reader(self._descriptor, self._on_end)

    def signal(self, number: int) -> None:
        """Send a signal to its group; nothing once it has ended."""
        if not self.ended.done():
            signal_group(self.pid, number)

    def _on_end(self) -> None:
        if self.condemned:
            # Before it is reaped: until then nobody else can have its number.
            signal_group(self.pid, signal.SIGKILL)
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        code = self._process.wait()
        if not self.ended.done():
            self.ended.set_result(code)


@final
class Output:
    """A pipe that keeps the last bytes written to it.

    asyncio's own pipes would make the wait for a script's end wait for its background children.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)
        self._tail = bytearray()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._unpause()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        if self.write_end >= 0:
            os.close(self.write_end)

    def listen(self) -> None:
        """Leave the write end to the script alone, and read what it writes."""
        os.close(self.write_end)
        self.write_end = -1
        self._resume()

    def finish(self) -> str:
        """Take what is left in the pipe, and return the kept text."""
        self._unpause()
        # Not to the end: a background child may go on writing for ever.
        for _ in range(PIPE_READS):
            if not self._read():
                break
        return self._tail.decode(errors="replace").strip()

    def _unpause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _resume(self) -> None:
        self._loop.add_reader(self._read_end, self._on_readable)

    def _on_readable(self) -> None:
        size = self._read()
        if size in {0, READ_SIZE}:
            self._loop.remove_reader(self._read_end)
        if size == READ_SIZE:
            self._pause = self._loop.call_later(READ_PAUSE, self._resume)

    def _read(self) -> int:
        try:
            data = os.read(self._read_end, READ_SIZE)
        except BlockingIOError:
            return 0
        self._tail += data
        del self._tail[:-MAX_OUTPUT]
        return len(data)
