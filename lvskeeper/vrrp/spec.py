"""What a VRRP instance and a sync group are to be, as the router role receives them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import final

from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.timers import OWNER
from lvskeeper.vrrp.tracking import Track
from lvskeeper.vrrp.types import InstanceKey


@final
class Start(Enum):
    """The ``state`` keyword: how soon an instance that starts may take over."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"


@final
@dataclass(frozen=True, slots=True)
class AnnounceSpec:
    """How addresses are announced (``garp_*``, ``gna_*``). Times are in seconds."""

    repeat: int = 5
    """Announcements of each address in a burst."""
    delay: float = 5.0
    """From a burst to its repetition; 0 leaves the repetition out."""
    refresh: float = 0.0
    """Period of the refresh of a master; 0 for none."""
    refresh_repeat: int = 1
    lower_prio_repeat: int = 5
    """Burst after another router claimed the addresses with a lower priority."""
    lower_prio_delay: float = 5.0
    garp_interval: float = 0.0
    """Least time between two GARPs of one interface (or of one *spacing* group)."""
    gna_interval: float = 0.0
    spacing: str = ""
    """``garp_group``: interfaces with the same word share their spacing. Empty: each its own."""


@final
@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One VRRP instance. Times are in seconds; the defaults are keepalived's.

    The configuration resolves what keywords imply for each other before it makes one of these: no
    ``priority`` (255 with ``state MASTER``), no ``state`` (MASTER with priority 255),
    ``vrrp_strict``.
    """

    key: InstanceKey
    name: str
    source: Address = NO_ADDRESS
    """Our address in adverts, which breaks ties; none is a fault until the shell tells one."""
    version: int = 2
    priority: int = 100
    interval: float = 1.0
    """``advert_int``."""
    start: Start = Start.BACKUP
    preempt: bool = True
    preempt_delay: float = 0.0
    """How long a master of lower priority is let be, from its first advert that we hear."""
    addresses: tuple[Address, ...] = ()
    """The addresses in adverts."""
    accept: bool = True
    """Whether a master answers at its virtual addresses; the shell's firewall does it."""
    down_timer_adverts: int = 3
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    owner_ignore_adverts: bool = False
    timer_expired_backup: int = 0
    """Priority of the most eager other router; a master that stood still for longer than that
    one's master-down time becomes backup before it sends again. 0 for off."""
    announce: AnnounceSpec = field(default_factory=AnnounceSpec)
    tracks: tuple[Track, ...] = ()

    @property
    def owner(self) -> bool:
        """Whether the virtual addresses are this router's own."""
        return self.priority == OWNER

    @property
    def preempts(self) -> bool:
        """Whether a master of lower priority is replaced; an owner always does (RFC 5798 6.1)."""
        return self.preempt or self.owner

    @property
    def patience(self) -> float:
        """The ``preempt_delay`` that counts: keepalived has it for ``state BACKUP`` only."""
        return self.preempt_delay if self.preempts and self.start is Start.BACKUP else 0.0


@final
@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One sync group."""

    name: str
    members: tuple[InstanceKey, ...]
    tracks: tuple[Track, ...] = ()
    """What all members track besides their own."""
    tracking_weight: bool = False
    """``sync_group_tracking_weight``: let weights count inside the group."""
