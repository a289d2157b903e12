"""Tracked processes of the router role: how many of a name run.

The kernel tells of starts and ends where it can, else all processes are counted once a second.
Looking at a process costs some 30 microseconds, so in each turn of the loop only a few are.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final, assert_never, final

from lvskeeper.daemon.router_spec import ArgumentMatch, TrackedProcess
from lvskeeper.daemon.track_news import ProcessesPolled, QuorumTurned, TrackNews
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.processes import (
    NAME_SIZE,
    Exited,
    Forked,
    ProcessEvents,
    ProcessEventsLostError,
    Renamed,
    command,
    processes,
    short_name,
)
from lvskeeper.vrrp.trackers import ProcessTracker
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind

EVENTS_A_TURN: Final = 128
"""Events that are taken in one turn of the loop."""
LOOKS_A_TURN: Final = 32
"""Processes that are looked at in one turn: about a millisecond."""
POLL_EVERY: Final = 1.0
"""Seconds between counts where the kernel does not tell of processes."""


@final
@dataclass(slots=True)
class _Track:
    spec: TrackedProcess
    id: TrackId
    pids: set[int] = field(default_factory=set)
    machine: ProcessTracker | None = None
    """None until all processes have been looked at once."""
    timer: asyncio.TimerHandle | None = None
    told: Status = field(default_factory=lambda: Status(None))


@final
class ProcessTracks:
    """All tracked processes. *on_status* gets each change of a status after :meth:`replace`."""

    def __init__(
        self,
        on_status: Callable[[TrackId, Status], None],
        on_news: Callable[[TrackNews], None],
    ) -> None:
        self._on_status: Final = on_status
        self._on_news: Final = on_news
        self._tracks: dict[str, _Track] = {}
        self._events: ProcessEvents | None = None
        self._queue: dict[int, None] = {}
        """Processes to be looked at, in order."""
        self._turn: asyncio.Handle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._lost = False
        """Events are missing, and will be until the socket is empty once."""
        self._rescan: asyncio.TimerHandle | None = None
        self._scanned = -inf

    async def replace(self, wanted: Sequence[TrackedProcess]) -> None:
        """Track *wanted*; those that did not change keep their state. All are counted once."""
        specs = {spec.name: spec for spec in wanted}
        for name, track in list(self._tracks.items()):
            if specs.get(name) != track.spec:
                _disarm(track)
                del self._tracks[name]
        if not specs:
            self.close()
            return
        if self._events is None and self._poll is None:
            self._open()
        new = [
            _Track(spec, TrackId(TrackKind.PROCESS, spec.name))
            for spec in specs.values()
            if spec.name not in self._tracks
        ]
        if not new:
            return
        self._tracks.update((track.spec.name, track) for track in new)
        # The kernel tells of what happens meanwhile
        for place, pid in enumerate(processes()):
            self._look_at(pid)
            if place % LOOKS_A_TURN == LOOKS_A_TURN - 1:
                await asyncio.sleep(0)
        for track in new:
            track.machine = ProcessTracker(track.spec.spec, len(track.pids))
            track.told = track.machine.status
        self._count()

    def statuses(self) -> dict[TrackId, Status]:
        """Return what is known now."""
        return {
            track.id: track.machine.status if track.machine else Status(None)
            for track in self._tracks.values()
        }

    def close(self) -> None:
        """Track nothing any more."""
        for track in self._tracks.values():
            _disarm(track)
        self._tracks.clear()
        self._queue.clear()
        self._lost = False
        for handle in (self._turn, self._poll, self._rescan):
            if handle is not None:
                handle.cancel()
        self._turn = self._poll = self._rescan = None
        if self._events is not None:
            asyncio.get_running_loop().remove_reader(self._events.fileno())
            self._events.close()
            self._events = None

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._events = ProcessEvents()
        except OperatorError as error:
            self._on_news(ProcessesPolled(error.message))
            self._poll = loop.call_later(POLL_EVERY, self._on_poll)
        else:
            loop.add_reader(self._events.fileno(), self._on_events, self._events)

    def _on_poll(self) -> None:
        self._poll = asyncio.get_running_loop().call_later(POLL_EVERY, self._on_poll)
        if not self._queue:
            self._scan()

    def _scan(self) -> None:
        """Queue all processes, and forget those that are gone."""
        self._scanned = asyncio.get_running_loop().time()
        present = processes()
        self._queue.update(dict.fromkeys(present))
        gone = set(present)
        for track in self._tracks.values():
            track.pids &= gone
        self._count()
        self._go_on()

    def _on_events(self, events: ProcessEvents) -> None:
        try:
            found = events.read(EVENTS_A_TURN)
        except ProcessEventsLostError:
            self._lost = True
            return
        for event in found:
            match event:
                case Forked(parent, pid):
                    self._inherit(parent, pid)
                case Renamed(pid):
                    self._queue[pid] = None
                case Exited(pid):
                    self._queue.pop(pid, None)
                    for track in self._tracks.values():
                        track.pids.discard(pid)
                case _:
                    assert_never(event)
        if self._lost and len(found) < EVENTS_A_TURN:
            self._lost = False
            self._scan_soon()
        self._count()
        self._go_on()

    def _scan_soon(self) -> None:
        """Look at all processes, but not all the time while a storm goes on."""
        if self._rescan is None:
            loop = asyncio.get_running_loop()
            self._rescan = loop.call_at(self._scanned + POLL_EVERY, self._on_rescan)

    def _on_rescan(self) -> None:
        self._rescan = None
        self._scan()

    def _inherit(self, parent: int, pid: int) -> None:
        if parent in self._queue:
            self._queue[pid] = None
        for track in self._tracks.values():
            if parent in track.pids:
                track.pids.add(pid)

    def _go_on(self) -> None:
        if self._turn is None and self._queue:
            self._turn = asyncio.get_running_loop().call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._turn = None
        for pid in list(islice(self._queue, LOOKS_A_TURN)):
            del self._queue[pid]
            self._look_at(pid)
        self._count()
        self._go_on()

    def _look_at(self, pid: int) -> None:
        """Read what *pid* is, and put it where it belongs."""
        name = short_name(pid)
        arguments: tuple[str, ...] | None = None
        for track in self._tracks.values():
            if name is None:
                track.pids.discard(pid)
                continue
            if _by_command(track.spec):
                arguments = command(pid) if arguments is None else arguments
            if matches(track.spec, name, arguments or ()):
                track.pids.add(pid)
            else:
                track.pids.discard(pid)

    def _count(self) -> None:
        """Give each machine its count."""
        now = asyncio.get_running_loop().time()
        for track in self._tracks.values():
            if track.machine is not None:
                track.machine.on_count(len(track.pids), now)
                self._tell(track, track.machine)

    def _tell(self, track: _Track, machine: ProcessTracker) -> None:
        status = machine.status
        if status != track.told:
            track.told = status
            self._on_news(QuorumTurned(track.spec.name, bool(status.well), len(track.pids)))
            self._on_status(track.id, status)
        due = machine.deadline()
        if track.timer is None or track.timer.when() != due:
            _disarm(track)
            if due < inf:
                loop = asyncio.get_running_loop()
                track.timer = loop.call_at(due, self._on_delay, track, machine, due)

    def _on_delay(self, track: _Track, machine: ProcessTracker, due: float) -> None:
        track.timer = None
        # The loop's timers may fire a little early
        machine.on_timer(max(due, asyncio.get_running_loop().time()))
        self._tell(track, machine)


def _disarm(track: _Track) -> None:
    if track.timer is not None:
        track.timer.cancel()
        track.timer = None


def _by_command(spec: TrackedProcess) -> bool:
    """Whether the arguments matter; as in keepalived, then the program is compared with argv[0]."""
    return spec.full_command or spec.arguments is not None or "/" in spec.process


def matches(spec: TrackedProcess, name: str, argv: Sequence[str]) -> bool:
    """Whether a process with the short name *name* and the arguments *argv* is meant by *spec*."""
    if not _by_command(spec):
        # The kernel cuts the name
        return os.fsencode(name)[:NAME_SIZE] == os.fsencode(spec.process)[:NAME_SIZE]
    if not argv or argv[0] != spec.process:
        return False
    return spec.arguments is None or _agree(spec.match, spec.arguments, tuple(argv[1:]))


def _agree(how: ArgumentMatch, wanted: tuple[str, ...], given: tuple[str, ...]) -> bool:
    match how:
        case ArgumentMatch.EXACT:
            return given == wanted
        case ArgumentMatch.PARTIAL:
            return given[: len(wanted)] == wanted
        case ArgumentMatch.INITIAL:
            if not wanted:
                return True
            last = len(wanted) - 1
            starts = len(given) > last and given[last].startswith(wanted[last])
            return starts and given[:last] == wanted[:last]
        case _:
            assert_never(how)
