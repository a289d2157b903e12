"""What else an IPVS kernel tells and takes: timeouts, version, sync daemons, counters."""

from dataclasses import dataclass
from enum import IntEnum
from typing import final

from lvskeeper.ipvs.types import DestKey, ServiceKey
from lvskeeper.units import NO_ADDRESS, Address


@final
@dataclass(frozen=True, slots=True)
class Info:
    """Version as ``0x010201`` and the number of buckets of the connection table."""

    version: int
    table_size: int


@final
@dataclass(frozen=True, slots=True)
class Timeouts:
    """Connection timeouts in seconds; 0 keeps the present value when they are set."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


@final
class SyncState(IntEnum):
    """Direction of a sync daemon (``IP_VS_STATE_*``)."""

    MASTER = 1
    BACKUP = 2


@final
@dataclass(frozen=True, slots=True)
class SyncDaemon:
    """A connection-synchronisation daemon of the kernel; zeros leave the kernel's default."""

    state: SyncState
    interface: str
    sync_id: int = 0
    payload: int = 0
    """Longest UDP payload in bytes."""
    group: Address = NO_ADDRESS
    port: int = 0
    ttl: int = 0


@final
@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the last zeroing; the kernel's own rates a second where it computes them."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connection_rate: int = 0
    packet_rate_in: int = 0
    packet_rate_out: int = 0
    byte_rate_in: int = 0
    byte_rate_out: int = 0


@final
@dataclass(frozen=True, slots=True)
class DestinationStats:
    """Connections of one destination now, and its counters."""

    key: DestKey
    active: int
    inactive: int
    persistent: int
    counters: Counters


@final
@dataclass(frozen=True, slots=True)
class ServiceStats:
    """Counters of one service and of its destinations."""

    key: ServiceKey
    counters: Counters
    destinations: tuple[DestinationStats, ...]


@final
@dataclass(frozen=True, slots=True)
class LocalAddressStats:
    """Use of one local address by one service (fork only)."""

    address: Address
    conflicts: int
    """Ports that were found taken while one was chosen, in total."""
    connections: int
    """Connections that hold a port now."""
