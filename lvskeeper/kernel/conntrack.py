"""The kernel's connection tracking over netlink: its counters, and entries with a local address.

Codes are those of ``linux/netfilter/nfnetlink_conntrack.h`` and ``nfnetlink.h``. Both are of the
network namespace of the thread that makes the first call.
"""

import errno
from collections.abc import Mapping
from struct import pack
from typing import Final, NoReturn, final

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.fullnat.capacity import ConntrackStats
from lvskeeper.ipvs.types import DestKey, Family, Protocol
from lvskeeper.ipvs.wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    CodecError,
    attribute,
    messages,
    walk,
)
from lvskeeper.kernel.netlink import (
    Channel,
    KernelSocket,
    NetlinkError,
    NetlinkLostError,
    NetlinkSocket,
    SocketFactory,
)
from lvskeeper.kernel.nfnetlink import FIRST, NESTED, NETLINK_NETFILTER, attributes, request
from lvskeeper.units import NO_ADDRESS, Address

CT_GET: Final = 0x101
"""``NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET``, and so on."""
CT_DELETE: Final = 0x102
CT_GET_STATS_CPU: Final = 0x104
CT_GET_STATS: Final = 0x105

TUPLE_ORIGINAL: Final = 1
TUPLE_REPLY: Final = 2
ENTRY_ID: Final = 12
ENTRY_ZONE: Final = 18
TUPLE_IP: Final = 1
TUPLE_PROTOCOL: Final = 2
IP_SOURCE: Final = {Family.INET: 1, Family.INET6: 3}
IP_DESTINATION: Final = {Family.INET: 2, Family.INET6: 4}
"""``CTA_IP_V4_DST`` and ``CTA_IP_V6_DST``."""
PROTOCOL_NUMBER: Final = 1
SOURCE_PORT: Final = 2
DESTINATION_PORT: Final = 3
FILTER: Final = 25
FILTER_REPLY_FLAGS: Final = 2
FILTER_SOURCE: Final = 1 << 0
FILTER_DESTINATION: Final = 1 << 1
"""``CTA_FILTER_F_CTA_IP_DST`` of the kernel's ``nf_internals.h``."""

STATS_INSERT_FAILED: Final = 9
STATS_DROP: Final = 10
STATS_EARLY_DROP: Final = 11
STATS_ENTRIES: Final = 1
STATS_LIMIT: Final = 2


def open_netfilter_socket() -> NetlinkSocket:
    """Return a netlink socket to this kernel's netfilter."""
    return KernelSocket(protocol=NETLINK_NETFILTER)


@final
class ConntrackClient:
    """One kernel's connection tracking.

    Every method raises :class:`~lvskeeper.errors.OperatorError` where the kernel refuses or does
    not answer, as one without ``nf_conntrack_netlink`` does.
    """

    def __init__(self, factory: SocketFactory = open_netfilter_socket) -> None:
        self._channel: Final = Channel(factory)

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def stats(self) -> ConntrackStats:
        """Return the counters, summed over the processors; costs some 250 microseconds."""
        try:
            sequence = self._channel.sequence()
            parts = self._channel.call(request(CT_GET_STATS, 0, sequence), sequence)
            totals = _numbers(*parts[0]) if parts else {}
            sequence = self._channel.sequence()
            asked = request(CT_GET_STATS_CPU, NLM_F_DUMP, sequence)
            processors = [_numbers(*part) for part in self._channel.dump(asked, sequence)]
        except (NetlinkError, NetlinkLostError, CodecError) as error:
            _refuse("counters", error)
        failed, dropped, early = (
            sum(each.get(kind, 0) for each in processors)
            for kind in (STATS_INSERT_FAILED, STATS_DROP, STATS_EARLY_DROP)
        )
        entries, limit = totals.get(STATS_ENTRIES, 0), totals.get(STATS_LIMIT, 0)
        return ConntrackStats(entries, limit, failed, dropped, early)

    def count(self, address: Address, limit: int) -> int:
        """Return how many connections have their replies sent to *address*, *limit* at most.

        The kernel walks its table until *limit* is reached: up to 1 s a million entries, and 20 us
        for each that counts. So it is to be called in a thread, and *limit* is to be small. Where
        it does not filter (IPv6, kernels before 5.8) everything of the family is read, which takes
        ten times as long.
        """
        sequence = self._channel.sequence()
        family = Family.of(address)
        found = 0
        try:
            for data in self._channel.stream(_search(address, family, sequence), sequence):
                if bytes(address) not in data:
                    continue  # where the kernel does not filter that is most of it
                for kind, number, start, end in messages(data):
                    if number == sequence and kind not in (NLMSG_DONE, NLMSG_ERROR):
                        found += reply_destination(data, start, end, family) == address
                if found >= limit:
                    self._channel.close()  # the rest of the dump is not wanted
                    return limit
        except (NetlinkError, NetlinkLostError, CodecError) as error:
            _refuse("connections", error)
        return found

    def forget(self, protocol: Protocol, service: DestKey, server: DestKey) -> int:
        """Delete the entries of *service* that lead to *server*, and no others; return how many.

        A *service* without an address or port stands for all. It takes as long as :meth:`count`,
        and is to be called in a thread, too.
        """
        sequence = self._channel.sequence()
        family = Family.of(server.address)
        doomed: list[bytes] = []
        try:
            for data in self._channel.stream(
                _search_source(server.address, family, sequence), sequence
            ):
                if bytes(server.address) not in data:
                    continue
                for kind, number, start, end in messages(data):
                    if number == sequence and kind not in (NLMSG_DONE, NLMSG_ERROR):
                        found = attributes(data, start + FIRST, end)
                        if _leads(found, family, protocol, service, server):
                            doomed.append(_naming(found))
            return sum(self._delete(body, family) for body in doomed)
        except (NetlinkError, NetlinkLostError, CodecError) as error:
            _refuse("connections", error)

    def _delete(self, body: bytes, family: Family) -> bool:
        """Delete one entry; return false where it has ended meanwhile."""
        sequence = self._channel.sequence()
        try:
            self._channel.call(request(CT_DELETE, NLM_F_ACK, sequence, family, body), sequence)
        except NetlinkError as error:
            if error.number == errno.ENOENT:
                return False
            raise
        return True


def _leads(
    found: Mapping[int, bytes],
    family: Family,
    protocol: Protocol,
    service: DestKey,
    server: DestKey,
) -> bool:
    """Return whether an entry is one of *service* whose replies come from *server*."""
    if TUPLE_ORIGINAL not in found or TUPLE_REPLY not in found:
        return False
    _, asked, number = _ends(found[TUPLE_ORIGINAL], family)
    answering, _, _ = _ends(found[TUPLE_REPLY], family)
    return (
        number == protocol
        and answering == server
        and service.address in (NO_ADDRESS, asked.address)
        and service.port in (0, asked.port)
    )


def _ends(data: bytes, family: Family) -> tuple[DestKey, DestKey, int]:
    """Return source and destination of a tuple, and the number of its protocol."""
    parts = attributes(data, 0, len(data))
    hosts = attributes(parts.get(TUPLE_IP, b""), 0, len(parts.get(TUPLE_IP, b"")))
    ports = attributes(parts.get(TUPLE_PROTOCOL, b""), 0, len(parts.get(TUPLE_PROTOCOL, b"")))
    number = int.from_bytes(ports.get(PROTOCOL_NUMBER, b""), "big")

    def end(host: int, port: int) -> DestKey:
        address = Address(hosts.get(host, b""))
        return DestKey(address, int.from_bytes(ports.get(port, b""), "big"))

    source = end(IP_SOURCE[family], SOURCE_PORT)
    return source, end(IP_DESTINATION[family], DESTINATION_PORT), number


def _naming(found: Mapping[int, bytes]) -> bytes:
    """Return the attributes that name an entry: its tuple, and what tells it from a successor."""
    named = attribute(TUPLE_ORIGINAL | NESTED, found[TUPLE_ORIGINAL])
    for kind in (ENTRY_ID, ENTRY_ZONE):
        if kind in found:
            named += attribute(kind, found[kind])
    return named


def reply_destination(data: bytes, start: int, end: int, family: Family) -> Address | None:
    """Return where replies of the entry in a message go: with FULLNAT that is its LIP."""
    for kind, at, stop in walk(data, start + FIRST, end):
        if kind == TUPLE_REPLY:
            for inner, first, last in walk(data, at, stop):
                if inner == TUPLE_IP:
                    for field, begin, close in walk(data, first, last):
                        if field == IP_DESTINATION[family]:
                            return Address(data[begin:close])
            break
    return None


def _search(address: Address, family: Family, sequence: int) -> bytes:
    """Ask for entries whose replies go to *address*."""
    return _search_reply(IP_DESTINATION[family], FILTER_DESTINATION, address, family, sequence)


def _search_source(address: Address, family: Family, sequence: int) -> bytes:
    """Ask for entries whose replies come from *address*."""
    return _search_reply(IP_SOURCE[family], FILTER_SOURCE, address, family, sequence)


def _search_reply(end: int, flag: int, address: Address, family: Family, sequence: int) -> bytes:
    host = attribute(end, address)
    reply = attribute(TUPLE_REPLY | NESTED, attribute(TUPLE_IP | NESTED, host))
    flags = attribute(FILTER_REPLY_FLAGS, pack("=I", flag))
    # With IPv6 the kernel's filter is the wrong way round (seen on 6.18): it lets all others pass.
    body = reply + attribute(FILTER | NESTED, flags) if family is Family.INET else b""
    return request(CT_GET, NLM_F_DUMP, sequence, family, body)


def _numbers(data: bytes, start: int, end: int) -> dict[int, int]:
    """Return the attributes of a message of counters; netfilter sends big endian."""
    found = attributes(data, start + FIRST, end)
    return {kind: int.from_bytes(value, "big") for kind, value in found.items()}


def _refuse(what: str, error: Exception) -> NoReturn:
    reason = error.args[0] if error.args else str(error)
    hint = ""
    if isinstance(error, NetlinkError) and error.number in (errno.EINVAL, errno.EOPNOTSUPP):
        hint = "load the module nf_conntrack_netlink"
    raise OperatorError(
        f"connection tracking does not tell its {what}: {reason}",
        status=ExitStatus.KERNEL,
        hint=hint,
    ) from error
