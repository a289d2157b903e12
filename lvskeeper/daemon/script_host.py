"""The process that runs the scripts of a role, so that the role itself never forks.

Even a vfork holds up the whole parent until the child runs its program, and a child of a role
with SCHED_RR is in the usual class: on a busy machine the role would wait for its turn. Looking up
users and files may take long, too. So the role sends a packet, and this process, always in the
usual class, does the rest. It ends when its socket does, and takes the scripts with it, but for
those that tell of a transition which nobody would tell again.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Final, TypeAlias, assert_never, final

import msgspec
from msgspec.structs import replace

from lvskeeper.daemon.children import (
    KILL_DELAY,
    OURSELVES,
    Child,
    Identity,
    Output,
    environment,
    explain,
    first_of,
    identity,
)
from lvskeeper.daemon.packets import Packets
from lvskeeper.daemon.script_security import root_risk
from lvskeeper.kernel.scheduling import be_expendable

KNOWN_FOR: Final = 60.0
"""Seconds until a user and group are looked up again."""
LOOK_UP: Final = 5.0
"""Seconds for the answer; less than the role waits before it gives up this process, and with it the
scripts of all others."""
LOOK_AGAIN: Final = 0.2
"""Seconds for it where an earlier answer is known: a script's own limit may be short."""
OPEN_FILES: Final = 1024
"""Soft limit of open files of scripts: those that use select(2) cannot do with more."""
NICE: Final = -10
"""Nice value of this process: on a busy machine scripts are to start in time."""
STOP_GRACE: Final = 0.5
"""Seconds from SIGTERM to SIGKILL for what still runs when the role ends."""


@final
class Run(msgspec.Struct, frozen=True, tag=True):
    """Role to host: start a script. *id* names this run."""

    id: int
    argv: tuple[str, ...]
    user: str
    group: str
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    """What its environment tells it."""
    secure: bool = False
    """Refuse to run it as root where others than root could write it."""
    stays: float = 0.0
    """Seconds that it may go on if the role dies."""


@final
class Signal(msgspec.Struct, frozen=True, tag=True):
    """Role to host: send a signal to a run's process group."""

    id: int
    number: int


@final
class Abandon(msgspec.Struct, frozen=True, tag=True):
    """Role to host: end a run, by and by; nobody asks how it ends."""

    id: int


@final
class Ready(msgspec.Struct, frozen=True, tag=True):
    """Host to role: what is sent from now on is done at once."""


@final
class Started(msgspec.Struct, frozen=True, tag=True):
    """Host to role: a run has begun."""

    id: int
    pid: int


@final
class Unstarted(msgspec.Struct, frozen=True, tag=True):
    """Host to role: a run could not begin."""

    id: int
    reason: str


@final
class Ended(msgspec.Struct, frozen=True, tag=True):
    """Host to role: a run is over; *code* is the exit status, or the negative signal number."""

    id: int
    code: int
    seconds: float
    output: str


ToHost: TypeAlias = Run | Signal | Abandon
ToRole: TypeAlias = Ready | Started | Unstarted | Ended


@final
class _Host:
    def __init__(self, end: socket.socket) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._packets: Final = Packets(self._loop, end, self._on_packet, self._on_end)
        self._decoder: Final[msgspec.json.Decoder[ToHost]] = msgspec.json.Decoder(ToHost)
        self._encoder: Final = msgspec.json.Encoder()
        self._runs: Final[dict[int, asyncio.Task[None]]] = {}
        self._children: Final[dict[int, Child]] = {}
        self._known: Final[dict[tuple[str, str], tuple[float, Identity]]] = {}
        self._asked: Final[dict[tuple[str, str], asyncio.Task[Identity]]] = {}
        """Whom the system is being asked for."""
        self._staying: Final[dict[int, float]] = {}
        """Runs that may go on for so many seconds."""
        self._over: Final = asyncio.Event()

    async def serve(self) -> None:
        """Work until the role is gone, then end what still runs."""
        self._send(Ready())
        await self._over.wait()
        for number in self._children.keys() - self._staying.keys():
            self._signal(number, signal.SIGTERM)
        await self._wait(self._runs.keys() - self._staying.keys(), STOP_GRACE)
        for number in self._children.keys() - self._staying.keys():
            self._signal(number, signal.SIGKILL)
        await self._wait(self._staying.keys(), max(self._staying.values(), default=0.0))
        for child in self._children.values():
            child.condemned = True
            child.signal(signal.SIGKILL)
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _wait(self, numbers: Iterable[int], limit: float) -> None:
        runs = [self._runs[number] for number in numbers]
        if runs:
            await asyncio.wait(runs, timeout=limit)

    def _on_end(self) -> None:
        self._over.set()

    def _on_packet(self, packet: bytes) -> None:
        message = self._decoder.decode(packet)
        match message:
            case Run():
                run = self._loop.create_task(self._run(message))
                self._runs[message.id] = run
                run.add_done_callback(lambda _: self._runs.pop(message.id, None))
            case Signal():
                self._signal(message.id, message.number)
            case Abandon():
                self._signal(message.id, signal.SIGTERM)
                self._loop.call_later(KILL_DELAY, self._signal, message.id, signal.SIGKILL)
            case _:
                assert_never(message)

    def _signal(self, number: int, what: int) -> None:
        if child := self._children.get(number):
            child.condemned = True
            child.signal(what)
        elif task := self._runs.get(number):
            task.cancel()  # it waits for its user's entry

    async def _run(self, run: Run) -> None:
        start = self._loop.time()
        try:
            who = await self._who(run.user, run.group)
            # By the number: to look up the name again may take long.
            as_root = run.secure and who.user in {None, 0}
            if as_root and (risk := await asyncio.to_thread(root_risk, replace(run, user=""))):
                raise ValueError(f"not run as root: {risk}")  # noqa: TRY301 - told like others
            with Output() as output:
                child = Child(run.argv, environment(run.facts), who=who, output=output.write_end)
                self._children[run.id] = child
                if run.stays:
                    self._staying[run.id] = run.stays
                self._send(Started(run.id, child.pid))
                output.listen()
                code = await asyncio.shield(child.ended)
                text = output.finish()
        except (OSError, ValueError, LookupError) as error:
            self._send(Unstarted(run.id, explain(error)))
        except asyncio.CancelledError:
            self._send(Unstarted(run.id, "its user and group are not known in time"))
        else:
            self._send(Ended(run.id, code, self._loop.time() - start, text))
        finally:
            self._children.pop(run.id, None)
            self._staying.pop(run.id, None)

    async def _who(self, user: str, group: str) -> Identity:
        """Look up who that is; raise ``LookupError``, also where no answer comes in time.

        Whom a directory service does not answer for is who he was, if he was known.
        """
        if not user and not group:
            return OURSELVES
        name = (user, group)
        known = self._known.get(name)
        if known is not None and self._loop.time() <= known[0]:
            return known[1]
        if (asked := self._asked.get(name)) is None:
            asked = self._asked[name] = self._loop.create_task(self._ask(name))
            # That nobody may wait for its failure any more is no news.
            asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        await first_of(asked, limit=LOOK_AGAIN if known else LOOK_UP)
        if asked.done():
            return asked.result()
        if known is None:
            raise LookupError("its user and group are not known in time")
        self._known[name] = self._loop.time() + KNOWN_FOR, known[1]
        return known[1]

    async def _ask(self, name: tuple[str, str]) -> Identity:
        """Ask the system who *name* is: it may hang, so not in the loop, and never twice."""
        try:
            found = await asyncio.to_thread(identity, *name)
        finally:
            del self._asked[name]
        self._known[name] = self._loop.time() + KNOWN_FOR, found
        return found

    def _send(self, message: ToRole) -> None:
        self._packets.send(self._encoder.encode(message))


def _be_usual() -> None:
    """Leave the scheduling class of the role, but stay ahead of others; scripts do neither."""
    with contextlib.suppress(OSError):
        kind = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, kind, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    be_expendable()
    # The director's limit is for its probes; a script that needs more than usual can raise its own.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def _leave_to_role(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: this process ends with the role. Not SIG_IGN, which scripts would inherit."""


def main() -> None:
    """Serve the socket whose descriptor is the one argument."""
    _be_usual()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave_to_role)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.setblocking(False)
    # Not inherited by scripts: they would keep the role from seeing the end.
    end.set_inheritable(False)

    async def serve() -> None:
        await _Host(end).serve()

    asyncio.new_event_loop().run_until_complete(serve())
    os._exit(0)  # a thread that waits for a directory service is not waited for


if __name__ == "__main__":
    main()
