"""What an IPVS table holds, as values that hash, compare and print.

Numbers are those of the kernel's ``include/uapi/linux/ip_vs.h``; the FULLNAT fork's additions are
marked. Counters are not part of a value: two tables are equal when the kernel would serve alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, TypeAlias, final

from lvskeeper.units import NO_ADDRESS, Address, format_endpoint

SCHEDULERS: Final = (
    "rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos",
)  # fmt: skip
"""Schedulers of the mainline kernel, in the order of ``net/netfilter/ipvs/Kconfig``."""


@final
class Family(IntEnum):
    """Address family, as in ``AF_INET`` and ``AF_INET6``."""

    INET = 2
    INET6 = 10

    @staticmethod
    def of(address: Address) -> "Family":
        """Return the family that the length of *address* tells."""
        return Family.INET if len(address) == 4 else Family.INET6

    @property
    def host_prefix(self) -> int:
        """Bits of a host address: 32 or 128."""
        return 32 if self is Family.INET else 128


@final
class Protocol(IntEnum):
    """Transport protocol of a virtual service (IP protocol number)."""

    TCP = 6
    UDP = 17
    SCTP = 132


@final
class Forward(IntEnum):
    """Forwarding method of a destination (``IP_VS_CONN_F_FWD_MASK``)."""

    NAT = 0
    LOCAL = 1
    """The kernel's own mark for a destination that is the director itself."""
    TUN = 2
    DR = 3
    BYPASS = 4
    FULLNAT = 5
    """FULLNAT fork only. Mainline stores it and forwards nothing: never send it there."""


@final
class ServiceFlag(IntFlag):
    """Flags of a service that configuration can set (``IP_VS_SVC_F_*``)."""

    PERSISTENT = 0x0001
    ONE_PACKET = 0x0004
    SCHED_1 = 0x0008
    """sh: fallback, mh: fallback."""
    SCHED_2 = 0x0010
    """sh: use the port, mh: use the port."""
    SCHED_3 = 0x0020
    SYNPROXY = 0x8000
    """FULLNAT fork only. Mainline stores it without effect: never send it there."""


NO_FLAGS: Final = ServiceFlag(0)

HASHED: Final = 0x0002
"""Set by the kernel on every service that it holds; never part of a :class:`Service`."""


@final
class TunnelType(IntEnum):
    """Encapsulation of a TUN destination (``IP_VS_CONN_F_TUNNEL_TYPE_*``)."""

    IPIP = 0
    GUE = 1
    GRE = 2


@final
@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """What names a virtual service in the kernel: protocol, address and port, or a fwmark.

    A fwmark service has no address and port 0; its protocol is TCP, as the kernel forces it.
    """

    family: Family
    protocol: Protocol
    address: Address = NO_ADDRESS
    port: int = 0
    fwmark: int = 0

    def __str__(self) -> str:
        if self.fwmark:
            suffix = " inet6" if self.family is Family.INET6 else ""
            return f"fwmark {self.fwmark}{suffix}"
        return f"{self.protocol.name.lower()} {format_endpoint(self.address, self.port)}"


@final
class DestKey(NamedTuple):
    """What names a destination within its service: address and port.

    A tuple, because tens of thousands are hashed and compared in every look at the kernel.
    """

    address: Address
    port: int

    def __str__(self) -> str:
        return format_endpoint(self.address, self.port)


@final
@dataclass(frozen=True, slots=True)
class Service:
    """A virtual service without its destinations."""

    key: ServiceKey
    scheduler: str
    flags: ServiceFlag = NO_FLAGS
    persistence: int = 0
    """Persistence timeout in seconds; meaningful with ``PERSISTENT`` only, else 0."""
    prefix: int = 32
    """Persistence granularity as a prefix length; 32 or 128 is one client."""
    engine: str = ""
    """Persistence engine (mainline; ``sip``), empty for none."""
    established: int | None = None
    """Established-connection timeout in seconds (fork v3 only), ``None`` where there is none."""


@final
class Destination(NamedTuple):
    """A real server as the kernel holds it; a tuple for the same reason as :class:`DestKey`."""

    key: DestKey
    forward: Forward
    weight: int = 1
    upper: int = 0
    """Upper connection threshold (``u_thresh``), 0 for none."""
    lower: int = 0
    tunnel_type: TunnelType = TunnelType.IPIP
    tunnel_port: int = 0
    tunnel_flags: int = 0


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """A service with all that hangs on it."""

    service: Service
    destinations: Mapping[DestKey, Destination] = field(default_factory=dict)
    local_addresses: frozenset[Address] = frozenset()
    """LIPs in the kernel (fork dialects only; empty on mainline)."""


Table: TypeAlias = Mapping[ServiceKey, Entry]
"""An IPVS table: desired or actual."""
