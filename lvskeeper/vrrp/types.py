"""What the VRRP rooms share: the name of an instance, and an advertisement as a value."""

from dataclasses import dataclass
from typing import NamedTuple, final

from lvskeeper.units import Address


@final
class InstanceKey(NamedTuple):
    """What names an instance on the wire: interface, family and VRID."""

    interface: str
    family: int
    """4 or 6."""
    vrid: int

    def __str__(self) -> str:
        return f"{self.interface} vrid {self.vrid}" + (" inet6" if self.family == 6 else "")


@final
@dataclass(frozen=True, slots=True)
class Advert:
    """A VRRP advertisement: what one router says of itself (RFC 3768 5.1, RFC 5798 5.2)."""

    version: int
    vrid: int
    priority: int
    """1 to 255; 255 owns the addresses, 0 gives them up."""
    interval: float
    """Advertisement interval in seconds: whole ones in version 2, hundredths in version 3."""
    addresses: tuple[Address, ...]
