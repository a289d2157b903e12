"""Timeouts, version, sync daemons and counters as the IPVS family answers them.

Counters are 32 or 64 bits wide by dialect and attribute; their length tells. Functions take a
datagram and the range of one message in it, and raise
:class:`~lvskeeper.ipvs.wire.CodecError` for anything that cannot be read.
"""

from lvskeeper.ipvs.control import (
    Counters,
    DestinationStats,
    Info,
    SyncDaemon,
    SyncState,
    Timeouts,
)
from lvskeeper.ipvs.decode import address_in, expect, nest, read_destination, text, unsigned
from lvskeeper.ipvs.encode import ATTR_DAEMON, ATTR_DEST, ATTR_SERVICE, Command
from lvskeeper.ipvs.types import Family
from lvskeeper.ipvs.wire import PAYLOAD, CodecError, walk
from lvskeeper.units import NO_ADDRESS


def read_info(data: bytes, start: int, end: int) -> Info:
    """Return the answer to GET_INFO; its top-level attributes have a numbering of their own."""
    expect(data, start, end, Command.SET_INFO)
    found = {kind: unsigned(data, at, stop) for kind, at, stop in walk(data, start + PAYLOAD, end)}
    return Info(version=found.get(1, 0), table_size=found.get(2, 0))


def read_timeouts(data: bytes, start: int, end: int) -> Timeouts:
    """Return the answer to GET_CONFIG."""
    expect(data, start, end, Command.SET_CONFIG)
    found = {
        kind: unsigned(data, at, stop)
        for kind, at, stop in walk(data, start + PAYLOAD, end)
        if kind in (4, 5, 6)
    }
    return Timeouts(tcp=found.get(4, 0), tcp_fin=found.get(5, 0), udp=found.get(6, 0))


def read_daemon(data: bytes, start: int, end: int) -> SyncDaemon:
    """Return the sync daemon in a GET_DAEMON answer."""
    first, last = nest(data, start, end, ATTR_DAEMON)
    numbers: dict[int, int] = {}
    interface, group = "", NO_ADDRESS
    for kind, at, stop in walk(data, first, last):
        match kind:
            case 1 | 3 | 4 | 7 | 8:
                numbers[kind] = unsigned(data, at, stop)
            case 2:
                interface = text(data, at, stop)
            case 5:
                group = address_in(data, at, stop, Family.INET)
            case 6:
                group = address_in(data, at, stop, Family.INET6)
            case _:
                pass
    state = numbers.get(1)
    if state not in (SyncState.MASTER, SyncState.BACKUP):
        raise CodecError(f"a sync daemon in state {state}")
    return SyncDaemon(
        state=SyncState(state),
        interface=interface,
        sync_id=numbers.get(3, 0),
        payload=numbers.get(4, 0),
        group=group,
        port=numbers.get(7, 0),
        ttl=numbers.get(8, 0),
    )


def read_service_counters(data: bytes, start: int, end: int) -> Counters:
    """Return the counters in a GET_SERVICE answer."""
    return _counters(data, *nest(data, start, end, ATTR_SERVICE))


def read_destination_stats(data: bytes, start: int, end: int, family: Family) -> DestinationStats:
    """Return connections and counters of the destination in a GET_DEST answer."""
    first, last = nest(data, start, end, ATTR_DEST)
    connections = {7: 0, 8: 0, 9: 0}
    for kind, at, stop in walk(data, first, last):
        if kind in connections:
            connections[kind] = unsigned(data, at, stop)
    key = read_destination(data, start, end, family).key
    counters = _counters(data, first, last)
    return DestinationStats(key, connections[7], connections[8], connections[9], counters)


def _counters(data: bytes, start: int, end: int) -> Counters:
    """Read STATS64 (12) where it is there, else STATS (10)."""
    ranges = {kind: (at, stop) for kind, at, stop in walk(data, start, end) if kind in (10, 12)}
    if not ranges:
        return Counters()
    first, last = ranges[max(ranges)]
    found = {
        kind: unsigned(data, at, stop) for kind, at, stop in walk(data, first, last) if kind <= 10
    }
    return Counters(*(found.get(kind, 0) for kind in range(1, 11)))
