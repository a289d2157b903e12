"""The configuration as a checked value. Field names are the keywords; ``None`` means not given.

Inheritance and defaults of checks are left to :mod:`lvskeeper.daemon.compile`.
"""

from typing import TYPE_CHECKING, Literal, final

from pydantic import Field

from lvskeeper.config.base import Command, Model, ScriptUser
from lvskeeper.config.check_model import AnyCheck, Ssl
from lvskeeper.units import NO_ADDRESS, Address

if TYPE_CHECKING:
    from lvskeeper.config.vrrp_model import VrrpConfig
else:
    VrrpConfig = object  # a value that is checked already; files without VRRP pay nothing for it


class Protection(Model):
    """Options of ``syn_proxy`` and the defences; what is ``None`` comes from ``global_defs``."""

    syn_proxy_mss: int | Literal["auto"] | None = None
    syn_proxy_wscale: int | Literal["auto"] | None = None
    syn_proxy_timestamp: bool | None = None
    syn_proxy_sack: bool | None = None
    defence_tcp_drop: Literal["no", "yes", "vip"] | None = None
    defence_udp_drop: bool | None = None
    defence_frag_drop: bool | None = None


@final
class GlobalDefs(Protection):
    """What holds for the whole director."""

    router_id: str = ""
    script_user: ScriptUser = Field(default_factory=ScriptUser)
    lvs_manage_sysctls: bool = True
    lvs_keep_on_stop: bool = False
    syn_flood_rate: int = 1000
    ipvs_sysctls: dict[str, int] = Field(default_factory=dict)
    control_socket: tuple[int, str] | None = None
    """Mode and group."""
    warnings_off: tuple[tuple[str, ...], ...] = ()
    include_checks: tuple[tuple[str, ...], ...] = ()
    compat: Literal["keepalived"] | None = None


@final
class LocalAddress(Model):
    """*count* local addresses from *address* on."""

    address: Address
    count: int = 1
    device: str = ""


@final
class LocalAddressGroup(Model):
    """A pool of local addresses."""

    name: str
    addresses: tuple[LocalAddress, ...] = ()


@final
class GroupMember(Model):
    """*count* services from *address* on, or a firewall mark."""

    address: Address = NO_ADDRESS
    count: int = 1
    port: int = 0
    fwmark: int = 0
    ip_family: Literal["inet", "inet6"] | None = None


@final
class VirtualServerGroup(Model):
    """Services that share their real servers."""

    name: str
    members: tuple[GroupMember, ...] = ()


@final
class Forwarding(Model):
    """Forwarding method with the options of TUN."""

    method: Literal["NAT", "DR", "TUN", "FNAT"] = "NAT"
    type: Literal["ipip", "gue", "gre"] = "ipip"
    port: int = 0
    csum: Literal["nocsum", "csum", "remcsum"] = "nocsum"


@final
class RealServer(Model):
    """``real_server``; what is ``None`` comes from the virtual server."""

    address: Address
    port: int = 0
    weight: int | None = None
    lvs_method: Forwarding | None = None
    uthreshold: int = 0
    lthreshold: int = 0
    inhibit_on_failure: bool | None = None
    notify_up: Command | None = None
    notify_down: Command | None = None
    alpha: bool | None = None
    retry: int | None = None
    delay_before_retry: float | None = None
    warmup: float | None = None
    connect_timeout: float | None = None
    delay_loop: float | None = None
    flap_damping: tuple[int, float] | None = None
    virtualhost: str | None = None
    smtp_alert: bool | None = None
    checks: tuple[AnyCheck, ...] = ()


@final
class SorryServer(Model):
    """``sorry_server``."""

    address: Address
    port: int = 0


@final
class VirtualServer(Protection):
    """``virtual_server``: of address, fwmark and group exactly one is given."""

    address: Address = NO_ADDRESS
    port: int = 0
    fwmark: int = 0
    group: str = ""

    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    lb_algo: str = "wlc"
    lb_kind: Forwarding = Field(default_factory=Forwarding)
    laddr_group_name: str = ""
    laddr_ports: tuple[int, int] | None = None
    syn_proxy: bool = False
    ops: bool = False
    sh_port: bool = False
    sh_fallback: bool = False
    mh_port: bool = False
    mh_fallback: bool = False
    ip_family: Literal["inet", "inet6"] | None = None
    persistence_timeout: int | None = None
    persistence_granularity: int | None = None
    persistence_engine: Literal["sip"] | None = None
    est_timeout: int | None = None
    delay_loop: float | None = None
    retry: int | None = None
    delay_before_retry: float | None = None
    warmup: float | None = None
    connect_timeout: float | None = None
    flap_damping: tuple[int, float] | None = None
    inhibit_on_failure: bool = False
    virtualhost: str | None = None
    alpha: bool = False
    omega: bool = False
    quorum: int = 1
    hysteresis: int = 0
    quorum_up: Command | None = None
    quorum_down: Command | None = None
    weight: int = 1
    sorry_server: SorryServer | None = None
    sorry_server_inhibit: bool = False
    sorry_server_lvs_method: Forwarding | None = None
    ha_suspend: bool = False
    smtp_alert: bool | None = None
    vip_bind_dev: str | None = None
    real_servers: tuple[RealServer, ...] = ()

    @property
    def persistent(self) -> bool:
        """Whether clients stay with their server; a granularity or an engine implies it."""
        given = (
            self.persistence_timeout,
            self.persistence_granularity,
            self.persistence_engine,
        )
        return any(value is not None for value in given)


@final
class StateSync(Model):
    """``state_sync``."""

    interface: str = ""
    address: Address | None = None
    peer: Address | None = None
    multicast: Address | None = None
    port: int = 3780
    follows: str = ""
    external: bool = False
    socket: str | None = None
    hold: float = 3.0


@final
class Config(Model):
    """A whole configuration."""

    global_defs: GlobalDefs = Field(default_factory=GlobalDefs)
    local_address_groups: tuple[LocalAddressGroup, ...] = ()
    virtual_server_groups: tuple[VirtualServerGroup, ...] = ()
    virtual_servers: tuple[VirtualServer, ...] = ()
    vrrp: VrrpConfig | None = None
    state_sync: StateSync | None = None
    ssl: Ssl = Field(default_factory=Ssl)

    @property
    def empty(self) -> bool:
        """Whether nothing is served, so that a daemon would take away all that it had."""
        return not self.virtual_servers and (
            self.vrrp is None or (self.vrrp.idle and self.vrrp.globals.lvs_sync_daemon is None)
        )
