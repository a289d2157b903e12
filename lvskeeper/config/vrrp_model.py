"""The VRRP half of the configuration as a checked value; ``None`` means not given.

Field names are the keywords. What keywords imply for each other is left to
:mod:`lvskeeper.config.vrrp_resolve`.
"""

from typing import Literal, TypeAlias, final

from pydantic import Field

from lvskeeper.config.base import Command, Model, ScriptUser
from lvskeeper.config.holding_model import AddressEntry, RouteEntry, RuleEntry
from lvskeeper.units import NO_ADDRESS, Address

Version: TypeAlias = Literal[2, 3]


@final
class Fifo(Model):
    """``notify_fifo``."""

    path: str
    user: str = ""
    group: str = ""


@final
class MailServer(Model):
    """``smtp_server``."""

    host: str
    port: int = 25


@final
class SyncDaemon(Model):
    """``lvs_sync_daemon``; zeros leave the kernel's default."""

    interface: str
    inst: str = ""
    id: int | None = None
    maxlen: int = 0
    port: int = 0
    ttl: int = 0
    group: Address = NO_ADDRESS


@final
class VrrpGlobals(Model):
    """What ``global_defs`` says of VRRP. Times are in seconds."""

    vrrp_version: Version = 2
    vrrp_mcast_group4: Address = NO_ADDRESS
    vrrp_mcast_group6: Address = NO_ADDRESS
    vrrp_down_timer_adverts: int = 3
    vrrp_lower_prio_no_advert: bool = False
    vrrp_higher_prio_send_advert: bool = False
    vrrp_owner_ignore_adverts: bool = False
    vrrp_check_unicast_src: bool = False
    vrrp_skip_check_adv_addr: bool = False
    vrrp_strict: bool = False
    v3_checksum_as_v2: bool = False
    vrrp_startup_delay: float = 0.0
    log_unknown_vrids: bool = False
    dynamic_interfaces: bool = False
    default_interface: str = "eth0"
    vmac_prefix: str = "vrrp"
    vmac_addr_prefix: str | None = None
    vrrp_fence: float = 0.0
    vrrp_director_timeout: float = 20.0
    lvs_sync_daemon: SyncDaemon | None = None
    vrrp_garp_master_delay: float | None = None
    vrrp_garp_master_repeat: int | None = None
    vrrp_garp_master_refresh: float = 0.0
    vrrp_garp_master_refresh_repeat: int = 1
    vrrp_garp_lower_prio_delay: float | None = None
    vrrp_garp_lower_prio_repeat: int | None = None
    vrrp_garp_interval: float = 0.0
    vrrp_gna_interval: float = 0.0
    vrrp_min_garp: bool = False
    vrrp_garp_extra_if: float = 0.0
    notify_fifo: Fifo | None = None
    vrrp_notify_fifo: Fifo | None = None
    lvs_notify_fifo: Fifo | None = None
    notify_fifo_script: Command | None = None
    vrrp_notify_fifo_script: Command | None = None
    lvs_notify_fifo_script: Command | None = None
    rs_init_notifies: bool = False
    vrrp_notify_priority_changes: bool = False
    notification_email: tuple[str, ...] = ()
    notification_email_from: str = ""
    smtp_server: MailServer | None = None
    smtp_helo_name: str = ""
    smtp_connect_timeout: float = 30.0
    smtp_alert: bool | None = None
    smtp_alert_vrrp: bool | None = None
    smtp_alert_checker: bool | None = None
    no_checker_emails: bool = True
    checker_log_all_failures: bool = True
    no_email_faults: bool = False
    vrrp_priority: int = 0
    vrrp_no_swap: bool = False
    vrrp_rt_priority: int = 0
    vrrp_cpu_affinity: tuple[int, ...] = ()
    vrrp_rlimit_rttime: int = 0
    use_symlink_paths: bool = True
    set_supplementary_groups: bool = True
    enable_script_security: bool = False


@final
class Tracked(Model):
    """An entry of a ``track_*`` block."""

    name: str
    weight: int | None = None
    reverse: bool | None = None


@final
class Weight(Model):
    """``weight N [reverse]``."""

    weight: int
    reverse: bool = False


@final
class Peer(Model):
    """An entry of ``unicast_peer``."""

    address: Address
    min_ttl: int = 0
    max_ttl: int = 255


@final
class Password(Model):
    """``authentication``."""

    auth_type: Literal["PASS", "AH"] | None = None
    auth_pass: str = Field(default="", repr=False)


@final
class Key(Model):
    """``key`` of ``auth_hmac``."""

    id: int
    secret: bytes = Field(default=b"", repr=False)


@final
class Hmac(Model):
    """``auth_hmac``."""

    keys: tuple[Key, ...] = ()
    active_key: int | None = None
    time_window: float | None = None
    anti_replay: Literal["time", "monotonic"] = "time"
    mode: Literal["enforce", "permissive", "receive-only"] = "enforce"


@final
class Vmac(Model):
    """``use_vmac``."""

    name: str = ""
    mac: bytes = b""


@final
class Ipvlan(Model):
    """``use_ipvlan``."""

    mode: Literal["bridge", "private", "vepa"] = "bridge"
    name: str = ""
    address: Address = NO_ADDRESS
    prefix: int = 0


class _Tracking(Model):
    """What instances and groups share."""

    track_interface: tuple[Tracked, ...] = ()
    track_script: tuple[Tracked, ...] = ()
    track_file: tuple[Tracked, ...] = ()
    track_process: tuple[Tracked, ...] = ()
    notify_master: Command | None = None
    notify_backup: Command | None = None
    notify_fault: Command | None = None
    notify_stop: Command | None = None
    notify: Command | None = None
    smtp_alert: bool | None = None
    notify_priority_changes: bool | None = None


@final
class VrrpInstance(_Tracking):
    """``vrrp_instance``. Times are in seconds."""

    name: str
    interface: str = ""
    state: Literal["MASTER", "BACKUP"] | None = None
    virtual_router_id: int | None = None
    priority: int | None = None
    advert_int: float = 1.0
    version: Version | None = None
    native_ipv6: bool = False
    nopreempt: bool = False
    preempt_delay: float = 0.0
    down_timer_adverts: int | None = None
    lower_prio_no_advert: bool | None = None
    higher_prio_send_advert: bool | None = None
    owner_ignore_adverts: bool | None = None
    timer_expired_backup: int = 0
    strict_mode: bool | None = None
    accept: bool | None = None
    virtual_ipaddress: tuple[AddressEntry, ...] = ()
    virtual_ipaddress_excluded: tuple[AddressEntry, ...] = ()
    no_virtual_ipaddress: bool = False
    promote_secondaries: bool = False
    virtual_routes: tuple[RouteEntry, ...] = ()
    virtual_rules: tuple[RuleEntry, ...] = ()
    unicast_peer: tuple[Peer, ...] | None = None
    unicast_src_ip: Address | None = None
    mcast_src_ip: Address | None = None
    mcast_dst_ip: Address | None = None
    unicast_fault_no_peer: bool = False
    check_unicast_src: bool | None = None
    unicast_ttl: int | None = None
    old_unicast_checksum: Literal["send", "never"] | None = None
    skip_check_adv_addr: bool | None = None
    v3_checksum_as_v2: bool | None = None
    track_src_ip: bool = False
    dont_track_primary: bool = False
    use_vmac: Vmac | None = None
    vmac_xmit_base: bool = False
    use_vmac_addr: bool = False
    use_ipvlan: Ipvlan | None = None
    lvs_sync_daemon_interface: str = ""
    authentication: Password | None = None
    auth_hmac: Hmac | None = None
    garp_master_delay: float | None = None
    garp_master_repeat: int | None = None
    garp_master_refresh: float | None = None
    garp_master_refresh_repeat: int | None = None
    garp_lower_prio_delay: float | None = None
    garp_lower_prio_repeat: int | None = None
    garp_extra_if: float | None = None
    notify_deleted: Command | None = None
    notify_master_rx_lower_pri: Command | None = None


@final
class SyncGroup(_Tracking):
    """``vrrp_sync_group``."""

    name: str
    group: tuple[str, ...] = ()
    sync_group_tracking_weight: bool = False


@final
class VrrpScript(Model):
    """``vrrp_script``. Times are in seconds."""

    name: str
    script: Command
    interval: float = 1.0
    timeout: float = 0.0
    weight: Weight | None = None
    rise: int = 1
    fall: int = 1
    user: ScriptUser | None = None
    init_fail: bool = False


@final
class Process(Model):
    """``process``."""

    path: str
    arguments: tuple[str, ...] = ()


@final
class TrackProcess(Model):
    """``vrrp_track_process``. Times are in seconds."""

    name: str
    process: Process
    param_match: Literal["exact", "initial", "partial"] | None = None
    weight: Weight | None = None
    quorum: int = 1
    quorum_max: int = 0
    delay: float = 0.0
    terminate_delay: float | None = None
    fork_delay: float | None = None
    full_command: bool = False


@final
class InitFile(Model):
    """``init_file``."""

    value: int = 0
    overwrite: bool = False


@final
class TrackFile(Model):
    """``track_file``."""

    name: str
    file: str
    weight: Weight | None = None
    init_file: InitFile | None = None


@final
class TrackGroup(Model):
    """``track_group``."""

    name: str
    group: tuple[str, ...] = ()


@final
class GarpGroup(Model):
    """``garp_group``. Times are in seconds."""

    garp_interval: float = 0.0
    gna_interval: float = 0.0
    interface: str = ""
    interfaces: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """All interfaces that it names."""
        return (self.interface, *self.interfaces) if self.interface else self.interfaces


@final
class LinkDelay(Model):
    """An entry of ``interface_up_down_delays``, in seconds."""

    interface: str
    down: float
    up: float


@final
class VrrpConfig(Model):
    """All that a configuration says of VRRP."""

    globals: VrrpGlobals = Field(default_factory=VrrpGlobals)
    instances: tuple[VrrpInstance, ...] = ()
    groups: tuple[SyncGroup, ...] = ()
    scripts: tuple[VrrpScript, ...] = ()
    processes: tuple[TrackProcess, ...] = ()
    files: tuple[TrackFile, ...] = ()
    track_groups: tuple[TrackGroup, ...] = ()
    garp_groups: tuple[GarpGroup, ...] = ()
    link_delays: tuple[LinkDelay, ...] = ()
    static_ipaddress: tuple[AddressEntry, ...] = ()
    static_routes: tuple[RouteEntry, ...] = ()
    static_rules: tuple[RuleEntry, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether a router has nothing to do for it."""
        static = (self.static_ipaddress, self.static_routes, self.static_rules)
        return not self.instances and not any(static)
