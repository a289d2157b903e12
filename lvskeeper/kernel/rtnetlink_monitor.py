"""News of links, addresses, routes and rules, as the kernel tells them."""

import errno
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.ipvs.wire import HEADER, messages
from lvskeeper.kernel.netlink import DATAGRAM, NETLINK_ROUTE, SO_RCVBUFFORCE
from lvskeeper.kernel.rtnetlink_codec import (
    Link,
    PresentAddress,
    PresentRoute,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
    protocol_of_route,
)
from lvskeeper.kernel.rtnetlink_encode import (
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)
from lvskeeper.vrrp.holdings import Rule

BUFFER: Final = 4 << 20
"""Bytes of news that may wait: some 5,000 changes."""
DISCARDED: Final = 1 << 16
"""Datagrams thrown away at once after an overrun; the buffer holds fewer."""
LIMIT: Final = 256
"""Datagrams that are read at once unless the caller says otherwise."""

_LINKS_AND_ADDRESSES: Final = (1, 5, 9)
_ROUTES_AND_RULES: Final = (7, 11, 8, 19)
"""``RTNLGRP_*``."""


@final
@dataclass(frozen=True, slots=True)
class LinkNews:
    """A link as it is now, or as it was when it went."""

    link: Link
    gone: bool = False


@final
@dataclass(frozen=True, slots=True)
class AddressNews:
    """An address as it is now, or as it was when it went."""

    present: PresentAddress
    gone: bool = False
    port: int = 0
    """Netlink port of who asked for it, usually its process id; 0 is the kernel itself."""


@final
@dataclass(frozen=True, slots=True)
class RouteNews:
    """A route as it is now, or as it was when it went."""

    present: PresentRoute
    gone: bool = False
    replaces: bool = False
    """It came instead of a route to the same place, of which nothing else will be said."""


@final
@dataclass(frozen=True, slots=True)
class RuleNews:
    """A rule that came or went, in the form of :func:`~.rtnetlink_codec.comparable`."""

    rule: Rule
    gone: bool = False


@final
@dataclass(frozen=True, slots=True)
class Overrun:
    """News were lost: read everything anew. What was told before it is out of date as well."""


News: TypeAlias = LinkNews | AddressNews | RouteNews | RuleNews | Overrun


@final
class RouteMonitor:
    """A socket that hears of changes in the network namespace of the thread that makes it.

    Of routes it tells only those with one of *protocols* (``RTPROT_*``), and any that replaces
    another; without *protocols* it tells of no routes and no rules. It never waits: let the loop
    watch its descriptor. Raises :class:`OperatorError` where the kernel gives no such socket.
    """

    def __init__(self, *, protocols: Collection[int] = (), buffer: int = BUFFER) -> None:
        self._protocols: Final = frozenset(protocols)
        groups = _LINKS_AND_ADDRESSES + (_ROUTES_AND_RULES if protocols else ())
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket: Final = socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self._socket.bind((0, sum(1 << (group - 1) for group in groups)))
        except OSError as error:
            raise OperatorError(
                f"cannot watch links and addresses: {error.strerror}", status=ExitStatus.KERNEL
            ) from error

    def fileno(self) -> int:
        """Return the descriptor, which is readable while there are news."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; twice is harmless."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drain(self, limit: int = LIMIT) -> list[News]:
        """Return what there is to tell, from up to *limit* datagrams, without waiting.

        After a loss all that waits is out of date: it is thrown away for one :class:`Overrun`.
        """
        news: list[News] = []
        for _ in range(limit):
            try:
                data, (port, _groups) = self._socket.recvfrom(DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._discard()
                return [Overrun()]
            if port == 0:  # others than the kernel have nothing to tell us
                self._read(data, news)
        return news

    def _discard(self) -> None:
        for _ in range(DISCARDED):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _read(self, data: bytes, news: list[News]) -> None:
        for kind, _, start, end in messages(data):
            if kind in {RTM_NEWLINK, RTM_DELLINK}:
                if link := decode_link(data, start, end):
                    news.append(LinkNews(link, kind == RTM_DELLINK))
            elif kind in {RTM_NEWADDR, RTM_DELADDR}:
                if address := decode_address(data, start, end):
                    port = HEADER.unpack_from(data, start)[4]
                    news.append(AddressNews(address, kind == RTM_DELADDR, port))
            elif kind in {RTM_NEWROUTE, RTM_DELROUTE}:
                replaces = bool(HEADER.unpack_from(data, start)[2] & NLM_F_REPLACE)
                # Most are foreign, perhaps of a daemon that has a million: a look tells them
                if not replaces and protocol_of_route(data, start, end) not in self._protocols:
                    continue
                if route := decode_route(data, start, end):
                    news.append(RouteNews(route, kind == RTM_DELROUTE, replaces))
            elif kind in {RTM_NEWRULE, RTM_DELRULE} and (rule := decode_rule(data, start, end)):
                news.append(RuleNews(rule, kind == RTM_DELRULE))
