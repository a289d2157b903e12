"""Has packets without a connection held while a take-over is under way."""

import asyncio
import contextlib
from collections.abc import Callable
from math import inf
from typing import Final, final

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.hold_switch import HoldSwitch
from lvskeeper.observe.events import Event, UpkeepFailed

REST: Final = 0.1
"""Seconds in which a second take-over needs no second hold: sync groups have many instances."""


@final
class HoldGuard:
    """A failure is told, and VRRP goes on without."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._seconds = 0.0
        self._begun = -inf

    def configure(self, seconds: float) -> None:
        """Hold for so many *seconds* from now on, 0 for not at all."""
        self._seconds = seconds

    def begin(self, now: float) -> None:
        """Begin a hold, beside the loop: it is there when the first packets come.

        The kernel makes a transaction wait for one of the director's: 60 ms with 5,000 services.
        """
        if not self._seconds or now - self._begun < REST:
            return
        self._begun = now
        turned = asyncio.get_running_loop().run_in_executor(None, _turn_on, self._seconds)
        turned.add_done_callback(self._on_turned)

    def _on_turned(self, turned: asyncio.Future[None]) -> None:
        if turned.cancelled():
            return
        match turned.exception():
            case None:
                pass
            case OperatorError() as error:
                self._tell(UpkeepFailed(error.message, error.hint))
            case error:
                raise error


def _turn_on(seconds: float) -> None:
    with contextlib.closing(HoldSwitch()) as switch:
        switch.turn_on(seconds)
