"""How the kernel schedules this process: class, nice value, CPUs, locked memory."""

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

_INHERITED_CPUS: Final = os.sched_getaffinity(0)
"""What who started us has chosen; in force wherever the configuration says nothing."""
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
"""``MCL_*`` of ``sys/mman.h``."""


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """What the kernel did not grant, and why."""

    what: str
    reason: str


def set_scheduling(
    *,
    rr_priority: int = 0,
    nice: int = 0,
    lock_memory: bool = False,
    cpus: Sequence[int] = (),
    rttime: int = 0,
) -> tuple[Refused, ...]:
    """Give this process what is asked for; return what was refused.

    *rr_priority* is that of SCHED_RR, 0 the usual class; *rttime* is RLIMIT_RTTIME in
    microseconds, 0 for none. Child processes start in the usual class, without locked memory.
    """
    works: list[tuple[str, Callable[[], object]]] = [
        (f"nice {nice}", lambda: os.setpriority(os.PRIO_PROCESS, 0, nice)),
        (
            f"CPUs {' '.join(map(str, cpus))}".rstrip(),
            lambda: os.sched_setaffinity(0, cpus or _INHERITED_CPUS),
        ),
        (f"RLIMIT_RTTIME {rttime}", lambda: _limit(rttime)),
        (f"SCHED_RR {rr_priority}", lambda: _set_class(rr_priority)),
        ("locked memory", lambda: _lock(lock=lock_memory)),
    ]
    refused = []
    for what, work in works:
        try:
            work()
        except (OSError, ValueError) as error:
            refused.append(Refused(what, getattr(error, "strerror", None) or str(error)))
    return tuple(refused)


def be_expendable() -> None:
    """Let this process, and what it starts, be killed like any other where memory runs out.

    Whoever started the daemon may have it spared (``OOMScoreAdjust=``). A script that eats up the
    memory must not be; to take that back needs no privilege.
    """
    own = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(own.read_text(encoding="ascii")) < 0:
            own.write_text("0", encoding="ascii")


def _limit(rttime: int) -> None:
    # What is no limit now needs no call, which would need a privilege to raise it again.
    soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    wanted = rttime or hard
    if soft != wanted:
        resource.setrlimit(resource.RLIMIT_RTTIME, (wanted, hard))


def _set_class(priority: int) -> None:
    # Scripts are children, and none of them may run ahead of everything else.
    kind = os.SCHED_RR | os.SCHED_RESET_ON_FORK if priority else os.SCHED_OTHER
    if priority or os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER:
        os.sched_setscheduler(0, kind, os.sched_param(priority))


def _lock(*, lock: bool) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    failed = library.mlockall(_MCL_CURRENT | _MCL_FUTURE) if lock else library.munlockall()
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
