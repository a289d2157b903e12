"""Keeps conntrackd, which carries connections to the peer, as the configuration wants it.

It ends with the director. One that runs all the same is adopted by its control socket in the run
directory. Whatever happens to it, the director serves on: connections are what a fail-over loses.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Final, TypeAlias, final

from lvskeeper.daemon.hold_log import Held, HoldLog
from lvskeeper.daemon.roles import StateSyncSpec
from lvskeeper.daemon.sync import SyncKeeper
from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.conntrackd import (
    PEER_PATIENCE,
    Figures,
    Link,
    Paths,
    PeerWatch,
    refresh_pause,
    render,
)
from lvskeeper.fullnat.outlook import Doubt, Facts, Outlook
from lvskeeper.kernel import conntrackd as kernel
from lvskeeper.kernel.conntrackd import Conntrackd, Request
from lvskeeper.observe import fullnat_events as told
from lvskeeper.observe.log import Emit
from lvskeeper.observe.views import StateSyncView
from lvskeeper.units import format_address, format_duration

STATE_SYNC_INTERVAL: Final = 1.0
"""Seconds between two looks; one costs some milliseconds."""
START_TIME: Final = 10.0
"""Seconds that conntrackd gets to answer after its start."""
END_TIME: Final = 5.0
"""Seconds that it gets to end."""
STUCK: Final = 120.0
"""Seconds without an answer after which ours is killed, and another one started.

A bulk of a million entries takes up to a minute, in which it does not answer either."""
PAUSES: Final = (1.0, 60.0)
"""First and longest pause before another start, in seconds; each is twice the one before."""
QUIET: Final = 60.0
"""Seconds between two reports of trouble."""
LOG_LIMIT: Final = 1 << 20
POLL: Final = 0.02

Starter: TypeAlias = Callable[[Path, Path], int]
"""Starts conntrackd with a configuration and a log; returns its process id."""


@final
class StateSyncKeeper:
    """Starts, watches and stops conntrackd, or watches one that the administrator runs."""

    def __init__(
        self,
        emit: Emit,
        run_dir: Path,
        start: Starter = kernel.start,
        *,
        held: Callable[[], Held | None] = lambda: None,
        ipvs: SyncKeeper | None = None,
    ) -> None:
        """*held* reads what was held so far, *ipvs* keeps the daemons of IPVS's own table."""
        self._emit = emit
        self._holds = HoldLog(emit, held)
        self._ipvs = ipvs or SyncKeeper(emit)
        self._outlook = Outlook()
        self._launch = start
        self._paths: Final = Paths(
            str(run_dir / "conntrackd.lock"), str(run_dir / "conntrackd.ctl")
        )
        self._config: Final = run_dir / "conntrackd.conf"
        self._log: Final = run_dir / "conntrackd.log"
        self._wanted: StateSyncSpec | None = None
        self._configured = self._due = False
        self._spec: StateSyncSpec | None = None
        self._control = Conntrackd(Path(self._paths.socket))
        self._child = 0
        """Process id of the one that we started and have not reaped."""
        self._changing = asyncio.Lock()
        self._active: bool | None = None
        self._turned = False
        self._running = False
        self._lost = False
        self._lost_at = 0.0
        self._pause = PAUSES[0]
        self._next_try = 0.0
        self._watch = PeerWatch()
        self._figures = Figures()
        self._reported = Figures()
        self._reported_at = 0.0
        self._next_refresh = 0.0
        self._looked = float("-inf")
        """When conntrackd told its figures last."""
        self._reason = ""

    def view(self, now: float) -> StateSyncView | None:
        """Return how it is at the time *now*; ``None`` where it is not configured."""
        if self._spec is None:
            return None
        figures, doubts = self._figures, self._outlook.doubts
        return StateSyncView(
            link=_link_text(self._spec),
            age=max(0.0, now - self._looked) if isfinite(self._looked) else None,
            running=self._running, peer=self._watch.there, active=self._active,
            keeps=None if doubts is None else not doubts,
            doubts=tuple(self._words(doubts or ())),
            own=figures.own, from_peer=self._from_peer(), behind=figures.unconfirmed,
            sent=figures.sent, received=figures.received, lost=figures.lost,
            refused=figures.failed, errors=figures.errors, overruns=figures.overruns,
            ipvs=self._ipvs.running,
        )  # fmt: skip

    def _from_peer(self) -> int:
        # What conntrackd has counted says less: some entries come as updates, and some have ended.
        # When it has missed events it takes all of the kernel's table for own; a backup has next to
        # nothing that is.
        own = 0 if self._active is False else self._figures.own
        return max(kernel.entries() - own, 0)

    def configure(self, spec: StateSyncSpec | None) -> None:
        """Go by *spec* from the next look on."""
        # At first what an earlier director left is to go where nothing is wanted.
        self._due = self._due or spec != self._wanted or not self._configured
        self._wanted, self._configured = spec, True
        self._pause, self._next_try = PAUSES[0], 0.0

    def follow(self, *, active: bool) -> None:
        """Take whether this director serves; its connections are then its own, or the peer's.

        Who takes over makes the connections that it got from the peer its own, so that a peer that
        is made anew gets them. Who gives up forgets what was its own: sent again, an entry would
        come back that the other has ended since. Both can wait until the addresses have moved, and
        are done at the next look.
        """
        if active and self._active is False and self._spec is not None:
            self._tell_take_over(self._spec)
        self._turned = self._turned or active is not self._active
        self._active = active

    def report(self) -> None:
        """Tell how it is now; nothing where it is not configured."""
        if self._spec is None:
            return
        figures, doubts = self._figures, self._outlook.doubts
        self._emit(
            told.StateSyncReport(
                _tristate(None if doubts is None else not doubts),
                self._in_words(doubts or ()),
                _tristate(self._active),
                _tristate(self._watch.there),
                kernel.entries(),
                figures.own, figures.injected, figures.removed, figures.failed,
                figures.unconfirmed, figures.lost, figures.overruns, figures.errors,
                self._ipvs.running,
            )
        )  # fmt: skip

    def _tell_take_over(self, spec: StateSyncSpec) -> None:
        now = asyncio.get_running_loop().time()
        self._emit(
            told.StateSyncTookOver(
                self._from_peer(), self._figures.own, self._ipvs.running,
                self._holds.begin(spec.hold, now), self._in_words(self._outlook.doubts or ()),
            )
        )  # fmt: skip

    async def look(self) -> None:
        """Look once: start what is to run, tell what changed, refresh the peer when it is due.

        Nothing is raised: what fails is told once, and tried again after a pause.
        """
        async with self._changing:
            self._reap()
            if self._due:
                await self._change(self._wanted)
            if self._spec is None:
                return
            now = asyncio.get_running_loop().time()
            self._holds.look(now)
            if not self._running and now < self._next_try:
                return
            try:
                if not self._running:
                    await self._come_up(self._spec)
                await self._take_figures(now)
                if self._turned:
                    await self._own_what_is_ours()
            except OperatorError as error:
                self._on_loss(error, now)
            self._judge(now)

    def _judge(self, now: float) -> None:
        facts = Facts(self._running, self._watch.there, self._figures, self._ipvs.lacking)
        if not self._outlook.on_look(facts, now):
            return
        if self._outlook.doubts:
            self._emit(told.StateSyncCuts(self._in_words(self._outlook.doubts)))
        else:
            self._emit(told.StateSyncKeeps(self._figures.own))

    def _in_words(self, doubts: Iterable[Doubt]) -> str:
        return "; ".join(self._words(doubts))

    def _words(self, doubts: Iterable[Doubt]) -> Iterator[str]:
        for doubt in doubts:
            absent = doubt is Doubt.ABSENT and self._reason
            yield f"{doubt}: {self._reason}" if absent else str(doubt)

    async def stop(self) -> None:
        """Stop our conntrackd for a clean stop; an external one is let be."""
        async with self._changing:
            if self._spec is None or not self._spec.external:
                await self._end()
            self._spec = self._wanted = None

    async def _change(self, spec: StateSyncSpec | None) -> None:
        if spec is None or spec.external:
            await self._end()
        self._spec, self._due = spec, False
        self._control = Conntrackd(Path(self._paths.socket))
        if spec is not None and spec.external:
            self._control = Conntrackd(Path(spec.socket))
        self._watch, self._outlook = PeerWatch(), Outlook()
        self._running = self._lost = False

    async def _come_up(self, spec: StateSyncSpec) -> None:
        if spec.external:
            how = "external"
        else:
            how = await self._start(spec)
        self._reported = self._figures = await self._control.figures()
        self._running, self._lost, self._reason = True, False, ""
        self._pause = PAUSES[0]
        self._watch = PeerWatch()
        self._emit(told.StateSyncStarted(how, _link_text(spec)))
        await self._own_what_is_ours()
        # What the peer told while there was nobody to hear it.
        await self._control.ask(Request.ASK_PEER)

    async def _own_what_is_ours(self) -> None:
        self._turned = False
        if self._active is not None:
            # At its start conntrackd takes all of the kernel's table as own.
            await self._control.ask(Request.FLUSH_OWN)
        if self._active:
            await self._control.ask(Request.RESYNC)
        if self._active is not False:
            await self._control.ask(Request.SEND_BULK)

    async def _start(self, spec: StateSyncSpec) -> str:
        text = render(link_of(spec), self._paths, kernel.entry_limit())
        await self._kill_stuck()
        if self._control.process():
            if _read(self._config) == text:
                return "adopted"
            await self._end()
        if self._child:
            # So many wait for an answer already that it takes no more, and has its port still.
            reason = f"conntrackd at {self._paths.socket}: it does not answer"
            raise OperatorError(reason, status=ExitStatus.KERNEL)
        # A killed one leaves its lock, and no other would start.
        Path(self._paths.lock).unlink(missing_ok=True)  # noqa: ASYNC240 - a file in memory
        self._config.write_text(text, encoding="ascii")
        # A vfork, some milliseconds: not on the loop all the same.
        self._child = await asyncio.to_thread(self._launch, self._config, self._log)
        await self._answering(self._child)
        kernel.calm(self._child)
        return "started"

    async def _kill_stuck(self) -> None:
        """Kill one that has not answered for too long: it would not end by itself."""
        process = self._child or self._control.process()
        now = asyncio.get_running_loop().time()
        if not (process and self._lost and now - self._lost_at >= STUCK):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIME):
                while self._child or self._control.process():
                    await asyncio.sleep(POLL)
                    self._reap()

    def _reap(self) -> None:
        if self._child and kernel.ended(self._child):
            self._child = 0

    async def _answering(self, child: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIME):
                while self._child:
                    # It listens for a moment even where it cannot start.
                    if self._control.process() == child:
                        with contextlib.suppress(OperatorError):
                            await self._control.figures()
                            return
                    await asyncio.sleep(POLL)
                    self._reap()
        if self._child:
            os.kill(child, signal.SIGKILL)
        # The first complaint is the cause of the others.
        said = [line for line in _read(self._log).splitlines() if "[notice]" not in line]
        reason = said[0].rpartition("] ")[2] if said else "it says nothing"
        raise OperatorError(f"conntrackd does not start: {reason}", status=ExitStatus.KERNEL)

    async def _end(self) -> None:
        """End the conntrackd of the run directory where one runs."""
        control = Conntrackd(Path(self._paths.socket))
        process = control.process()
        if not process:
            return
        with contextlib.suppress(OperatorError):
            await control.ask(Request.KILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIME):
                while control.process():  # noqa: ASYNC110 - no news come of a process not our child
                    await asyncio.sleep(POLL)
        self._reap()
        self._running = False
        self._emit(told.StateSyncStopped())

    def _on_loss(self, error: OperatorError, now: float) -> None:
        self._running = False
        self._reason = error.message
        self._next_try = now + self._pause
        if not self._lost:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
            self._emit(told.StateSyncLost(reason, f"in {format_duration(self._pause)}"))
            self._lost_at = now
        self._lost = True
        self._pause = min(2 * self._pause, PAUSES[1])

    async def _take_figures(self, now: float) -> None:
        figures = self._figures = await self._control.figures()
        self._looked = now
        news = self._watch.on_figures(figures, now)
        if news is True:
            self._emit(told.StateSyncPeerFound(figures.own))
            # It may be made anew, or have missed more than is kept to be sent again.
            await self._own_what_is_ours()
        elif news is False:
            self._emit(told.StateSyncPeerLost(format_duration(PEER_PATIENCE), figures.own))
        self._report(figures, now)
        if now >= self._next_refresh:
            await self._refresh(now)
        if not (self._spec is None or self._spec.external):
            _shorten(self._log)

    async def _refresh(self, now: float) -> None:
        """Let the timeouts of our entries in the peer's kernel begin anew.

        Packets renew them here only, and what an idle peer holds would be gone at a fail-over.
        """
        if self._next_refresh and self._watch.there and self._active is not False:
            await self._control.ask(Request.SEND_BULK)
        self._next_refresh = now + refresh_pause(self._figures.own, kernel.shortest_timeout())

    def _report(self, figures: Figures, now: float) -> None:
        before = self._reported
        grown = (
            figures.failed - before.failed,
            figures.overruns - before.overruns,
            figures.errors - before.errors,
        )
        if any(number > 0 for number in grown) and now - self._reported_at >= QUIET:
            self._emit(told.StateSyncTroubled(*grown))
            self._reported, self._reported_at = figures, now


def link_of(spec: StateSyncSpec) -> Link:
    """Return the way to the peer."""
    assert spec.address is not None
    return Link(spec.interface, spec.address, spec.peer, spec.group, spec.port)


def _tristate(known: bool | None) -> str:
    return "unknown" if known is None else "yes" if known else "no"


def _link_text(spec: StateSyncSpec) -> str:
    if spec.external:
        return spec.socket
    assert spec.address is not None
    other = spec.peer or spec.group
    assert other is not None
    return f"{spec.interface} {format_address(spec.address)} to {format_address(other)}"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LOG_LIMIT)
    except OSError:
        return ""


def _shorten(log: Path) -> None:
    """Begin the log anew where it has grown beyond its limit; conntrackd appends to it."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_LIMIT:
            log.write_bytes(b"")
