"""Sends announcements: one socket an interface, opened when it is first needed."""

from collections.abc import Callable, Iterable
from typing import Final, final

from lvskeeper.errors import OperatorError
from lvskeeper.kernel.neighbours import Announcer, NoNeighboursError
from lvskeeper.kernel.vrrp_socket import find_interface
from lvskeeper.vrrp.announce import Announcement
from lvskeeper.vrrp.types import InstanceKey


@final
class Crier:
    """*on_failure* is told of an interface on which it fails, once until it works or changes."""

    def __init__(self, on_failure: Callable[[InstanceKey, str, str], None]) -> None:
        """Make it; *on_failure* gets one of the instances, the interface and the reason."""
        self._on_failure: Final = on_failure
        self._announcers: dict[str, Announcer | None] = {}
        """Nothing for an interface without neighbours, such as the loopback."""
        self._told: dict[str, str] = {}

    def announce(self, announcements: Iterable[Announcement]) -> None:
        """Send *announcements* without waiting."""
        by_device: dict[str, list[Announcement]] = {}
        for one in announcements:
            by_device.setdefault(one.place.interface, []).append(one)
        for device, those in by_device.items():
            reason = self._announce_on(device, those)
            if not reason:
                self._told.pop(device, None)
            elif self._told.get(device) != reason:
                self._told[device] = reason
                self._on_failure(those[0].key, device, reason)

    def _announce_on(self, device: str, announcements: list[Announcement]) -> str:
        """Send what is for *device*; return what was in the way."""
        try:
            announcer = self._announcer(device)
            if announcer is None:
                return ""
            unsent = announcer.announce([each.place.address for each in announcements])
        except OperatorError as error:
            self.forget(device)
            return error.message
        return str(unsent[0]) if unsent else ""

    def _announcer(self, device: str) -> Announcer | None:
        if device not in self._announcers:
            interface = find_interface(device)
            try:
                self._announcers[device] = Announcer(interface)
            except NoNeighboursError:
                self._announcers[device] = None
        return self._announcers[device]

    def forget(self, device: str) -> None:
        """Open *device* anew for the next announcement: it is gone, or another one now."""
        announcer = self._announcers.pop(device, None)
        if announcer is not None:
            announcer.close()

    def close(self) -> None:
        """Close all sockets."""
        for device in [*self._announcers]:
            self.forget(device)
