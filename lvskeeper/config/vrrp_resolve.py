"""What the keywords of an instance imply for each other, as keepalived has it."""

from dataclasses import dataclass
from typing import Final, TypeVar, final

from lvskeeper.config.holding_model import AddressEntry
from lvskeeper.config.vrrp_model import (
    GarpGroup,
    Password,
    Tracked,
    VrrpConfig,
    VrrpGlobals,
    VrrpInstance,
    Weight,
)
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.auth_hmac import TRAILER_SIZE
from lvskeeper.vrrp.packet import HEADER_SIZE, MAX_ADDRESSES
from lvskeeper.vrrp.timers import OWNER

T = TypeVar("T")

PRIORITY: Final = 100
PASSWORD_SIZE: Final = 8
"""Bytes of a password that count."""
IPV6_ROOM: Final = 1500 - 40 - HEADER_SIZE
"""Bytes for addresses in an advert over IPv6: an Ethernet frame less the headers."""
ADVERTS: Final = 3
"""Adverts that must be missing by the RFC."""
GARP_REPEAT: Final = 5
GARP_DELAY: Final = 5.0


@final
@dataclass(frozen=True, slots=True)
class Resolved:
    """An instance with what its keywords, and the global ones, come to."""

    family: int
    """4 or 6."""
    version: int
    priority: int
    master: bool
    """It starts as ``state MASTER``."""
    strict: bool
    preempt: bool
    preempt_delay: float
    accept: bool
    source: Address
    addresses: tuple[AddressEntry, ...]
    """In adverts."""
    excluded: tuple[AddressEntry, ...]
    password: Password | None
    """What counts of ``authentication``."""


@final
@dataclass(frozen=True, slots=True)
class Announcing:
    """What the ``garp_*`` and ``gna_*`` keywords come to. Times are in seconds."""

    repeat: int
    delay: float
    refresh: float
    refresh_repeat: int
    lower_repeat: int
    lower_delay: float


def first(*given: T | None, default: T) -> T:
    """Return the first that is given, from the innermost block outwards."""
    for value in given:
        if value is not None:
            return value
    return default


def family_of(instance: VrrpInstance) -> int:
    """Return 4 or 6: as ``native_ipv6``, a source, the first VIP or the first peer says."""
    if instance.native_ipv6:
        return 6
    known = [address for address in (instance.unicast_src_ip, instance.mcast_src_ip) if address]
    known += [one.address for one in instance.virtual_ipaddress[:1]]
    known += [one.address for one in (instance.unicast_peer or ())[:1]]
    return 6 if known and len(known[0]) == 16 else 4


def strict_of(instance: VrrpInstance, settings: VrrpGlobals) -> bool:
    """Whether it keeps to the letter of the RFC."""
    return first(instance.strict_mode, default=settings.vrrp_strict)


def version_of(instance: VrrpInstance, settings: VrrpGlobals) -> int:
    """Return the version: of IPv6 there is only one."""
    if family_of(instance) == 6:
        return 3
    return first(instance.version, default=settings.vrrp_version)


def priority_of(instance: VrrpInstance) -> int:
    """Return the priority; ``state MASTER`` alone makes an owner, as in keepalived."""
    default = OWNER if instance.state == "MASTER" else PRIORITY
    return first(instance.priority, default=default)


def room_of(instance: VrrpInstance) -> int:
    """Return how many VIPs its adverts can hold."""
    if family_of(instance) == 4:
        return MAX_ADDRESSES
    return (IPV6_ROOM - (TRAILER_SIZE if instance.auth_hmac else 0)) // 16


def password_of(instance: VrrpInstance, settings: VrrpGlobals) -> Password | None:
    """Return the authentication that is in effect: with a type, a password and version 2."""
    given = instance.authentication
    if given is None or not given.auth_type or not given.auth_pass:
        return None
    if version_of(instance, settings) != 2 or strict_of(instance, settings):
        return None
    return given


def starts_as_master(instance: VrrpInstance, settings: VrrpGlobals) -> bool:
    """Whether it starts as with ``state MASTER``."""
    if priority_of(instance) == OWNER:
        return True
    password = password_of(instance, settings)
    if strict_of(instance, settings) or (password and password.auth_type == "AH"):
        return False
    return instance.state == "MASTER"


def resolve(instance: VrrpInstance, settings: VrrpGlobals) -> Resolved:
    """Return what *instance* comes to."""
    strict = strict_of(instance, settings)
    priority = priority_of(instance)
    room = room_of(instance)
    size = 4 if family_of(instance) == 4 else 16
    ours = [one for one in instance.virtual_ipaddress if len(one.address) == size]
    sources = (instance.unicast_src_ip, instance.mcast_src_ip)
    master = starts_as_master(instance, settings)
    accept = not strict or priority == OWNER
    if instance.accept is not None and not (strict and version_of(instance, settings) == 2):
        accept = instance.accept
    return Resolved(
        family=family_of(instance),
        version=version_of(instance, settings),
        priority=priority,
        master=master,
        strict=strict,
        preempt=not instance.nopreempt or master,
        preempt_delay=0.0 if strict else instance.preempt_delay,
        accept=accept,
        source=next((one for one in sources if one), NO_ADDRESS),
        addresses=tuple(ours[:room]),
        excluded=(*ours[room:], *instance.virtual_ipaddress_excluded),
        password=password_of(instance, settings),
    )


def announcing_of(instance: VrrpInstance, settings: VrrpGlobals) -> Announcing:
    """Return how its addresses are announced; a strict one says everything once."""
    if strict_of(instance, settings):
        return Announcing(1, 0.0, 0.0, 1, 0, 0.0)
    least = settings.vrrp_min_garp
    repeat = first(
        instance.garp_master_repeat,
        settings.vrrp_garp_master_repeat,
        default=1 if least else GARP_REPEAT,
    )
    delay = first(
        instance.garp_master_delay,
        settings.vrrp_garp_master_delay,
        default=0.0 if least else GARP_DELAY,
    )
    return Announcing(
        repeat=repeat,
        delay=delay,
        refresh=first(instance.garp_master_refresh, default=settings.vrrp_garp_master_refresh),
        refresh_repeat=first(
            instance.garp_master_refresh_repeat, default=settings.vrrp_garp_master_refresh_repeat
        ),
        lower_repeat=first(
            instance.garp_lower_prio_repeat, settings.vrrp_garp_lower_prio_repeat, default=repeat
        ),
        lower_delay=first(
            instance.garp_lower_prio_delay, settings.vrrp_garp_lower_prio_delay, default=delay
        ),
    )


def spacing_of(
    instance: VrrpInstance, groups: tuple[GarpGroup, ...], settings: VrrpGlobals
) -> tuple[float, float, str]:
    """Return the spacing of GARPs and NAs on its interface, and who shares it."""
    for group in groups:
        if instance.interface in group.members:
            shared = " ".join(group.members) if len(group.members) > 1 else ""
            return (
                group.garp_interval or settings.vrrp_garp_interval,
                group.gna_interval or settings.vrrp_gna_interval,
                shared,
            )
    return settings.vrrp_garp_interval, settings.vrrp_gna_interval, ""


def weight_of(tracked: Tracked, default: Weight | None, otherwise: int = 0) -> Weight:
    """Return the weight of an entry: its own, or that of what it tracks."""
    weight = first(tracked.weight, default.weight if default else None, default=otherwise)
    return Weight(
        weight=weight,
        reverse=first(tracked.reverse, default.reverse if default else None, default=False),
    )


def used_names(config: VrrpConfig, kind: str) -> frozenset[str]:
    """Return what instances and groups track by the block *kind*, such as ``track_script``."""
    trackers = (*config.instances, *config.groups)
    return frozenset(one.name for tracker in trackers for one in getattr(tracker, kind))
