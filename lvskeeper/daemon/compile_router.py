"""From the configuration model to the router's: defaults resolved, names of devices given.

Expects a model that the lint found free of errors; what it would have refused raises ``KeyError``.
"""

from collections.abc import Iterator
from typing import Final, final

from lvskeeper.config import vrrp_model as m
from lvskeeper.config.base import ScriptUser
from lvskeeper.config.holding_model import AddressEntry
from lvskeeper.config.model import Config
from lvskeeper.config.vrrp_resolve import (
    ADVERTS,
    PASSWORD_SIZE,
    Resolved,
    announcing_of,
    first,
    resolve,
    spacing_of,
    weight_of,
)
from lvskeeper.daemon import compile_tracked as t
from lvskeeper.daemon import router_spec as r
from lvskeeper.daemon.compile_holdings import Priorities, held_address, route, rule
from lvskeeper.vrrp.auth import NO_AUTH, Authentication, AuthKind
from lvskeeper.vrrp.auth_hmac import HmacAuth, HmacKey, HmacMode, ReplayMode, default_window
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.packet import LOCAL_TTL, ChecksumKind
from lvskeeper.vrrp.spec import AnnounceSpec, GroupSpec, InstanceSpec, Start
from lvskeeper.vrrp.timers import OWNER
from lvskeeper.vrrp.tracking import Track, TrackId, TrackKind
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Peer, Rules

_FILE_WEIGHT: Final = 1
_MAC: Final = {4: bytes.fromhex("00005e000100"), 6: bytes.fromhex("00005e000200")}
"""RFC 5798 7.3; the last byte is the VRID."""


def compile_router(config: Config) -> r.RouterSpec | None:
    """Return the router's view of *config*, or nothing where there is nothing for it to do."""
    vrrp = config.vrrp
    if vrrp is None or vrrp.idle:
        return None
    settings = vrrp.globals
    user = config.global_defs.script_user
    compiler = _Compiler(vrrp, user)
    priorities = compiler.priorities
    device = settings.default_interface
    return r.RouterSpec(
        router_id=config.global_defs.router_id,
        static_addresses=tuple(
            held_address(entry, device=device) for entry in vrrp.static_ipaddress
        ),
        static_routes=tuple(route(entry) for entry in vrrp.static_routes),
        static_policies=tuple(rule(entry, priorities) for entry in vrrp.static_rules),
        instances=tuple(compiler.instance(one) for one in vrrp.instances),
        groups=tuple(compiler.group(one) for one in vrrp.groups),
        scripts=tuple(t.scripts(vrrp, user)),
        files=tuple(t.files(vrrp)),
        processes=tuple(t.processes(vrrp)),
        link_delays=tuple((one.interface, one.up) for one in vrrp.link_delays if one.up),
        fence=settings.vrrp_fence,
        director_timeout=settings.vrrp_director_timeout if config.virtual_servers else 0.0,
        startup_delay=settings.vrrp_startup_delay,
        unknown_vrids=settings.log_unknown_vrids,
        fifos=tuple(t.fifos(settings, user, director=bool(config.virtual_servers))),
        script_security=settings.enable_script_security,
        mail=t.mail(settings),
        scheduling=r.ProcessClass(
            rr_priority=settings.vrrp_rt_priority,
            nice=settings.vrrp_priority,
            lock_memory=settings.vrrp_no_swap,
            cpus=settings.vrrp_cpu_affinity,
            rttime=settings.vrrp_rlimit_rttime,
        ),
        sync_instance=synced_instance(vrrp) or _followed(config, vrrp),
        hold=config.state_sync.hold if config.state_sync else 0.0,
    )


def _followed(config: Config, vrrp: m.VrrpConfig) -> str:
    """Return the name of the instance that ``state_sync`` follows, or nothing."""
    if config.state_sync is None:
        return ""
    return config.state_sync.follows or next((one.name for one in vrrp.instances), "")


def synced_instance(vrrp: m.VrrpConfig) -> str:
    """Return the name of the instance that the IPVS sync daemon follows, or nothing."""
    daemon = vrrp.globals.lvs_sync_daemon
    if daemon is not None and daemon.inst:
        return daemon.inst
    return next((one.name for one in vrrp.instances if one.lvs_sync_daemon_interface), "")


@final
class _Compiler:
    """Instances and groups, which share the names of scripts, files and devices."""

    def __init__(self, vrrp: m.VrrpConfig, user: ScriptUser) -> None:
        self.vrrp = vrrp
        self.settings = vrrp.globals
        self.user = user
        self.priorities = Priorities()
        self.weights = {
            TrackKind.SCRIPT: {one.name: one.weight for one in vrrp.scripts},
            TrackKind.FILE: {one.name: one.weight for one in vrrp.files},
            TrackKind.PROCESS: {one.name: one.weight for one in vrrp.processes},
        }
        self.devices = {
            device.name
            for one in vrrp.instances
            for device in (one.use_vmac, one.use_ipvlan)
            if device is not None and device.name
        }
        """Names of virtual devices that are taken."""
        self.keys: dict[str, InstanceKey] = {}

    def device_name(self, prefix: str, given: str, family: int, vrid: int) -> str:
        """Return the name of a virtual device; one that is taken gets a number."""
        if given:
            return given
        base = f"{prefix}{'6' if family == 6 else ''}.{vrid}"
        name, number = base, 0
        while name in self.devices:
            number += 1
            name = f"{base}.{number}"
        self.devices.add(name)
        return name

    def instance(self, one: m.VrrpInstance) -> r.InstanceConfig:
        """Return the instance *one*."""
        settings = self.settings
        resolved = resolve(one, settings)
        vrid = one.virtual_router_id
        if vrid is None:
            raise KeyError(one.name)
        key = self.keys[one.name] = InstanceKey(one.interface, resolved.family, vrid)
        vmac = self.vmac(one, resolved, vrid)
        below: dict[str, r.VmacSpec] = {}
        addresses = tuple(
            self.address(one, entry, vmac, below, key)
            for entry in (*resolved.addresses, *resolved.excluded)
        )
        group = settings.vrrp_mcast_group4 if resolved.family == 4 else settings.vrrp_mcast_group6
        return r.InstanceConfig(
            spec=self.spec(one, resolved, key),
            rules=self.rules(one, resolved, vrid),
            group=one.mcast_dst_ip or group,
            ttl=first(one.unicast_ttl, default=LOCAL_TTL),
            skip_addresses=first(
                one.skip_check_adv_addr, default=settings.vrrp_skip_check_adv_addr
            ),
            addresses=addresses,
            routes=tuple(route(entry) for entry in one.virtual_routes),
            policies=tuple(rule(entry, self.priorities) for entry in one.virtual_rules),
            vmac=vmac,
            address_vmacs=tuple(below.items()),
            accept=resolved.accept,
            track_primary=not one.dont_track_primary,
            no_peer_fault=one.unicast_fault_no_peer and not one.unicast_peer,
            promote_secondaries=one.promote_secondaries,
            extra_refresh=first(one.garp_extra_if, default=settings.vrrp_garp_extra_if),
            notifies=self.notifies(one),
        )

    def vmac(self, one: m.VrrpInstance, resolved: Resolved, vrid: int) -> r.VmacSpec | None:
        """Return the virtual device of an instance."""
        prefix = self.settings.vmac_prefix
        base = bool(one.unicast_peer) or (one.vmac_xmit_base and not resolved.strict)
        if one.use_vmac is not None:
            name = self.device_name(prefix, one.use_vmac.name, resolved.family, vrid)
            mac = one.use_vmac.mac or _mac(resolved.family, vrid)
            return r.VmacSpec(name, mac=mac, xmit_base=base)
        if one.use_ipvlan is not None:
            given = one.use_ipvlan
            return r.VmacSpec(
                self.device_name(prefix, given.name, resolved.family, vrid),
                kind=r.VmacKind.IPVLAN,
                mode=given.mode,
                address=given.address,
                prefix=given.prefix,
                xmit_base=base,
            )
        return None

    def address(
        self,
        one: m.VrrpInstance,
        entry: AddressEntry,
        vmac: r.VmacSpec | None,
        below: dict[str, r.VmacSpec],
        key: InstanceKey,
    ) -> HeldAddress:
        """Return a VIP on its device: that of the entry, or a virtual one, or the instance's."""
        ours = entry.dev in {"", one.interface}
        device = entry.dev or one.interface
        if ours and vmac is not None:
            device = vmac.name
        elif not ours and (one.use_vmac_addr or entry.use_vmac):
            if entry.dev not in below:
                prefix = self.settings.vmac_addr_prefix or self.settings.vmac_prefix
                name = self.device_name(prefix, "", key.family, key.vrid)
                below[entry.dev] = r.VmacSpec(name, mac=_mac(key.family, key.vrid))
            device = below[entry.dev].name
        return held_address(entry.model_copy(update={"dev": ""}), device=device)

    def spec(self, one: m.VrrpInstance, resolved: Resolved, key: InstanceKey) -> InstanceSpec:
        """Return what the machine of an instance is told."""
        settings, strict = self.settings, resolved.strict
        adverts = first(one.down_timer_adverts, default=settings.vrrp_down_timer_adverts)
        quiet = first(one.lower_prio_no_advert, default=settings.vrrp_lower_prio_no_advert)
        last = first(one.higher_prio_send_advert, default=settings.vrrp_higher_prio_send_advert)
        return InstanceSpec(
            key=key,
            name=one.name,
            source=resolved.source,
            version=resolved.version,
            priority=resolved.priority,
            interval=one.advert_int,
            start=Start.MASTER if resolved.master else Start.BACKUP,
            preempt=resolved.preempt,
            preempt_delay=resolved.preempt_delay,
            addresses=tuple(entry.address for entry in resolved.addresses),
            accept=resolved.accept,
            down_timer_adverts=ADVERTS if strict else adverts,
            lower_prio_no_advert=strict or quiet,
            higher_prio_send_advert=last and not strict,
            owner_ignore_adverts=first(
                one.owner_ignore_adverts, default=settings.vrrp_owner_ignore_adverts
            ),
            timer_expired_backup=one.timer_expired_backup,
            announce=self.announce(one),
            tracks=tuple(self.tracks(one, owner=resolved.priority == OWNER)),
        )

    def announce(self, one: m.VrrpInstance) -> AnnounceSpec:
        """Return how the addresses of an instance are announced."""
        found = announcing_of(one, self.settings)
        garp, gna, shared = spacing_of(one, self.vrrp.garp_groups, self.settings)
        return AnnounceSpec(
            repeat=found.repeat,
            delay=found.delay,
            refresh=found.refresh,
            refresh_repeat=found.refresh_repeat,
            lower_prio_repeat=found.lower_repeat,
            lower_prio_delay=found.lower_delay,
            garp_interval=garp,
            gna_interval=gna,
            spacing=shared,
        )

    def rules(self, one: m.VrrpInstance, resolved: Resolved, vrid: int) -> Rules:
        """Return what an instance expects of packets."""
        settings, old = self.settings, one.old_unicast_checksum
        peers = tuple(
            Peer(peer.address, peer.min_ttl, peer.max_ttl) for peer in one.unicast_peer or ()
        )
        checksum = ChecksumKind.STANDARD
        if resolved.version == 3 and resolved.family == 4:
            if first(one.v3_checksum_as_v2, default=settings.v3_checksum_as_v2):
                checksum = ChecksumKind.AS_V2
            elif old == "send" and peers:
                checksum = ChecksumKind.OLD_UNICAST
        return Rules(
            version=resolved.version,
            vrid=vrid,
            interval=one.advert_int,
            addresses=tuple(entry.address for entry in resolved.addresses),
            auth=_authentication(resolved),
            peers=peers,
            check_source=first(one.check_unicast_src, default=settings.vrrp_check_unicast_src),
            checksum=checksum,
            old_checksum=old != "never",
            hmac=_hmac(one),
        )

    def tracks(self, one: m.VrrpInstance | m.SyncGroup, *, owner: bool = False) -> Iterator[Track]:
        """Yield what an instance or a group tracks; an owner is moved by no weight."""
        for kind, listed in (
            (TrackKind.INTERFACE, one.track_interface),
            (TrackKind.SCRIPT, one.track_script),
            (TrackKind.FILE, one.track_file),
            (TrackKind.PROCESS, one.track_process),
        ):
            for tracked in listed:
                known = self.weights[kind][tracked.name] if kind in self.weights else None
                otherwise = _FILE_WEIGHT if kind is TrackKind.FILE else 0
                weight = weight_of(tracked, known, otherwise)
                if not (owner and weight.weight):
                    yield Track(TrackId(kind, tracked.name), weight.weight, weight.reverse)

    def notifies(self, one: m.VrrpInstance | m.SyncGroup) -> r.Notifies:
        """Return what is run and told on transitions."""
        settings, user = self.settings, self.user
        mail = first(settings.smtp_alert_vrrp, settings.smtp_alert, default=False)
        changes = settings.vrrp_notify_priority_changes
        instance = one if isinstance(one, m.VrrpInstance) else None
        return r.Notifies(
            master=t.script(one.notify_master, user),
            backup=t.script(one.notify_backup, user),
            fault=t.script(one.notify_fault, user),
            stop=t.script(one.notify_stop, user),
            deleted=t.script(instance.notify_deleted, user) if instance else None,
            any=t.script(one.notify, user),
            lower_heard=t.script(instance.notify_master_rx_lower_pri, user) if instance else None,
            priority_changes=first(one.notify_priority_changes, default=changes),
            mail=first(one.smtp_alert, default=mail),
        )

    def group(self, one: m.SyncGroup) -> r.GroupConfig:
        """Return a sync group; its instances were compiled before."""
        members = tuple(self.keys[name] for name in dict.fromkeys(one.group))
        tracks = tuple(self.tracks(one))
        spec = GroupSpec(one.name, members, tracks, one.sync_group_tracking_weight)
        return r.GroupConfig(spec, self.notifies(one))


def _mac(family: int, vrid: int) -> bytes:
    return _MAC[family][:-1] + bytes((vrid,))


def _authentication(resolved: Resolved) -> Authentication:
    password = resolved.password
    if password is None or password.auth_type is None:
        return NO_AUTH
    return Authentication(AuthKind[password.auth_type], password.auth_pass.encode()[:PASSWORD_SIZE])


def _hmac(one: m.VrrpInstance) -> HmacAuth | None:
    given = one.auth_hmac
    if given is None or not given.keys:
        return None
    return HmacAuth(
        keys=tuple(HmacKey(key.id, key.secret) for key in given.keys),
        active=first(given.active_key, default=given.keys[0].id),
        window=first(given.time_window, default=default_window(one.advert_int)),
        anti_replay=ReplayMode(given.anti_replay),
        mode=HmacMode(given.mode),
    )
