"""The configuration of the router role, as it travels from the supervisor: plain data, no spans.

It is made from the configuration model by :mod:`lvskeeper.daemon.compile_router` and carried as
JSON. Times are in seconds.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import final

from lvskeeper.daemon.roles import Fifo, MailSpec, Script
from lvskeeper.units import NO_ADDRESS, Address
from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule
from lvskeeper.vrrp.packet import LOCAL_TTL
from lvskeeper.vrrp.spec import GroupSpec, InstanceSpec
from lvskeeper.vrrp.trackers import ProcessSpec, ScriptSpec
from lvskeeper.vrrp.validate import Rules


@final
class VmacKind(Enum):
    """Kind of the virtual device of an instance."""

    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"


@final
@dataclass(frozen=True, slots=True)
class VmacSpec:
    """``use_vmac`` and ``use_ipvlan``: a device of the instance's own on its interface."""

    name: str
    kind: VmacKind = VmacKind.MACVLAN
    mac: bytes = b""
    """6 bytes, ``00:00:5e:00:01:VRID`` or ``…:02:VRID``; an ipvlan has none of its own."""
    mode: str = "private"
    """Macvlan: always private. Ipvlan: ``bridge``, ``private`` or ``vepa``."""
    address: Address = NO_ADDRESS
    """Source address of an ipvlan, if the configuration names one."""
    prefix: int = 0
    xmit_base: bool = False
    """Adverts leave and arrive on the interface below (``vmac_xmit_base``, unicast)."""


@final
@dataclass(frozen=True, slots=True)
class Notifies:
    """Scripts that are run on transitions."""

    master: Script | None = None
    backup: Script | None = None
    fault: Script | None = None
    stop: Script | None = None
    deleted: Script | None = None
    """Where none is given, keepalived runs that for FAULT when a reload removes the instance."""
    any: Script | None = None
    """``notify``: gets ``INSTANCE|GROUP NAME STATE PRIORITY`` as further arguments."""
    lower_heard: Script | None = None
    """``notify_master_rx_lower_pri``."""
    priority_changes: bool = False
    """``notify_priority_changes``: FIFO lines for changes of the effective priority."""
    mail: bool = False
    """``smtp_alert``."""


@final
@dataclass(frozen=True, slots=True)
class InstanceConfig:
    """One VRRP instance with all that the shell does for it.

    ``spec.source`` is the address that the configuration names, or none: then it is the first
    address of the interface.
    """

    spec: InstanceSpec
    rules: Rules
    """What is expected of packets, the authentication of ours included."""
    group: Address = NO_ADDRESS
    """Multicast group; none for that of RFC 5798."""
    ttl: int = LOCAL_TTL
    """``unicast_ttl``."""
    skip_addresses: bool = False
    """``skip_check_adv_addr``."""
    addresses: tuple[HeldAddress, ...] = ()
    """VIPs, then excluded VIPs, in their order. Those on the VMAC name it as their device."""
    routes: tuple[Route, ...] = ()
    policies: tuple[Rule, ...] = ()
    vmac: VmacSpec | None = None
    address_vmacs: tuple[tuple[str, VmacSpec], ...] = ()
    """``use_vmac_addr``: VMACs on other interfaces, each with the interface below it."""
    accept: bool = True
    """False: a master that is no owner answers nothing but ND at its addresses (``no_accept``)."""
    track_primary: bool = True
    """The instance's own interface has to be up (not ``dont_track_primary``)."""
    no_peer_fault: bool = False
    """``unicast_fault_no_peer`` with no peer: the instance stays in FAULT."""
    promote_secondaries: bool = False
    extra_refresh: float = 0.0
    """``garp_extra_if``: how often a master announces from each interface that has its addresses
    and sends no adverts, so that switches remember its MAC there; 0 for never."""
    notifies: Notifies = field(default_factory=Notifies)


@final
@dataclass(frozen=True, slots=True)
class GroupConfig:
    """One sync group with its notifies."""

    spec: GroupSpec
    notifies: Notifies = field(default_factory=Notifies)


@final
@dataclass(frozen=True, slots=True)
class TrackedScript:
    """A ``vrrp_script``."""

    name: str
    script: Script
    spec: ScriptSpec
    secure: bool = False
    """``enable_script_security``: root does not run it where somebody else could write it."""


@final
@dataclass(frozen=True, slots=True)
class TrackedFile:
    """A ``track_file``: the integer in a file."""

    name: str
    path: str
    initial: int | None = None
    """``init_file``: what to write where the file does not exist."""
    overwrite: bool = False
    """Write it also where the file exists."""


@final
class ArgumentMatch(Enum):
    """How the arguments of a process are compared."""

    EXACT = "exact"
    INITIAL = "initial"
    """The last compared argument may go on, and more may follow."""
    PARTIAL = "partial"
    """More arguments may follow."""


@final
@dataclass(frozen=True, slots=True)
class TrackedProcess:
    """A ``vrrp_track_process``: how many processes of a name run."""

    name: str
    process: str
    """Path, or file name."""
    arguments: tuple[str, ...] | None = None
    """None: any."""
    match: ArgumentMatch = ArgumentMatch.EXACT
    full_command: bool = False
    """Compare the path of ``argv[0]`` rather than the kernel's short name."""
    spec: ProcessSpec = field(default_factory=ProcessSpec)


@final
@dataclass(frozen=True, slots=True)
class ProcessClass:
    """How the kernel is to schedule the router role."""

    rr_priority: int = 0
    """SCHED_RR priority; 0 leaves the usual class (``vrrp_rt_priority``)."""
    nice: int = 0
    lock_memory: bool = False
    """``vrrp_no_swap``."""
    cpus: tuple[int, ...] = ()
    rttime: int = 0
    """``RLIMIT_RTTIME`` in microseconds; 0 for none: a big reload is one turn."""


@final
@dataclass(frozen=True, slots=True)
class RouterSpec:
    """All that the router role needs to know."""

    router_id: str = ""
    instances: tuple[InstanceConfig, ...] = ()
    groups: tuple[GroupConfig, ...] = ()
    scripts: tuple[TrackedScript, ...] = ()
    files: tuple[TrackedFile, ...] = ()
    processes: tuple[TrackedProcess, ...] = ()
    link_delays: tuple[tuple[str, float], ...] = ()
    """``interface_up_down_delays``: how long an interface has to be up before it counts."""
    static_addresses: tuple[HeldAddress, ...] = ()
    static_routes: tuple[Route, ...] = ()
    static_policies: tuple[Rule, ...] = ()
    fence: float = 0.0
    """``vrrp_fence``: lifetime of VIPs in the kernel unless we refresh them; 0 for unlimited."""
    director_timeout: float = 0.0
    """Silence of the director role after which all instances are in FAULT; 0 for never."""
    startup_delay: float = 0.0
    """``vrrp_startup_delay``."""
    unknown_vrids: bool = False
    """Tell of adverts for VRIDs that are not ours (``log_unknown_vrids``)."""
    fifos: tuple[Fifo, ...] = ()
    script_security: bool = False
    """``enable_script_security``: root runs no script that somebody else could write."""
    mail: MailSpec = field(default_factory=MailSpec)
    scheduling: ProcessClass = field(default_factory=ProcessClass)
    sync_instance: str = ""
    """Name of the instance whose state the IPVS sync daemon follows."""
    hold: float = 0.0
    """``state_sync``: seconds after a take-over in which packets without a connection are held."""
