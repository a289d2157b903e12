"""Scripts of transitions: an event's scripts one after the other, and no event before the last.

:class:`~lvskeeper.daemon.scripts.ScriptRunner` keeps the order of scripts. What waits here are
whole events, so that where too many come, the scripts of the latest state are all kept.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

from lvskeeper.daemon.children import KILL_DELAY
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.scripts import (
    DROPPED,
    SCRIPT_DEADLINE,
    ScriptOutcome,
    ScriptRunner,
)

MAX_EVENTS: Final = 16
"""Events that wait for one subject. When one more comes, only the latest state is kept."""


@final
@dataclass(slots=True)
class _Event:
    scripts: deque[Script]
    facts: Mapping[str, str]
    passing: bool
    skipped: int = 0


@final
@dataclass(slots=True)
class _Subject:
    current: _Event
    waiting: deque[_Event] = field(default_factory=deque)


@final
class EventScripts:
    """A queue of events a subject. *on_script* gets the outcome of each script."""

    def __init__(
        self,
        on_script: Callable[[ScriptOutcome], None],
        *,
        deadline: float = SCRIPT_DEADLINE,
        kill_delay: float = KILL_DELAY,
    ) -> None:
        """Make queues; a script may run for *deadline* seconds."""
        self._on_script = on_script
        self._runner = ScriptRunner(self._on_done, deadline=deadline, kill_delay=kill_delay)
        self._subjects: dict[str, _Subject] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._killing = False

    def configure(self, *, secure: bool, ready: bool) -> None:
        """Go by ``enable_script_security``, and be *ready* where there are scripts."""
        self._runner.configure(secure=secure, ready=ready)

    def submit(
        self, subject: str, scripts: Sequence[Script], facts: Mapping[str, str], *, passing: bool
    ) -> None:
        """Run *scripts* after those of all earlier events of *subject*.

        A *passing* event tells of no state: of several in a row that wait, only one is kept.
        """
        if not scripts:
            return
        event = _Event(deque(scripts), facts, passing)
        if self._closed:
            self._drop(subject, event)
            return
        known = self._subjects.get(subject)
        if known is None:
            self._subjects[subject] = _Subject(event)
            self._idle.clear()
            self._next(subject)
            return
        waiting = known.waiting
        full = len(waiting) >= MAX_EVENTS
        if passing and (full or (waiting and waiting[-1].passing)):
            waiting[-1].skipped += len(scripts)
            return
        if full:
            event.skipped = sum(len(item.scripts) + item.skipped for item in waiting)
            waiting.clear()
        waiting.append(event)

    async def close(self, deadline: float) -> None:
        """Take no more events, give those that are there *deadline* seconds, then kill and drop.

        What is dropped is told with an outcome each.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._idle.wait()
        self._killing = True
        await self._runner.close(max(0.0, end - loop.time()))

    def _next(self, subject: str) -> None:
        """Start the next script of *subject*, or forget it."""
        state = self._subjects[subject]
        while True:
            while not state.current.scripts:
                if not state.waiting:
                    del self._subjects[subject]
                    if not self._subjects:
                        self._idle.set()
                    return
                state.current = state.waiting.popleft()
            if self._killing:
                self._drop(subject, state.current)
                continue
            script = state.current.scripts.popleft()
            self._runner.submit(subject, script, state.current.facts)
            return

    def _on_done(self, outcome: ScriptOutcome) -> None:
        self._tell(self._subjects[outcome.subject].current, outcome)
        self._next(outcome.subject)

    def _drop(self, subject: str, event: _Event) -> None:
        while event.scripts:
            argv = event.scripts.popleft().argv
            self._tell(event, ScriptOutcome(subject, argv, error=DROPPED))

    def _tell(self, event: _Event, outcome: ScriptOutcome) -> None:
        skipped, event.skipped = event.skipped, 0
        self._on_script(replace(outcome, skipped=outcome.skipped + skipped))
