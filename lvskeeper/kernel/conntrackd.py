"""A conntrackd on this machine: its process, and what it is asked over its control socket.

A request is one ``int`` in the machine's order; the answer is text up to the end of the stream. The
numbers are those of conntrack-tools 1.4.7 (``conntrackd.h``).
"""

import asyncio
import contextlib
import os
import shutil
import socket
from enum import IntEnum
from pathlib import Path
from struct import Struct, pack
from typing import Final, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.conntrackd import Figures, parse_figures

PROGRAM: Final = "conntrackd"
WRAPPER: Final = "setpriv"
"""Of util-linux: has the kernel end a program with its parent, and becomes that program."""
PATH: Final = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin"
ANSWER_TIME: Final = 5.0
"""Seconds for an answer."""
WALK_TIME: Final = 10.0
"""The same where it first walks its table or the kernel's: to take a million entries as own takes
almost as long, and a stop of the director has to wait for it."""
ANSWER_LIMIT: Final = 1 << 20
TIMEOUTS: Final = Path("/proc/sys/net/netfilter")
RENEWED: Final = ("nf_conntrack_udp_timeout_stream", "nf_conntrack_tcp_timeout_established")
"""The timeouts of established flows, which every packet renews."""

_CREDENTIALS: Final = Struct("=iII")


class Request(IntEnum):
    """What conntrackd does when it is asked."""

    KILL = 20
    STATS = 21
    SEND_BULK = 22
    """Send all own connections to the peer again: its timeouts begin anew."""
    ASK_PEER = 23
    """Ask the peer for a bulk."""
    STATS_RUNTIME = 30
    FLUSH_OWN = 33
    """Forget what is known to be own; the kernel's table is left alone."""
    STATS_QUEUE = 36
    RESYNC = 44
    """Take all of the kernel's table as own."""


_WALKS: Final = frozenset({Request.SEND_BULK, Request.FLUSH_OWN, Request.RESYNC})


@final
class Conntrackd:
    """The conntrackd whose control socket is *path*; it may not run."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    async def ask(self, request: Request) -> str:
        """Carry out *request* and return what it says; raise :class:`OperatorError`."""
        loop = asyncio.get_running_loop()
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        answer = b""
        try:
            # No stream of asyncio's: one that is cancelled while it connects is left open.
            async with asyncio.timeout(WALK_TIME if request in _WALKS else ANSWER_TIME):
                await loop.sock_connect(stream, str(self.path))
                await loop.sock_sendall(stream, pack("=i", request))
                while len(answer) < ANSWER_LIMIT:
                    data = await loop.sock_recv(stream, 1 << 16)
                    if not data:
                        break
                    answer += data
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or "it does not answer"
            raise OperatorError(
                f"conntrackd at {self.path}: {reason}", status=ExitStatus.KERNEL
            ) from error
        finally:
            stream.close()
        return answer.decode(errors="replace")

    async def figures(self) -> Figures:
        """Return what it counts; raise :class:`OperatorError`."""
        wanted = (Request.STATS, Request.STATS_QUEUE, Request.STATS_RUNTIME)
        return parse_figures("\n".join([await self.ask(request) for request in wanted]))

    def process(self) -> int:
        """Return the id of the process that listens, 0 where none does. It never waits."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(str(self.path))
                size = _CREDENTIALS.size
                data = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            except OSError:
                return 0
        return int(_CREDENTIALS.unpack(data)[0])


def start(config: Path, log: Path) -> int:
    """Start conntrackd with the file *config*, in a session of its own; return its process id.

    It ends with the thread that started it, however that ends. Who is left alone would tell the
    peer what runs out in a kernel that serves no more, and so cut connections that live on there.
    The caller reaps it with :func:`ended`. What it says goes to *log*, which begins anew and may be
    cut meanwhile. Raises :class:`OperatorError` where there is no such program.
    """
    program = _found(PROGRAM)
    if program is None:
        raise OperatorError(
            "the program conntrackd is not there",
            hint="install the package conntrackd",
            status=ExitStatus.KERNEL,
        )
    begun = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    files = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), begun, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    try:
        arguments = [program, "-C", str(config)]
        if (wrapper := _found(WRAPPER)) is not None:
            arguments = [wrapper, "--pdeathsig", "TERM", *arguments]
        return os.posix_spawn(arguments[0], arguments, os.environ, file_actions=files, setsid=True)
    except OSError as error:
        message = f"cannot start {program}: {error.strerror}"
        raise OperatorError(message, status=ExitStatus.KERNEL) from error


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}")


def ended(process: int) -> bool:
    """Return whether *process*, our child, has ended; that reaps it. It never waits."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] == process
    except ChildProcessError:
        return True


def calm(process: int) -> None:
    """Take *process* out of the real-time class that conntrackd always chooses.

    It would run ahead of adverts on a busy machine. Where that is refused it stays as it is.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, process, -10)


def shortest_timeout(root: Path = TIMEOUTS) -> float:
    """Return the shortest of the timeouts that packets renew, in seconds; 120 where none is told.

    That is UDP's, as the kernel has it.
    """
    found = []
    for name in RENEWED:
        with contextlib.suppress(OSError, ValueError):
            found.append(float((root / name).read_text(encoding="ascii")))
    return min(found, default=120.0)


def entry_limit(root: Path = TIMEOUTS) -> int:
    """Return ``nf_conntrack_max``, 0 where connection tracking is not there yet."""
    return _number(root / "nf_conntrack_max")


def entries(root: Path = TIMEOUTS) -> int:
    """Return how many connections the kernel tracks in this network namespace."""
    return _number(root / "nf_conntrack_count")


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return 0
