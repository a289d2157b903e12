"""Gratuitous ARP and unsolicited neighbour advertisements over a packet socket."""

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel.vrrp_socket import Interface, InterfaceGoneError
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp.announcement_frames import gratuitous_arp, unsolicited_advertisement

_ARPHRD_ETHER: Final = 1
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})
_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN})
"""What holds for the frames after it as well."""


@final
class NoNeighboursError(OperatorError):
    """The interface has no MAC addresses, so there is nobody to tell."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"interface {name} is no Ethernet interface: it has no neighbours to tell",
            status=ExitStatus.KERNEL,
            hint="put the virtual addresses on an Ethernet interface",
        )


@final
@dataclass(frozen=True, slots=True)
class Unsent:
    """An address that the neighbours were not told of."""

    address: Address
    reason: str

    def __str__(self) -> str:
        return f"{format_address(self.address)} not announced: {self.reason}"


@final
class Announcer:
    """Tells the neighbours on an Ethernet interface which addresses are here.

    It speaks with the MAC address that the interface has at that moment. Raises
    :class:`NoNeighboursError` for an interface without MAC addresses, :class:`InterfaceGoneError`
    for one that is gone.
    """

    def __init__(self, interface: Interface) -> None:
        self.interface: Final = interface
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            # protocol 0: it receives nothing
            self._socket: Final = socket.socket(socket.AF_PACKET, kind, 0)
        except OSError as error:
            raise OperatorError(
                f"cannot announce addresses on {interface.name}: {error.strerror}",
                status=ExitStatus.PERMISSION
                if isinstance(error, PermissionError)
                else ExitStatus.KERNEL,
                hint="run as root, or with CAP_NET_RAW",
            ) from error
        self._forwarding: int | None = None
        try:
            self._bind()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        name = self.interface.name
        try:
            self._socket.bind((name, 0))
        except OSError as error:
            raise InterfaceGoneError(name) from error
        if self._socket.getsockname()[3] != _ARPHRD_ETHER:
            raise NoNeighboursError(name)
        # Kept open: it names this interface, in this namespace, for good
        path = Path("/proc/sys/net/ipv6/conf", name, "forwarding")
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            self._forwarding = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def announce(self, addresses: Sequence[Address]) -> tuple[Unsent, ...]:
        """Announce *addresses* in their order, without waiting; return those that were not sent.

        Raises :class:`InterfaceGoneError` where the interface is gone.
        """
        try:
            mac = self._socket.getsockname()[4]
            router = self._router() if any(len(address) == 16 for address in addresses) else False
        except OSError as error:
            raise InterfaceGoneError(self.interface.name) from error
        if not mac:
            raise InterfaceGoneError(self.interface.name)
        unsent: list[Unsent] = []
        for place, address in enumerate(addresses):
            if len(address) == 16:
                frame = unsolicited_advertisement(address, mac, router=router)
            else:
                frame = gratuitous_arp(address, mac)
            try:
                self._socket.send(frame)
            except OSError as error:
                number = error.errno or 0
                if number in _GONE:
                    raise InterfaceGoneError(self.interface.name) from error
                reason = os.strerror(number)
                if number in _FULL:
                    unsent += (Unsent(rest, reason) for rest in addresses[place:])
                    break
                unsent.append(Unsent(address, reason))
        return tuple(unsent)

    def _router(self) -> bool:
        """Tell whether the interface forwards, which the neighbours have to know (RFC 4861 4.4)."""
        return self._forwarding is not None and os.pread(self._forwarding, 8, 0).strip() != b"0"

    def close(self) -> None:
        """Give the descriptors back; twice is harmless."""
        self._socket.close()
        if self._forwarding is not None:
            os.close(self._forwarding)
            self._forwarding = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
