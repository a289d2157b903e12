"""News of links, addresses, routes and rules, as the kernel tells them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from lvskeeper.ipvs.wire import HEADER, messages
from lvskeeper.kernel.monitor import Monitor, Overrun
from lvskeeper.kernel.netlink import NETLINK_ROUTE
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
from lvskeeper.kernel.sockets import set_receive_buffer
from lvskeeper.vrrp.holdings import Rule

BUFFER: Final = 4 << 20
"""Bytes of news that may wait: some 5,000 changes."""

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


Told: TypeAlias = LinkNews | AddressNews | RouteNews | RuleNews
News: TypeAlias = Told | Overrun


@final
class RouteMonitor(Monitor[Told]):
    """Hears of changes in the network namespace of the thread that makes it.

    Of routes it tells only those with one of *protocols* (``RTPROT_*``), and any that replaces
    another; without *protocols* it tells of no routes and no rules. Raises as
    :class:`Monitor` does.
    """

    def __init__(self, *, protocols: Collection[int] = (), buffer: int = BUFFER) -> None:
        self._protocols: Final = frozenset(protocols)
        groups = _LINKS_AND_ADDRESSES + (_ROUTES_AND_RULES if protocols else ())
        super().__init__(
            "links and addresses",
            NETLINK_ROUTE,
            groups,
            lambda receiver: set_receive_buffer(receiver, buffer),
        )

    def _read(self, data: bytes) -> Iterator[Told]:
        for kind, _, start, end in messages(data):
            if kind in {RTM_NEWLINK, RTM_DELLINK}:
                if link := decode_link(data, start, end):
                    yield LinkNews(link, kind == RTM_DELLINK)
            elif kind in {RTM_NEWADDR, RTM_DELADDR}:
                if address := decode_address(data, start, end):
                    port = HEADER.unpack_from(data, start)[4]
                    yield AddressNews(address, kind == RTM_DELADDR, port)
            elif kind in {RTM_NEWROUTE, RTM_DELROUTE}:
                replaces = bool(HEADER.unpack_from(data, start)[2] & NLM_F_REPLACE)
                # Most are foreign, perhaps of a daemon that has a million: a look tells them
                if not replaces and protocol_of_route(data, start, end) not in self._protocols:
                    continue
                if route := decode_route(data, start, end):
                    yield RouteNews(route, kind == RTM_DELROUTE, replaces)
            elif kind in {RTM_NEWRULE, RTM_DELRULE} and (rule := decode_rule(data, start, end)):
                yield RuleNews(rule, kind == RTM_DELRULE)
