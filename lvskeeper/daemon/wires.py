"""The sockets of the router role: for each interface and family a pair that hears and speaks."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.daemon.seat import Seat, WireKey
from lvskeeper.errors import OperatorError
from lvskeeper.kernel.vrrp_socket import (
    InterfaceGoneError,
    Membership,
    Receiver,
    Sender,
    SignedSender,
    find_interface,
)
from lvskeeper.units import Address
from lvskeeper.vrrp.packet import AH, VRRP


@final
@dataclass(frozen=True, slots=True)
class Need:
    """What the instances on a wire need of it."""

    groups: tuple[Address, ...] = ()
    plain: bool = False
    signed: bool = False
    below: str = ""
    """The interface below a VMAC, where the groups have to be joined too."""


@final
class _Wire:
    """Open sockets on one interface for one family."""

    def __init__(self, key: WireKey, need: Need) -> None:
        self.need: Final = need
        interface = find_interface(key.device) if key.device else None
        with contextlib.ExitStack() as undo:
            enter = undo.enter_context
            self.receivers: Final[list[Receiver]] = []
            self.sender: Final = enter(Sender(interface, key.family))
            self.signed: Final = enter(SignedSender(interface)) if need.signed else None
            protocols = ((VRRP, need.plain), (AH, need.signed))
            for protocol in (number for number, needed in protocols if needed):
                receiver = Receiver(interface, key.family, protocol=protocol, groups=need.groups)
                self.receivers.append(enter(receiver))
            if need.below:
                enter(Membership(find_interface(need.below), key.family, need.groups))
            self._stack: Final = undo.pop_all()

    def present(self) -> bool:
        """Tell whether the interface is still the one that the sockets are bound to."""
        return self.sender.present()

    def close(self) -> None:
        self._stack.close()


@final
class Wires:
    """Keeps the sockets that the instances need; what cannot be opened is tried again."""

    def __init__(
        self,
        on_readable: Callable[[WireKey, Receiver], None],
        on_failure: Callable[[WireKey, OperatorError], None],
    ) -> None:
        self._on_readable = on_readable
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._needs: dict[WireKey, Need] = {}
        self._wires: dict[WireKey, _Wire] = {}
        self.failures: Final[dict[WireKey, OperatorError]] = {}
        """Why a wire whose interface is there cannot be opened."""

    def replace(self, seats: Iterable[Seat]) -> None:
        """Have the sockets that *seats* need, and no others."""
        below: dict[WireKey, str] = {}
        groups: dict[WireKey, set[Address]] = {}
        kinds: dict[WireKey, set[bool]] = {}
        for seat in seats:
            key = seat.wire
            groups.setdefault(key, set()).update(seat.groups)
            if key.device != seat.key.interface:
                below[key] = seat.key.interface
            kinds.setdefault(key, set()).add(seat.signed)
        self._needs = {
            key: Need(
                tuple(sorted(found)),
                plain=False in kinds[key],
                signed=True in kinds[key],
                below=below.get(key, ""),
            )
            for key, found in groups.items()
        }
        for key in [*self._wires]:
            if self._needs.get(key) != self._wires[key].need:
                self.drop(key)
        self.repair()

    def repair(self) -> None:
        """Close the sockets of interfaces that are gone, and open those that are missing."""
        for key in [*self._wires]:
            if not self._wires[key].present():
                self.drop(key)
        for key, need in self._needs.items():
            if key not in self._wires:
                self._open(key, need)

    def _open(self, key: WireKey, need: Need) -> None:
        try:
            wire = self._wires[key] = _Wire(key, need)
        except InterfaceGoneError:
            self.failures.pop(key, None)  # told as a missing link
            return
        except OperatorError as error:
            known = self.failures.get(key)
            self.failures[key] = error
            if known is None or known.message != error.message:
                self._on_failure(key, error)
            return
        self.failures.pop(key, None)
        for receiver in wire.receivers:
            self._loop.add_reader(receiver.fileno(), self._on_readable, key, receiver)

    def drop(self, key: WireKey) -> None:
        """Close the sockets of a wire; :meth:`repair` opens them anew."""
        wire = self._wires.pop(key, None)
        if wire is None:
            return
        for receiver in wire.receivers:
            self._loop.remove_reader(receiver.fileno())
        wire.close()

    def renew(self, keys: Collection[WireKey]) -> None:
        """Open the sockets of *keys* anew.

        With an MTU too small for IP the kernel forgets which groups an interface has joined, and
        does not remember them when it is greater again.
        """
        for key in keys:
            self.drop(key)
        if keys:
            self.repair()

    def receivers(self) -> list[tuple[WireKey, Receiver]]:
        """Return all open receivers."""
        return [(key, one) for key, wire in self._wires.items() for one in wire.receivers]

    def send(self, seat: Seat, priority: int, wall: float) -> None:
        """Send an advert to all destinations of *seat*; raise :class:`OperatorError`.

        A unicast peer that cannot be reached does not keep it from the others.
        """
        key = seat.wire
        wire = self._wires.get(key)
        if wire is None:
            raise InterfaceGoneError(key.device)
        failure: OperatorError | None = None
        for destination, message in seat.messages(priority, wall):
            try:
                if wire.signed is not None and seat.signed:
                    wire.signed.send(message)
                else:
                    wire.sender.send(message, seat.source, destination, seat.ttl)
            except OperatorError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Close all sockets."""
        for key in [*self._wires]:
            self.drop(key)
        self._needs.clear()
