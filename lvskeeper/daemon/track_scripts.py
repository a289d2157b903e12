"""Track scripts of the router role: when they run, what becomes of their results.

:class:`~lvskeeper.vrrp.trackers.ScriptTracker` decides; the script host runs them.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never, final

from lvskeeper.daemon.children import explain, signal_group
from lvskeeper.daemon.router_spec import TrackedScript
from lvskeeper.daemon.script_host import (
    Abandon,
    Ended,
    Ready,
    Run,
    Signal,
    Started,
    ToRole,
    Unstarted,
)
from lvskeeper.daemon.script_link import ScriptLink
from lvskeeper.daemon.track_news import (
    ScriptEnd,
    ScriptEndChanged,
    ScriptHostLost,
    ScriptSkipped,
    ScriptTurned,
    ScriptUnstarted,
    TrackNews,
)
from lvskeeper.vrrp.trackers import ScriptAction, ScriptTracker
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind

MAX_RUNNING: Final = 32
"""Scripts that run at a time; a further one waits for its turn."""
MAX_TURN_WAIT: Final = 0.5
"""Seconds that a script waits for its turn, and never longer than its interval. Then it runs all
the same: where others hang, it must not be late, and there is never more than one of each."""
FIRST_GAP: Final = 0.005
"""Seconds between first runs; less where the last would be later than FIRST_SPREAD."""
FIRST_SPREAD: Final = 1.0
HOST_START: Final = 10.0
"""Seconds that scripts wait for the host to be ready; it needs about a tenth of one, and some on
an emulated machine."""
HOST_BIRTH: Final = 60.0
"""Seconds for a host to be ready. If it takes more it stands still; to kill it earlier would keep
a slow machine from ever having one."""
HOST_ANSWER: Final = 10.0
"""Seconds for a host that was ready to start a script. If it takes more it stands still."""
HOST_PAUSE: Final = 1.0
"""Seconds before a host is started again, unless the last one worked for longer than this."""


@final
@dataclass(slots=True)
class _Track:
    spec: TrackedScript
    machine: ScriptTracker
    id: TrackId
    timer: asyncio.TimerHandle | None = None
    run: int = 0
    """Number of the present run; 0 for none."""
    pid: int = 0
    began: float = 0.0
    turn_by: float = 0.0
    """While it waits for its turn: when it runs all the same."""
    late: bool = False
    """The present run is over its time, and has been counted."""
    skipped: bool = False
    last: ScriptEnd | None = None
    reason: str = ""
    """Why it could not be started, as told."""
    told: Status = field(default_factory=lambda: Status(None))


@final
class ScriptTracks:
    """All track scripts. *on_status* gets each change of a status after :meth:`replace`."""

    def __init__(
        self,
        on_status: Callable[[TrackId, Status], None],
        on_news: Callable[[TrackNews], None],
    ) -> None:
        self._on_status: Final = on_status
        self._on_news: Final = on_news
        self._link: Final = ScriptLink(self._on_message, self._on_lost)
        self._tracks: dict[str, _Track] = {}
        self._runs: dict[int, _Track] = {}
        self._turns: dict[str, _Track] = {}
        """Who waits for a turn, the first first."""
        self._number = 0
        self._host_since = 0.0
        self._host_again: asyncio.TimerHandle | None = None

    async def replace(self, scripts: Sequence[TrackedScript]) -> None:
        """Track *scripts*: unchanged ones go on, new and changed ones start anew, others end."""
        wanted = {script.name: script for script in scripts}
        for name, track in list(self._tracks.items()):
            if wanted.get(name) != track.spec:
                self._stop(track)
                del self._tracks[name]
        if not wanted:
            await self._end_host()
            return
        if not self._link.up and self._host_again is None:
            self._start_host()
        now = asyncio.get_running_loop().time()
        new = [script for name, script in wanted.items() if name not in self._tracks]
        for place, script in enumerate(new):
            spread = min(FIRST_SPREAD, script.spec.interval)
            due = now + place * min(FIRST_GAP, spread / len(new))
            track = _Track(
                script, ScriptTracker(script.spec, due), TrackId(TrackKind.SCRIPT, script.name)
            )
            track.told = track.machine.status
            self._tracks[script.name] = track
            self._arm(track)

    def statuses(self) -> dict[TrackId, Status]:
        """Return what is known now."""
        return {track.id: track.machine.status for track in self._tracks.values()}

    async def close(self) -> None:
        """End all that runs, within a few seconds at worst."""
        for track in self._tracks.values():
            self._disarm(track)
        self._tracks.clear()
        self._turns.clear()
        await self._end_host()

    def _arm(self, track: _Track) -> None:
        self._disarm(track)
        loop = asyncio.get_running_loop()
        track.timer = loop.call_at(track.turn_by or track.machine.deadline(), self._wake, track)

    @staticmethod
    def _disarm(track: _Track) -> None:
        if track.timer is not None:
            track.timer.cancel()
            track.timer = None

    def _wake(self, track: _Track) -> None:
        # The loop's timers may fire a little early.
        now = max(asyncio.get_running_loop().time(), track.machine.deadline())
        wait = self._wait(track)
        if wait and not track.machine.running and not track.turn_by:
            track.turn_by = now + wait
            self._turns[track.spec.name] = track
        else:
            self._turns.pop(track.spec.name, None)
            track.turn_by = 0.0
            for action in track.machine.on_timer(now):
                self._act(track, action, now)
        self._arm(track)

    def _wait(self, track: _Track) -> float:
        """Return how long *track* may have to wait for its turn now."""
        if not self._link.ready:
            return HOST_START
        if len(self._runs) >= MAX_RUNNING:
            return min(MAX_TURN_WAIT, track.spec.spec.interval)
        return 0.0

    def _on_ready(self) -> None:
        now = asyncio.get_running_loop().time()
        gap = min(FIRST_GAP, FIRST_SPREAD / (len(self._turns) or 1))
        for place, track in enumerate(self._turns.values()):
            track.turn_by = now + place * gap
            if track.last is None:
                # Its first run is no late one, with the second soon after it
                track.machine = ScriptTracker(track.spec.spec, track.turn_by)
            self._arm(track)

    def _act(self, track: _Track, action: ScriptAction, now: float) -> None:
        match action:
            case ScriptAction.RUN:
                self._run(track, now)
            case ScriptAction.SKIP:
                if not track.skipped:
                    track.skipped = True
                    news = ScriptSkipped(track.spec.name, now - track.began, started=track.pid != 0)
                    self._on_news(news)
                self._suspect(track, now)
            case ScriptAction.TERMINATE:
                self._link.send(Signal(track.run, signal.SIGTERM))
                track.late = True
                self._judge(track, ScriptEnd(timed_out=True, seconds=now - track.began))
            case ScriptAction.KILL:
                self._link.send(Signal(track.run, signal.SIGKILL))
                self._suspect(track, now)
            case _:
                assert_never(action)

    def _run(self, track: _Track, now: float) -> None:
        self._number += 1
        track.run, track.pid, track.began = self._number, 0, now
        track.late = track.skipped = False
        self._runs[track.run] = track
        script = track.spec.script
        if not self._link.up:
            self._on_message(Unstarted(track.run, "the process that runs scripts does not run"))
            return
        try:
            secure = track.spec.secure
            self._link.send(Run(track.run, script.argv, script.user, script.group, secure=secure))
        except ValueError as error:
            self._on_message(Unstarted(track.run, str(error)))

    def _on_message(self, message: ToRole) -> None:
        if isinstance(message, Ready):
            self._on_ready()
            return
        track = self._runs.get(message.id)
        if track is None:
            return  # a run of before a reload
        match message:
            case Started():
                track.pid = message.pid
                return
            case Unstarted():
                end = ScriptEnd(error=message.reason)
            case Ended():
                end = ScriptEnd(
                    status=message.code if message.code >= 0 else None,
                    signal=-message.code if message.code < 0 else None,
                    seconds=message.seconds,
                    output=message.output,
                )
            case _:
                assert_never(message)
        del self._runs[message.id]
        track.run = track.pid = 0
        track.machine.on_exit(well=end.status == 0)
        if not track.late:
            self._judge(track, end)
        self._arm(track)
        if self._turns and self._link.ready:
            following = self._turns.pop(next(iter(self._turns)))
            following.turn_by = asyncio.get_running_loop().time()
            self._arm(following)

    def _judge(self, track: _Track, end: ScriptEnd) -> None:
        """Tell what a result has changed, after the machine has counted it."""
        name, status, last = track.spec.name, track.machine.status, track.last
        track.last = end
        if end.error != track.reason:
            track.reason = end.error
            if end.error:
                self._on_news(ScriptUnstarted(name, end.error))
        if status != track.told:
            track.told = status
            self._on_news(ScriptTurned(name, bool(status.well), end))
            self._on_status(track.id, status)
        elif last is not None and str(last) != str(end) and not end.error:
            self._on_news(ScriptEndChanged(name, last, end))

    def _stop(self, track: _Track) -> None:
        self._disarm(track)
        self._turns.pop(track.spec.name, None)
        if track.run:
            del self._runs[track.run]
            self._link.send(Abandon(track.run))

    def _suspect(self, track: _Track, now: float) -> None:
        if not track.run or track.pid:
            return
        began, limit = (
            (track.began, HOST_ANSWER) if self._link.ready else (self._host_since, HOST_BIRTH)
        )
        if now - began > limit:
            self._link.lose("it does not answer")

    def _start_host(self) -> None:
        loop = asyncio.get_running_loop()
        self._host_again = None
        self._host_since = loop.time()
        try:
            self._link.start()
        except OSError as error:
            self._on_news(ScriptHostLost(explain(error)))
            self._host_again = loop.call_later(HOST_PAUSE, self._start_host)

    def _on_lost(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._on_news(ScriptHostLost(reason))
        worked = loop.time() - self._host_since
        if worked > HOST_PAUSE:
            self._start_host()
        else:
            self._host_again = loop.call_later(HOST_PAUSE - worked, self._start_host)
        self._kill_all()

    def _kill_all(self) -> None:
        """End what a lost host has left; that it was lost says nothing of the scripts."""
        tracks = list(self._runs.values())
        self._runs.clear()
        for track in tracks:
            if track.pid:
                signal_group(track.pid, signal.SIGKILL)
            track.run = track.pid = 0
            if track.machine.status.well is None:
                now = asyncio.get_running_loop().time()
                track.machine = ScriptTracker(track.spec.spec, now + HOST_PAUSE)
            else:
                track.machine.on_exit(well=track.machine.status.well)
            self._arm(track)

    async def _end_host(self) -> None:
        if self._host_again is not None:
            self._host_again.cancel()
            self._host_again = None
        if not await self._link.close():
            for track in self._runs.values():
                if track.pid:
                    signal_group(track.pid, signal.SIGKILL)
        self._runs.clear()
