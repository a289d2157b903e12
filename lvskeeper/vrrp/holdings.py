"""What a master holds besides its adverts: addresses, routes and rules, as plain values.

Numbers are the kernel's (``linux/if_addr.h``, ``linux/rtnetlink.h``, ``linux/fib_rules.h``); names
such as those of routing tables are resolved before one of these is made.
"""

from dataclasses import dataclass
from typing import Final, final

from lvskeeper.units import NO_ADDRESS, Address, format_address

PROTOCOL: Final = 18
"""``RTPROT_KEEPALIVED``: the mark on our routes and rules, by which others let them be."""
MAIN_TABLE: Final = 254
UNICAST: Final = 1
"""``RTN_UNICAST``."""
TO_TABLE: Final = 1
"""``FR_ACT_TO_TBL``."""


@final
@dataclass(frozen=True, slots=True)
class HeldAddress:
    """An address with its prefix length on a device."""

    address: Address
    prefix: int
    device: str
    scope: int = 0
    broadcast: Address = NO_ADDRESS
    label: str = ""
    peer: Address = NO_ADDRESS
    """Far end of a point-to-point address; *prefix* is then the peer's."""
    flags: int = 0
    """``IFA_F_*`` besides those that all of ours have."""
    preferred: int | None = None
    """Seconds as a source of new connections: none is for ever, 0 never (deprecated)."""
    watched: bool = True
    """Put back when somebody else removes it (not ``no_track``)."""

    @property
    def name(self) -> tuple[Address, int, str]:
        """What the kernel tells addresses apart by."""
        return self.address, self.prefix, self.device

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{self.prefix} dev {self.device}"


@final
@dataclass(frozen=True, slots=True)
class Route:
    """A route with one next hop, or none."""

    destination: Address
    """All zeros with *prefix* 0 is the default route of its family."""
    prefix: int
    kind: int = UNICAST
    """``RTN_*``."""
    gateway: Address = NO_ADDRESS
    device: str = ""
    source: Address = NO_ADDRESS
    """Preferred source address (``src``)."""
    table: int = MAIN_TABLE
    metric: int = 0
    scope: int | None = None
    """``RT_SCOPE_*``; none lets the next hop decide, as ``ip`` does."""
    protocol: int = PROTOCOL
    tos: int = 0
    onlink: bool = False
    mtu: int = 0
    advmss: int = 0
    watched: bool = True

    def __str__(self) -> str:
        there = (
            "default" if not self.prefix else f"{format_address(self.destination)}/{self.prefix}"
        )
        via = f" via {format_address(self.gateway)}" if self.gateway else ""
        device = f" dev {self.device}" if self.device else ""
        table = f" table {self.table}" if self.table != MAIN_TABLE else ""
        return f"{there}{via}{device}{table}"


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of policy routing."""

    family: int
    """4 or 6."""
    priority: int
    source: Address = NO_ADDRESS
    source_prefix: int = 0
    destination: Address = NO_ADDRESS
    destination_prefix: int = 0
    iif: str = ""
    oif: str = ""
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    tos: int = 0
    action: int = TO_TABLE
    """``FR_ACT_*``."""
    table: int = MAIN_TABLE
    watched: bool = True

    def __str__(self) -> str:
        source = f"{format_address(self.source)}/{self.source_prefix}" if self.source else "all"
        there = (
            f" to {format_address(self.destination)}/{self.destination_prefix}"
            if self.destination
            else ""
        )
        return f"{self.priority}: from {source}{there} lookup {self.table}"
