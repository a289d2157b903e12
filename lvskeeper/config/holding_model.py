"""Entries of what a master holds, as checked values: addresses, routes and rules.

Field names are the grammar's words. Names of tables, scopes and protocols are numbers already;
defaults that depend on other words are left to :mod:`lvskeeper.daemon.compile_holdings`.
"""

from typing import Literal, TypeAlias, final

from lvskeeper.config.base import Model
from lvskeeper.units import NO_ADDRESS, Address

RouteType: TypeAlias = Literal[
    "unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "prohibit", "throw"
]
RuleType: TypeAlias = Literal["table", "blackhole", "unreachable", "prohibit"]


@final
class AddressEntry(Model):
    """An entry of ``virtual_ipaddress`` and its like."""

    address: Address
    prefix: int
    """With *peer* it is the peer's."""
    dev: str = ""
    scope: int = 0
    brd: Address = NO_ADDRESS
    label: str = ""
    peer: Address = NO_ADDRESS
    home: bool = False
    mngtmpaddr: bool = False
    noprefixroute: bool = False
    autojoin: bool = False
    no_track: bool = False
    preferred_lft: int | Literal["forever"] | None = None
    """In seconds; none leaves it to the prefix length."""
    track_group: str = ""
    use_vmac: bool = False


@final
class RouteEntry(Model):
    """An entry of ``virtual_routes`` or ``static_routes``."""

    destination: Address
    prefix: int
    type: RouteType = "unicast"
    via: Address = NO_ADDRESS
    dev: str = ""
    src: Address = NO_ADDRESS
    table: int | None = None
    metric: int = 0
    scope: int | None = None
    protocol: int | None = None
    tos: int = 0
    onlink: bool = False
    mtu: int = 0
    advmss: int = 0
    no_track: bool = False
    track_group: str = ""


@final
class RuleEntry(Model):
    """An entry of ``virtual_rules`` or ``static_rules``."""

    family: Literal[4, 6]
    source: Address = NO_ADDRESS
    source_prefix: int = 0
    destination: Address = NO_ADDRESS
    destination_prefix: int = 0
    iif: str = ""
    oif: str = ""
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    tos: int = 0
    type: RuleType = "table"
    table: int | None = None
    priority: int | None = None
    no_track: bool = False
    track_group: str = ""
