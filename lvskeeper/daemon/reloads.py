"""Reloads that are asked for, one after the other, and the way back from one that is unconfirmed.

A reload with a time to confirm keeps what ran before. Until somebody confirms, every further reload
stands under the same reserve: when the time is over, what was confirmed last comes back. The file
is left alone, so that the next start takes it as it is.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Applied, Loaded
from lvskeeper.daemon.questions import AskError
from lvskeeper.observe import events, order_events
from lvskeeper.observe.events import Event
from lvskeeper.observe.snapshot import MAX_LINES, ReloadView
from lvskeeper.units import format_count, format_duration

MAX_WAITING: Final = 16
"""Reloads that may wait for their turn."""

STOPPING: Final = "the daemon is about to stop"

MAX_CONFIRM: Final = 86_400.0
"""Most seconds that a reload may wait to be confirmed."""

AGAIN: Final = 10.0
"""Seconds after which a rollback that failed is tried again, unless it is confirmed meanwhile."""


@final
@dataclass(slots=True)
class ReloadOrder:
    """One reload to be done."""

    confirm: float | None = None
    """Seconds within which it is to be confirmed."""
    rollback: bool = False
    """Bring back what was confirmed last."""
    done: asyncio.Future[ReloadView] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, view: ReloadView) -> None:
        """Answer whoever waits for it; the first answer counts."""
        if not self.done.done():
            self.done.set_result(view)

    async def result(self, limit: float) -> ReloadView:
        """Return what came of it; raise :class:`AskError` after *limit* seconds."""
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(self.done)
        except TimeoutError:
            raise AskError(
                "timed_out", f"the reload was not done within {limit:g} s", "The log tells of it."
            ) from None


@final
class Reloads:
    """What the supervisor is to reload."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Make it; *wake* is called when there is something to :meth:`take`."""
        self._wake = wake
        self._waiting: deque[ReloadOrder] = deque()
        self._running: Loaded | None = None
        self._confirmed: Loaded | None = None
        """What a rollback brings back; ``None`` while nothing is unconfirmed."""
        self._timer: asyncio.TimerHandle | None = None
        self._rolling = False
        """The time to confirm is over, and what was confirmed last is about to come back."""

    @property
    def deadline(self) -> float | None:
        """When the running configuration is rolled back, on the monotonic clock."""
        return None if self._timer is None else self._timer.when()

    @property
    def running(self) -> Loaded | None:
        """The configuration that is in force."""
        return self._running

    @property
    def confirmed(self) -> Loaded | None:
        """The configuration that a rollback brings back."""
        return self._confirmed

    def want(self) -> None:
        """Ask for a reload that nobody waits for."""
        if not any(order.confirm is None and not order.rollback for order in self._waiting):
            self._put(ReloadOrder())

    def order(self, confirm: float | None) -> ReloadOrder:
        """Ask for a reload and return its order; raise :class:`AskError` where it cannot be."""
        if confirm is not None and not 0 < confirm <= MAX_CONFIRM:
            raise AskError("bad_request", f"{confirm:g} s to confirm are not between 0 and a day")
        if len(self._waiting) >= MAX_WAITING:
            raise AskError("unavailable", f"{MAX_WAITING} reloads are waiting", "Try again later.")
        order = ReloadOrder(confirm)
        self._put(order)
        return order

    def take(self) -> ReloadOrder | None:
        """Return what is to be done next."""
        return self._waiting.popleft() if self._waiting else None

    def on_applied(self, loaded: Loaded, order: ReloadOrder | None = None) -> None:
        """Hear that *loaded* runs from now on, as *order* wanted, or the start."""
        before, self._running = self._running, msgspec.structs.replace(loaded, report="")
        if order is None:
            return
        if order.rollback:
            self._forget()
        elif order.confirm is not None:
            self._confirmed = self._confirmed or before
            if not self._rolling:
                self._roll_back_after(order.confirm)

    def on_failed(self, order: ReloadOrder) -> None:
        """Hear that nothing came of *order*; a rollback is tried again."""
        if order.rollback:
            self._rolling = False
            self._roll_back_after(AGAIN)

    def confirm(self) -> None:
        """Let the running configuration stay; raise :class:`AskError` where that cannot be."""
        if self._rolling:
            raise AskError("refused", "the time is over: the old configuration is on its way back")
        if self._confirmed is None:
            raise AskError("not_found", "no reload waits to be confirmed")
        self._forget()

    def close(self) -> None:
        """Tell all who wait that nothing comes any more."""
        self._forget()
        while self._waiting:
            self._waiting.popleft().settle(ReloadView(applied=False, message=STOPPING))

    def _put(self, order: ReloadOrder) -> None:
        self._waiting.append(order)
        self._wake()

    def _roll_back_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._roll_back)

    def _roll_back(self) -> None:
        self._timer = None
        self._rolling = True
        self._waiting.appendleft(ReloadOrder(rollback=True))
        self._wake()

    def _forget(self) -> None:
        self._confirmed = None
        self._rolling = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refusal(loaded: Loaded) -> ReloadView:
    """Return the answer for a file with errors."""
    return ReloadView(
        applied=False,
        message=f"the file has {format_count(len(loaded.errors), 'error')}; nothing was changed",
        warnings=loaded.warnings[:MAX_LINES],
        errors=loaded.errors[:MAX_LINES],
    )


def success(order: ReloadOrder, loaded: Loaded, answer: Applied, took: float) -> ReloadView:
    """Return the answer for a configuration that is in the kernel."""
    done = "applied in part" if answer.refused else "applied and verified"
    return ReloadView(
        applied=True,
        message="rolled back" if order.rollback else done,
        operations=answer.operations,
        refused=answer.refused,
        virtual_servers=answer.virtual_servers,
        real_servers=answer.real_servers,
        instances=answer.instances,
        changes=answer.changes,
        took=took,
        warnings=loaded.warnings[:MAX_LINES],
        confirm_within=order.confirm,
    )


def told_of(order: ReloadOrder, answer: Applied, took: float) -> Iterator[Event]:
    """Yield the events of a configuration that is in the kernel."""
    duration = format_duration(took)
    if order.rollback:
        yield order_events.ReloadRolledBack(answer.operations, duration)
        return
    yield events.ReloadApplied(
        answer.operations, answer.virtual_servers, answer.instances, answer.refused, duration
    )
    if order.confirm is not None:
        yield order_events.ReloadUnconfirmed(format_duration(order.confirm))
