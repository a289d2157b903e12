"""Addresses, routes, rules and links of the kernel: read and changed.

The kernel does rtnetlink work within the send, so these calls are synchronous. With up to a few
hundred addresses on an interface each costs 10 to 25 microseconds, to add, refresh, list or delete;
the kernel searches a list for each, so with 4,000 it is a hundred and more. Nothing here keeps
state of the kernel's.
"""

import errno
import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, TypeVar, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.wire import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attribute,
    message,
    messages,
)
from lvskeeper.kernel.netlink import (
    Channel,
    NetlinkError,
    NetlinkLostError,
    SocketFactory,
    open_route_socket,
)
from lvskeeper.kernel.rtnetlink_changes import (
    Change,
    DeleteGroup,
    DeleteLink,
    SetGroup,
    device_of,
    hint_for,
    is_settled,
)
from lvskeeper.kernel.rtnetlink_codec import (
    AF_INET,
    AF_INET6,
    IFADDR,
    IFINFO,
    NUMBER,
    RTA_DST,
    RTA_TABLE,
    RTMSG,
    RULE,
    Link,
    PresentAddress,
    PresentRoute,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
    route_interface,
)
from lvskeeper.kernel.rtnetlink_encode import (
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    encode,
)
from lvskeeper.units import Address
from lvskeeper.vrrp.holdings import MAIN_TABLE, Rule

DUMPS: Final = 4
"""How often a dump is begun again that changes overtook."""
CONDEMNED: Final = 0x6C76736B
"""Group of the devices that are about to be deleted; any number that nobody else uses."""

_RTM_GETLINK: Final = 18
_RTM_GETADDR: Final = 22
_RTM_GETROUTE: Final = 26
_RTM_GETRULE: Final = 34
_NLM_F_DUMP_INTR: Final = 0x10
_IFLA_EXT_MASK: Final = 29
_SKIP_STATISTICS: Final = NUMBER.pack(8)

_ABSENT: Final = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT})
"""No such table, or no such address family in this kernel."""

T = TypeVar("T")
Decoder: TypeAlias = Callable[[bytes, int, int], T | None]


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that the kernel did not make."""

    change: Change
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"cannot {self.change}: {self.reason}"


@final
class RouteClient:
    """Reads and changes addresses, routes, rules and links.

    It is for one thread, and works on the network namespace of that thread. Raises
    :class:`OperatorError` (KERNEL) where the kernel does not answer.
    """

    def __init__(self, factory: SocketFactory = open_route_socket) -> None:
        self._channel: Final = Channel(factory)

    def close(self) -> None:
        """Close the socket; the next call opens another."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def links(self) -> tuple[Link, ...]:
        """Return all interfaces."""
        payload = IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, _SKIP_STATISTICS)
        return self._dump(_RTM_GETLINK, payload, RTM_NEWLINK, decode_link)

    def addresses(self) -> tuple[PresentAddress, ...]:
        """Return all addresses of both families."""
        payload = IFADDR.pack(0, 0, 0, 0, 0)
        return self._dump(_RTM_GETADDR, payload, RTM_NEWADDR, decode_address)

    def routes(self, table: int = MAIN_TABLE, protocol: int = 0) -> tuple[PresentRoute, ...]:
        """Return the routes of both families in *table*, of one *protocol* where it is not 0.

        With a protocol the kernel picks them, so that a table of a million others is not copied.
        """
        found: list[PresentRoute] = []
        for family in (AF_INET, AF_INET6):
            header = RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
            payload = header + attribute(RTA_TABLE, NUMBER.pack(table))
            found += (
                route
                for route in self._dump(_RTM_GETROUTE, payload, RTM_NEWROUTE, decode_route)
                # Kernels before 4.20 do not pick
                if route.table == table
                and protocol in {0, route.protocol}
                and len(route.destination) == (16 if family == AF_INET6 else 4)
            )
        return tuple(found)

    def way_out(self, address: Address) -> int:
        """Return the index of the interface by which packets to *address* leave; 0 for none."""
        family = AF_INET if len(address) == 4 else AF_INET6
        sequence = self._channel.sequence()
        header = RTMSG.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
        payload = header + attribute(RTA_DST, address)
        try:
            parts = self._channel.call(
                message(_RTM_GETROUTE, NLM_F_REQUEST, sequence, payload), sequence
            )
        except NetlinkLostError as error:
            raise _silent(error) from error
        except NetlinkError:
            return 0
        found = [route_interface(*part) for part in parts]
        return found[0] if found else 0

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of both families, in the form of :func:`~.rtnetlink_codec.comparable`.

        Those that say more than a ``Rule`` can are left out.
        """
        found: list[Rule] = []
        for family in (AF_INET, AF_INET6):
            payload = RULE.pack(family, 0, 0, 0, 0, 0, 0)
            found += self._dump(_RTM_GETRULE, payload, RTM_NEWRULE, decode_rule)
        return tuple(dict.fromkeys(found))

    def apply(self, changes: Sequence[Change]) -> tuple[Refusal, ...]:
        """Make *changes* in their order with one send; return those that were refused.

        Each is made or not for itself. What is there already is not added, what is gone already is
        not deleted, and neither is a refusal. The devices of addresses and routes have to be there
        before the call; those of ``SetLink`` may be made in it.
        """
        if not changes:
            return ()
        try:
            return self._apply(changes)
        except NetlinkLostError:
            pass  # what became of it is unknown, and doing it twice is harmless
        try:
            return self._apply(changes)
        except NetlinkLostError as error:
            raise _silent(error) from error

    def delete_links(self, names: Collection[str]) -> tuple[Refusal, ...]:
        """Delete virtual devices at once; those that are gone are no refusals.

        One after another the kernel waits 20 milliseconds and more for each of them.
        """
        if len(names) <= 1:
            return self.apply([DeleteLink(name) for name in names])
        refusals = self.apply([SetGroup(name, CONDEMNED) for name in names])
        rest = [each for each in refusals if each.reason != os.strerror(errno.ENODEV)]
        return (*rest, *self.apply([DeleteGroup(CONDEMNED)]))

    def _apply(self, changes: Sequence[Change]) -> tuple[Refusal, ...]:
        indices: dict[str, int] = {"": 0}
        refused: dict[int, int] = {}
        sent: dict[int, int] = {}
        for place, change in enumerate(changes):
            device = device_of(change)
            if device not in indices:
                indices[device] = index_of(device)
            if device and not indices[device]:
                refused[place] = errno.ENODEV
            else:
                sent[self._channel.sequence()] = place
        if sent:
            last = next(reversed(sent))
            requests = b"".join(
                encode(
                    changes[place],
                    indices[device_of(changes[place])],
                    sequence,
                    acknowledge=sequence == last,
                )
                for sequence, place in sent.items()
            )
            for sequence, number in self._channel.batch(requests, last).items():
                if sequence in sent:
                    refused[sent[sequence]] = number
        return tuple(
            Refusal(changes[place], os.strerror(number), hint_for(changes[place], number))
            for place, number in sorted(refused.items())
            if not is_settled(changes[place], number)
        )

    def _dump(self, request: int, payload: bytes, kind: int, decode: Decoder[T]) -> tuple[T, ...]:
        for _ in range(DUMPS):
            sequence = self._channel.sequence()
            data = message(request, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload)
            try:
                datagrams = self._channel.dump_datagrams(data, sequence)
            except NetlinkLostError as error:
                raise _silent(error) from error
            except NetlinkError as error:
                if error.number in _ABSENT:
                    return ()
                raise OperatorError(
                    f"the kernel does not list what it routes: {error}", status=ExitStatus.KERNEL
                ) from error
            found = _decode_dump(datagrams, sequence, kind, decode)
            if found is not None:
                return found
        raise OperatorError(
            f"links, addresses or routes changed during each of {DUMPS} attempts to list them",
            status=ExitStatus.KERNEL,
            hint="look for a program that changes them all the time",
        )


def _decode_dump(
    datagrams: Sequence[bytes], sequence: int, kind: int, decode: Decoder[T]
) -> tuple[T, ...] | None:
    """Return what a dump holds; none where it was overtaken by a change."""
    found: list[T] = []
    for data in datagrams:
        for this, number, start, end in messages(data):
            if number != sequence:
                continue
            if HEADER.unpack_from(data, start)[2] & _NLM_F_DUMP_INTR:
                return None
            if this == kind and (value := decode(data, start, end)) is not None:
                found.append(value)
    return tuple(found)


def index_of(name: str) -> int:
    """Return the index of the interface *name* in the namespace of this thread; 0 if none is."""
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        return 0


def _silent(error: NetlinkLostError) -> OperatorError:
    return OperatorError(f"the kernel does not answer: {error}", status=ExitStatus.KERNEL)
