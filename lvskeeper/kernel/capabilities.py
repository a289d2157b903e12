"""The capabilities of this process (capabilities(7)), and how scripts go without them.

A daemon with a user of its own has them as ambient ones, so that nft and conntrackd get them, too.
Any other program would as well: what runs scripts starts them with :func:`without_ambient`.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

NAMES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By number, as in ``linux/capability.h``."""

_PR_CAP_AMBIENT: Final = 47
_IS_SET: Final = 1
_RAISE: Final = 2
_CLEAR_ALL: Final = 4
"""``PR_CAP_AMBIENT_*`` of ``linux/prctl.h``."""


def effective() -> frozenset[str]:
    """Return what this process may do, as ``NET_ADMIN``."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if "CapEff" in line)
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)


@contextlib.contextmanager
def without_ambient() -> Iterator[None]:
    """Let what this thread starts meanwhile have no capability that its user does not have."""
    numbers = _ambient()
    if not numbers:
        yield
        return
    _prctl(_CLEAR_ALL)
    try:
        yield
    finally:
        for number in numbers:
            _prctl(_RAISE, number)


def drop_ambient() -> None:
    """Give the ambient capabilities up for good; what is executed next does without."""
    if _ambient():
        _prctl(_CLEAR_ALL)


@cache
def _ambient() -> tuple[int, ...]:
    """Return the numbers of those that this process was started with."""
    return tuple(number for number in range(len(NAMES)) if _prctl(_IS_SET, number) == 1)


def _prctl(operation: int, number: int = 0) -> int:
    library = _library()
    arguments = map(ctypes.c_ulong, (operation, number, 0, 0))
    answer: int = library.prctl(_PR_CAP_AMBIENT, *arguments)
    if answer < 0 and operation != _IS_SET:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
