"""The configuration of the director role, as it travels from the supervisor: plain data, no spans.

It is made from the configuration model by :mod:`lvskeeper.daemon.compile` and carried as JSON.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias, final

from lvskeeper.health.spec import CheckSpec, QuorumSpec
from lvskeeper.ipvs.control import SyncDaemon
from lvskeeper.ipvs.types import NO_FLAGS, Forward, ServiceFlag, ServiceKey, TunnelType
from lvskeeper.units import Address


@final
@dataclass(frozen=True, slots=True)
class Script:
    """A command that is run on a transition, without a shell."""

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""


@final
@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe that gets a line for each transition, and who reads it."""

    path: str
    user: str = ""
    group: str = ""
    reader: Script | None = None
    """Started with the path of the pipe as its last argument."""


@final
@dataclass(frozen=True, slots=True)
class MailSpec:
    """How mail alerts are sent; without a server none is."""

    server: str = ""
    port: int = 25
    helo: str = ""
    timeout: float = 30.0
    sender: str = ""
    recipients: tuple[str, ...] = ()
    faults: bool = True
    """Also of transitions to FAULT (not ``no_email_faults``)."""


@final
@dataclass(frozen=True, slots=True)
class LocalAddressSpec:
    """A LIP; with *device* the director puts it there and removes it again."""

    address: Address
    device: str = ""


@final
@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A local-address group after its ranges are expanded."""

    name: str
    addresses: tuple[LocalAddressSpec, ...]


@final
@dataclass(frozen=True, slots=True)
class TunnelSpec:
    """Encapsulation toward a real server with ``lb_kind TUN``."""

    kind: TunnelType = TunnelType.IPIP
    port: int = 0
    flags: int = 0


@final
@dataclass(frozen=True, slots=True)
class RealServerSpec:
    """A real server of one virtual server."""

    address: Address
    port: int
    """0: the port of the virtual service."""
    forward: Forward
    weight: int = 1
    upper: int = 0
    lower: int = 0
    tunnel: TunnelSpec = field(default_factory=TunnelSpec)
    inhibit_on_failure: bool = False
    alpha: bool = False
    checks: tuple[CheckSpec, ...] = ()
    notify_up: Script | None = None
    notify_down: Script | None = None
    mail: bool = False
    """``smtp_alert``."""


Ports: TypeAlias = tuple[int, int]
"""First and last port of a range."""


@final
@dataclass(frozen=True, slots=True)
class SynProxySpec:
    """``syn_proxy``: what SYN cookies promise to clients before a real server is known."""

    mss: int | None = None
    """Maximum segment size in bytes; ``None`` follows the real servers."""
    wscale: int | None = None
    """Window scale, 0 to 14; ``None`` follows the real servers."""
    timestamp: bool = True
    """Without timestamps stock kernels promise neither window scale nor SACK."""
    sack: bool = True


@final
class TcpDefence(Enum):
    """``defence_tcp_drop``: which TCP segments without a connection are dropped unanswered."""

    NO = "no"
    SERVICE = "yes"
    """Other than SYN, to the virtual service."""
    VIP = "vip"
    """These, and everything to ports of its address that no virtual server has."""


@final
@dataclass(frozen=True, slots=True)
class DefenceSpec:
    """What is dropped before it reaches IPVS or the director itself; nothing by default."""

    tcp: TcpDefence = TcpDefence.NO
    udp: bool = False
    """UDP to an address that has TCP services only."""
    fragments: bool = False
    """Fragments to the address."""


@final
@dataclass(frozen=True, slots=True)
class VirtualServerSpec:
    """A virtual server: one health state, one or more kernel services (a group has many)."""

    name: str
    """As the configuration names it: ``tcp 192.0.2.1:80``, ``group web``, ``fwmark 7``."""
    keys: tuple[ServiceKey, ...]
    scheduler: str
    real_servers: tuple[RealServerSpec, ...]
    flags: ServiceFlag = NO_FLAGS
    persistence: int = 0
    prefix: int = 32
    engine: str = ""
    established: int | None = None
    quorum: QuorumSpec = field(default_factory=QuorumSpec)
    alpha: bool = False
    omega: bool = False
    pool: str = ""
    """Name of the local-address group (FULLNAT only)."""
    ports: Ports | None = None
    """Source ports on the LIPs (FULLNAT on stock kernels); ``None`` is 1024 to 65535."""
    syn_proxy: SynProxySpec | None = None
    defence: DefenceSpec = field(default_factory=DefenceSpec)
    sorry_server: RealServerSpec | None = None
    """With ``inhibit_on_failure`` it stays in the table with weight 0 while it does not serve."""
    quorum_up: Script | None = None
    quorum_down: Script | None = None
    label: str = ""
    """Its name in lines of pipes and in mails, as keepalived writes it."""
    mail: bool = False
    """``smtp_alert``."""
    suspends: bool = False
    """``ha_suspend``: its checks rest while none of its addresses is here."""
    vip_device: str = ""
    """``vip_bind_dev``: where its addresses are put while it has its quorum."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its virtual addresses, each once; firewall marks have none."""
        return tuple(dict.fromkeys(key.address for key in self.keys if key.address))

    @property
    def servers(self) -> tuple[RealServerSpec, ...]:
        """The real servers, and behind them the sorry server."""
        sorry = () if self.sorry_server is None else (self.sorry_server,)
        return self.real_servers + sorry


@final
@dataclass(frozen=True, slots=True)
class SyncSpec:
    """``lvs_sync_daemon``: connection sync by the kernel."""

    daemon: SyncDaemon
    """As it is to be; its direction is chosen when it is started."""
    follows: str = ""
    """Name of the VRRP instance whose state it follows; none runs both directions."""


@final
@dataclass(frozen=True, slots=True)
class StateSyncSpec:
    """``state_sync``: connections are carried to the peer by conntrackd, ours or an external one.

    Ours has an interface, an address, and a peer or a group; of an external one we know its socket.
    """

    interface: str = ""
    address: Address | None = None
    peer: Address | None = None
    group: Address | None = None
    port: int = 3780
    external: bool = False
    socket: str = ""
    hold: float = 3.0
    """Seconds after a take-over in which packets without a connection are held; 0 for none."""


@final
@dataclass(frozen=True, slots=True)
class DirectorSpec:
    """All that the director role needs to know."""

    router_id: str = ""
    virtual_servers: tuple[VirtualServerSpec, ...] = ()
    pools: tuple[PoolSpec, ...] = ()
    manage_sysctls: bool = True
    """Set the sysctls that FULLNAT needs; otherwise only report them."""
    sysctls: tuple[tuple[str, int], ...] = ()
    """Settings below ``net/ipv4/vs`` to be written (``ipvs_sysctls``): name and value."""
    syn_flood_rate: int = 1000
    """SYNs a second without a handshake from which on a flood is told."""
    sync: SyncSpec | None = None
    state_sync: StateSyncSpec | None = None
    keep_on_stop: bool = False
    """Leave services, LIPs, VIPs and rulesets in the kernel at a clean stop."""
    fifos: tuple[Fifo, ...] = ()
    """Pipes that get a line for each transition of real and virtual servers."""
    mail: MailSpec = field(default_factory=MailSpec)
    init_notifies: bool = False
    """``rs_init_notifies``: tell also of real servers that are up from the start."""
    script_security: bool = False
    """``enable_script_security``: root runs no script that somebody else could write."""
