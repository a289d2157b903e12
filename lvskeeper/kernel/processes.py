"""Processes of this machine: what they are called, and the kernel's word of starts and ends.

The word comes from the proc connector (linux/cn_proc.h), which exists in the first network and
PID namespace only, and needs CAP_NET_ADMIN. What it says of a process may be old when it is read.
"""

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, Self, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.sockets import Instruction, attach_filter, set_receive_buffer

MAX_COMMAND: Final = 4096
"""Bytes of a command line that are read."""
NAME_SIZE: Final = 15
"""Bytes of a process's short name (TASK_COMM_LEN without the end)."""
BUFFER: Final = 4 << 20
"""Bytes of the socket's buffer: about 5,000 events."""
ACK_READS: Final = 4096
"""Datagrams in which the kernel's answer is looked for."""

_NETLINK_CONNECTOR: Final = 11
_CN_IDX_PROC: Final = 1
_CN_VAL_PROC: Final = 1
_MCAST_LISTEN: Final = 1
_MCAST_IGNORE: Final = 2
_NLMSG_DONE: Final = 3

_REQUEST: Final = Struct("=IHHII IIIIHH I")
"""``struct nlmsghdr``, ``struct cn_msg``, ``enum proc_cn_mcast_op``."""
_ANSWER: Final = Struct("=16x II 4x I 4x I 12x 4I")
"""Connector id, acknowledgement, kind of event, first words of its data."""
_WHAT_AT: Final = 36
"""Offset of the kind of event."""
_DATA_AT: Final = 52
"""Offset of the data: a pair of pid and tgid, or two (parent and child of a fork)."""


@final
class Kind(IntEnum):
    """Kinds of events that are asked for."""

    FORK = 0x1
    EXEC = 0x2
    COMM = 0x200
    EXIT = 0x80000000


_PAIR_AT: Final = {
    Kind.FORK: _DATA_AT + 8,
    Kind.EXEC: _DATA_AT,
    Kind.COMM: _DATA_AT,
    Kind.EXIT: _DATA_AT,
}


@final
@dataclass(frozen=True, slots=True)
class Forked:
    """A process has a child, which is called as it is until it runs a program."""

    parent: int
    pid: int


@final
@dataclass(frozen=True, slots=True)
class Renamed:
    """A process runs another program, or has another name."""

    pid: int


@final
@dataclass(frozen=True, slots=True)
class Exited:
    """A process is over; its number may live on as a zombie."""

    pid: int


ProcessEvent: TypeAlias = Forked | Renamed | Exited


@final
class ProcessEventsLostError(Exception):
    """More happened than the socket could hold: all processes have to be looked at."""


@final
class ProcessEvents:
    """A socket that tells of starts, ends and new names of processes, of no threads.

    Raises :class:`OperatorError` where the kernel does not grant it.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket: Final = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
        except OSError as error:
            raise _refused(error) from error
        try:
            self._open()
        except OSError as error:
            self._socket.close()
            raise _refused(error) from error
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def read(self, most: int) -> list[ProcessEvent]:
        """Return *most* of the events that wait, or all where these are fewer.

        Raises :class:`ProcessEventsLostError`. The kernel then goes on dropping events without
        another word until all that wait have been read.
        """
        events: list[ProcessEvent] = []
        while len(events) < most:
            try:
                data = self._socket.recv(256)
            except BlockingIOError:
                break
            except OSError as error:
                raise ProcessEventsLostError(error.strerror) from error
            event = _event(data)
            if event is not None:
                events.append(event)
        return events

    def close(self) -> None:
        """Give the socket back; twice is harmless."""
        if self._socket.fileno() >= 0:
            # Kernels before 6.6 count listeners, and go on making events for one that is gone
            with contextlib.suppress(OSError):
                self._socket.send(self._request(_MCAST_IGNORE, 0))
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        set_receive_buffer(self._socket, BUFFER)
        # What threads do, and what is not asked for, the kernel drops.
        attach_filter(self._socket, _program())
        self._socket.bind((0, _CN_IDX_PROC))
        token = int.from_bytes(os.urandom(3), "little")
        self._socket.send(self._request(_MCAST_LISTEN, token))
        # The kernel has answered when send returns, if it answers at all. All listeners get all
        # answers; only the acknowledgement number is the asker's own
        for _ in range(ACK_READS):
            try:
                data = self._socket.recv(256)
            except BlockingIOError:
                break
            if len(data) < _ANSWER.size:
                continue
            _, _, acknowledged, what, refused, *_rest = _ANSWER.unpack_from(data)
            if what == 0 and acknowledged == token + 1:
                if refused:
                    raise OSError(refused, os.strerror(refused))
                return
        raise OSError(errno.ENOTCONN, "the kernel does not answer")

    def _request(self, operation: int, token: int) -> bytes:
        return _REQUEST.pack(
            _REQUEST.size, _NLMSG_DONE, 0, 0, 0,
            _CN_IDX_PROC, _CN_VAL_PROC, 0, token, 4, 0,
            operation,
        )  # fmt: skip


_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_X: Final = 0x07  # BPF_MISC | BPF_TAX
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_EQUAL_X: Final = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X
_RETURN: Final = 0x06  # BPF_RET | BPF_K


def _program() -> list[Instruction]:
    # The filter loads words in network order, so constants are turned as well
    steps = [(_LOAD, 0, 0, _WHAT_AT), (_EQUAL, 0, 1, 0), (_RETURN, 0, 0, 0xFFFFFFFF)]
    for kind, at in _PAIR_AT.items():
        steps += [
            (_EQUAL, 0, 5, socket.htonl(kind)),
            (_LOAD, 0, 0, at),
            (_LOAD_X, 0, 0, 0),
            (_LOAD, 0, 0, at + 4),
            (_EQUAL_X, 0, 1, 0),
            (_RETURN, 0, 0, 0xFFFFFFFF),
            # Reached by another kind with that kind loaded, and by a thread with its tgid, which
            # could be taken for a kind only if it were as big as one; so it is loaded again
            (_LOAD, 0, 0, _WHAT_AT),
        ]
    steps.append((_RETURN, 0, 0, 0))
    return steps


def _event(data: bytes) -> ProcessEvent | None:
    if len(data) < _ANSWER.size:
        return None
    index, value, _, what, *words = _ANSWER.unpack_from(data)
    if (index, value) != (_CN_IDX_PROC, _CN_VAL_PROC):
        return None
    match what:
        case Kind.FORK:
            return Forked(words[1], words[3]) if words[2] == words[3] else None
        case Kind.EXEC | Kind.COMM:
            return Renamed(words[1]) if words[0] == words[1] else None
        case Kind.EXIT:
            return Exited(words[1]) if words[0] == words[1] else None
        case _:
            return None


def _refused(error: OSError) -> OperatorError:
    match error.errno:
        case errno.ECONNREFUSED:
            reason = "the kernel tells of processes in the first network namespace only"
        case errno.ENOTCONN:
            reason = "the kernel tells of processes in the first PID namespace only"
        case errno.EPERM | errno.EACCES:
            reason = "to be told of processes needs CAP_NET_ADMIN"
        case errno.EPROTONOSUPPORT:
            reason = "the kernel has no proc connector (CONFIG_PROC_EVENTS)"
        case _:
            reason = f"the kernel does not tell of processes: {error.strerror}"
    return OperatorError(reason, status=ExitStatus.UNSUPPORTED)


def processes() -> list[int]:
    """Return the numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names will do


def short_name(pid: int) -> str | None:
    """Return the kernel's name of a process; ``None`` for one that is over, a zombie too."""
    # The name may hold spaces and parentheses, so up to the last one
    head, _, rest = _read(pid, "stat", 512).rpartition(b") ")
    if not head or rest[:1] in b"ZX":
        return None
    return os.fsdecode(head[head.find(b"(") + 1 :])


def command(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process, the program first; none for kernel threads and zombies."""
    data = _read(pid, "cmdline", MAX_COMMAND)
    return tuple(os.fsdecode(data.removesuffix(b"\0")).split("\0")) if data else ()


def _read(pid: int, name: str, size: int) -> bytes:
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size)
    except OSError:  # it is gone since
        return b""
    finally:
        os.close(descriptor)
