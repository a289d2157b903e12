"""Has packets without a connection held while a take-over is under way, before addresses move."""

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
        self._switch: HoldSwitch | None = None
        self._begun = -inf

    def configure(self, seconds: float) -> None:
        """Hold for so many *seconds* from now on, 0 for not at all."""
        self._seconds = seconds
        if not seconds:
            self.close()

    def begin(self, now: float) -> None:
        """Begin a hold; like an address it costs some ten microseconds."""
        if not self._seconds or now - self._begun < REST:
            return
        self._begun = now
        try:
            if self._switch is None:
                self._switch = HoldSwitch()
            self._switch.turn_on(self._seconds)
        except OperatorError as error:
            self._tell(UpkeepFailed(error.message, error.hint))

    def close(self) -> None:
        """Let go of the kernel; a hold ends by itself."""
        if self._switch is not None:
            self._switch.close()
            self._switch = None
