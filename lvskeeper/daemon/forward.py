"""Lets the supervisor hear what a role tells, so that one place knows what all of them told."""

import asyncio
import time
from typing import Final, final

import msgspec

from lvskeeper.daemon.channel import Channel, Told
from lvskeeper.observe.diary import ToldEvent
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import LEVEL_NAMES, Emit, event_fields

MAX_KEPT: Final = 512
"""Events that wait for the channel; more are lost to the supervisor, though not to the log."""
PAUSE: Final = 0.1
"""Seconds until a channel that was full is tried again."""


def told_event(event: Event) -> ToldEvent:
    """Return *event* as it is told now."""
    return ToldEvent(
        time.time(),
        time.monotonic(),
        LEVEL_NAMES[event.LEVEL],
        event.NAME,
        msgspec.Raw(msgspec.json.encode(event_fields(event))),
    )


@final
class Forwarder:
    """Tells each event by *emit*, and to the supervisor as soon as the loop has time.

    What the role told goes ahead of its next message, unless the channel is full.
    """

    def __init__(self, channel: Channel, emit: Emit) -> None:
        self._channel = channel
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._kept: list[ToldEvent] = []
        self._lost = 0
        self._pushing: asyncio.Handle | None = None
        channel.ahead = self._push

    def tell(self, event: Event) -> None:
        """Tell *event*; it never waits."""
        self._emit(event)
        if len(self._kept) >= MAX_KEPT:
            self._lost += 1
            return
        self._kept.append(told_event(event))
        if self._pushing is None:
            self._pushing = self._loop.call_soon(self._push)

    def _push(self) -> None:
        if self._pushing is None:
            return
        self._pushing.cancel()
        self._pushing = None
        if self._channel.offer(Told(tuple(self._kept), self._lost)):
            self._kept.clear()
            self._lost = 0
        else:
            self._pushing = self._loop.call_later(PAUSE, self._push)
