"""From the configuration model to the director's: groups and ranges expanded, inheritance resolved.

Expects a model that the lint found free of errors; what it would have refused raises ``KeyError``.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from lvskeeper.config.base import Command, ScriptUser
from lvskeeper.config.model import (
    Config,
    Forwarding,
    GlobalDefs,
    GroupMember,
    LocalAddressGroup,
    RealServer,
    StateSync,
    VirtualServer,
)
from lvskeeper.config.ranges import expand
from lvskeeper.config.site import family_of, label_of
from lvskeeper.config.state_sync_keywords import SOCKET
from lvskeeper.config.vrrp_model import VrrpConfig, VrrpGlobals
from lvskeeper.daemon.alerts import service_label
from lvskeeper.daemon.compile_checks import Common, compile_check, first
from lvskeeper.daemon.compile_router import synced_instance
from lvskeeper.daemon.compile_tracked import director_fifos, mail
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    Script,
    StateSyncSpec,
    SyncSpec,
    SynProxySpec,
    TcpDefence,
    TunnelSpec,
    VirtualServerSpec,
)
from lvskeeper.health import spec as health
from lvskeeper.ipvs.control import SyncDaemon, SyncState
from lvskeeper.ipvs.types import (
    Family,
    Forward,
    Protocol,
    ServiceFlag,
    ServiceKey,
    TunnelType,
)

PERSISTENCE: Final = 360
"""Persistence timeout where a granularity is given without one, in seconds."""

_FORWARD: Final = {
    "NAT": Forward.NAT,
    "DR": Forward.DR,
    "TUN": Forward.TUN,
    "FNAT": Forward.FULLNAT,
}
_TUNNEL: Final = {"ipip": TunnelType.IPIP, "gue": TunnelType.GUE, "gre": TunnelType.GRE}
_CHECKSUM: Final = {"nocsum": 0, "csum": 1, "remcsum": 2}
"""``TUNNEL_ENCAP_FLAG_*`` of the kernel."""


def compile_director(config: Config) -> DirectorSpec:
    """Return the director's view of *config*.

    Raises ``ValueError`` where two virtual servers would have one name, under which their health
    is kept; lint refuses what leads there.
    """
    groups = {group.name: group.members for group in config.virtual_server_groups}
    defs = config.global_defs
    files = {file.name: file for file in config.vrrp.files} if config.vrrp else {}
    settings = config.vrrp.globals if config.vrrp else VrrpGlobals()
    secure = settings.enable_script_security
    mails = settings.smtp_alert_checker
    if mails is None:
        mails = settings.smtp_alert
    common = Common(defs.script_user, secure, config.ssl, files, mails)
    places = _places(config.virtual_servers)
    virtual_servers = tuple(
        _virtual_server(server, _members(server, groups), defs, common, place)
        for server, place in zip(config.virtual_servers, places, strict=True)
    )
    names = [virtual.name for virtual in virtual_servers]
    if len(set(names)) != len(names):
        twice = {name for name in names if names.count(name) > 1}
        raise ValueError(f"two virtual servers are both called {', '.join(sorted(twice))}")
    return DirectorSpec(
        router_id=defs.router_id,
        virtual_servers=virtual_servers,
        pools=tuple(_pool(group) for group in config.local_address_groups),
        manage_sysctls=defs.lvs_manage_sysctls,
        sysctls=tuple(defs.ipvs_sysctls.items()),
        syn_flood_rate=defs.syn_flood_rate,
        sync=_sync(config.vrrp) if config.vrrp else None,
        state_sync=_state_sync(config.state_sync),
        keep_on_stop=defs.lvs_keep_on_stop,
        fifos=tuple(director_fifos(settings, defs.script_user)),
        mail=mail(settings),
        init_notifies=settings.rs_init_notifies,
        script_security=secure,
    )


def _places(servers: Iterable[VirtualServer]) -> Iterator[int]:
    """Yield for each virtual server how many before it serve the same group."""
    seen: dict[str, int] = {}
    for server in servers:
        place = seen.get(server.group, 0)
        seen[server.group] = place + 1
        yield place


def _state_sync(given: StateSync | None) -> StateSyncSpec | None:
    if given is None:
        return None
    if given.external:
        return StateSyncSpec(external=True, socket=given.socket or SOCKET, hold=given.hold)
    return StateSyncSpec(
        given.interface, given.address, None if given.multicast else given.peer, given.multicast,
        given.port, hold=given.hold,
    )  # fmt: skip


def _sync(vrrp: VrrpConfig) -> SyncSpec | None:
    """Return the sync daemon; its id is that of the configuration, or the followed VRID."""
    daemon, follows = vrrp.globals.lvs_sync_daemon, synced_instance(vrrp)
    followed = next((one for one in vrrp.instances if one.name == follows), None)
    vrid = followed.virtual_router_id if followed else 0
    if daemon is not None:
        sync_id = daemon.id if daemon.id is not None else vrid or 0
        made = SyncDaemon(
            SyncState.MASTER, daemon.interface, sync_id, daemon.maxlen, daemon.group,
            daemon.port, daemon.ttl,
        )  # fmt: skip
        return SyncSpec(made, follows)
    if followed is not None:
        interface = followed.lvs_sync_daemon_interface
        return SyncSpec(SyncDaemon(SyncState.MASTER, interface, vrid or 0), follows)
    return None


def _members(
    server: VirtualServer, groups: dict[str, tuple[GroupMember, ...]]
) -> tuple[GroupMember, ...]:
    if server.group:
        return groups[server.group]
    return (GroupMember(address=server.address, port=server.port, fwmark=server.fwmark),)


def _pool(group: LocalAddressGroup) -> PoolSpec:
    addresses = {
        address: LocalAddressSpec(address, entry.device)
        for entry in group.addresses
        for address in expand(entry.address, entry.count)
    }
    return PoolSpec(group.name, tuple(addresses.values()))


def _keys(server: VirtualServer, members: Iterable[GroupMember]) -> Iterator[ServiceKey]:
    protocol = Protocol[server.protocol]
    for member in members:
        if member.fwmark:
            family = Family.INET if family_of(server, member) == 4 else Family.INET6
            yield ServiceKey(family, Protocol.TCP, fwmark=member.fwmark)
            continue
        for address in expand(member.address, member.count):
            yield ServiceKey(Family.of(address), protocol, address, member.port)


def _virtual_server(
    server: VirtualServer,
    members: tuple[GroupMember, ...],
    defs: GlobalDefs,
    common: Common,
    place: int,
) -> VirtualServerSpec:
    user = common.user
    keys = tuple(dict.fromkeys(_keys(server, members)))
    host = max((key.family.host_prefix for key in keys), default=32)
    sorry = server.sorry_server
    sorry_kind = server.sorry_server_lvs_method or server.lb_kind
    timeout = server.persistence_timeout or PERSISTENCE
    return VirtualServerSpec(
        name=label_of(server, members) if server.group else str(keys[0]),
        keys=keys,
        scheduler=server.lb_algo,
        real_servers=tuple(
            _real_server(server, one, members, common) for one in server.real_servers
        ),
        flags=_flags(server),
        persistence=timeout if server.persistent else 0,
        prefix=server.persistence_granularity or host,
        engine=server.persistence_engine or "",
        established=server.est_timeout,
        quorum=health.QuorumSpec(server.quorum, server.hysteresis),
        alpha=server.alpha,
        omega=server.omega,
        pool=server.laddr_group_name if _uses_pool(server) else "",
        ports=server.laddr_ports if _uses_pool(server) else None,
        syn_proxy=_syn_proxy(server, defs) if server.syn_proxy else None,
        defence=_defence(server, members, defs),
        sorry_server=(
            RealServerSpec(
                sorry.address,
                sorry.port,
                _FORWARD[sorry_kind.method],
                tunnel=_tunnel(sorry_kind),
                inhibit_on_failure=server.sorry_server_inhibit,
            )
            if sorry
            else None
        ),
        quorum_up=_script(server.quorum_up, user),
        quorum_down=_script(server.quorum_down, user),
        label=f"[{server.group}]:{place}" if server.group else service_label(keys[0]),
        mail=first(server.smtp_alert, common.mails, default=False),
        # What the quorum puts there cannot be what the quorum waits for.
        suspends=server.ha_suspend and not server.vip_bind_dev,
        vip_device=server.vip_bind_dev or "",
    )


def _kinds(server: VirtualServer) -> set[str]:
    kinds = (server.lb_kind, *(one.lvs_method for one in server.real_servers if one.lvs_method))
    sorry = server.sorry_server_lvs_method if server.sorry_server else None
    return {kind.method for kind in (*kinds, sorry or server.lb_kind)}


def _uses_pool(server: VirtualServer) -> bool:
    return "FNAT" in _kinds(server)


def _syn_proxy(server: VirtualServer, defs: GlobalDefs) -> SynProxySpec:
    return SynProxySpec(
        mss=_number(server.syn_proxy_mss, defs.syn_proxy_mss),
        wscale=_number(server.syn_proxy_wscale, defs.syn_proxy_wscale),
        timestamp=first(server.syn_proxy_timestamp, defs.syn_proxy_timestamp, default=True),
        sack=first(server.syn_proxy_sack, defs.syn_proxy_sack, default=True),
    )


def _number(*given: int | Literal["auto"] | None) -> int | None:
    """Return the first that is given, where it is a number."""
    first = next((value for value in given if value is not None), None)
    return first if isinstance(first, int) else None


def _defence(
    server: VirtualServer, members: Iterable[GroupMember], defs: GlobalDefs
) -> DefenceSpec:
    if all(member.fwmark for member in members):
        return DefenceSpec()  # there is no address to defend
    tcp = TcpDefence(first(server.defence_tcp_drop, defs.defence_tcp_drop, default="no"))
    if not _kinds(server) <= {"NAT", "FNAT"} or (
        tcp is TcpDefence.SERVICE and server.protocol != "TCP"
    ):
        tcp = TcpDefence.NO  # a default of all virtual servers that does not suit this one
    return DefenceSpec(
        tcp=tcp,
        udp=first(server.defence_udp_drop, defs.defence_udp_drop, default=False),
        fragments=first(server.defence_frag_drop, defs.defence_frag_drop, default=False),
    )


def _flags(server: VirtualServer) -> ServiceFlag:
    flags = ServiceFlag(0)
    if server.persistent:
        flags |= ServiceFlag.PERSISTENT
    if server.ops:
        flags |= ServiceFlag.ONE_PACKET
    match server.lb_algo:
        case "sh":
            port, fallback = server.sh_port, server.sh_fallback
        case "mh":
            port, fallback = server.mh_port, server.mh_fallback
        case _:
            port = fallback = False
    if fallback:
        flags |= ServiceFlag.SCHED_1
    if port:
        flags |= ServiceFlag.SCHED_2
    return flags


def _real_server(
    server: VirtualServer, one: RealServer, members: tuple[GroupMember, ...], common: Common
) -> RealServerSpec:
    user = common.user
    kind = one.lvs_method or server.lb_kind
    return RealServerSpec(
        address=one.address,
        port=one.port,
        forward=_FORWARD[kind.method],
        weight=first(one.weight, default=server.weight),
        upper=one.uthreshold,
        lower=one.lthreshold,
        tunnel=_tunnel(kind),
        inhibit_on_failure=first(one.inhibit_on_failure, default=server.inhibit_on_failure),
        alpha=first(one.alpha, default=server.alpha),
        checks=tuple(compile_check(server, one, members, check, common) for check in one.checks),
        notify_up=_script(one.notify_up, user),
        notify_down=_script(one.notify_down, user),
        mail=first(one.smtp_alert, common.mails, default=True),
    )


def _tunnel(kind: Forwarding) -> TunnelSpec:
    return TunnelSpec(_TUNNEL[kind.type], kind.port, _CHECKSUM[kind.csum])


def _script(command: Command | None, user: ScriptUser) -> Script | None:
    if command is None:
        return None
    if command.user:
        return Script(command.argv, command.user, command.group)
    return Script(command.argv, user.user, user.group)
