"""``--compat keepalived``: a model without what keepalived leaves out of it."""

from typing import TypeVar

from lvskeeper.config.check_model import FileCheck
from lvskeeper.config.model import Config, RealServer, VirtualServer
from lvskeeper.config.vrrp_model import SyncGroup, Tracked, VrrpConfig, VrrpInstance

_Tracker = TypeVar("_Tracker", VrrpInstance, SyncGroup)


def mend(config: Config) -> Config:
    """Leave out what keepalived leaves out: what is named and not defined, or named twice."""
    files = {one.name for one in config.vrrp.files} if config.vrrp else set[str]()
    return config.model_copy(
        update={
            "virtual_servers": tuple(_served(one, files) for one in config.virtual_servers),
            "vrrp": _vrrp(config.vrrp) if config.vrrp else None,
        }
    )


def _served(server: VirtualServer, files: set[str]) -> VirtualServer:
    update: dict[str, object] = {}
    if "protocol" not in server.model_fields_set and not server.fwmark:
        update["protocol"] = "UDP"
    seen: dict[tuple[bytes, int], RealServer] = {}
    for one in server.real_servers:
        checks = tuple(
            check
            for check in one.checks
            if not isinstance(check, FileCheck) or check.track_file in files
        )
        known = one if checks == one.checks else one.model_copy(update={"checks": checks})
        seen.setdefault((one.address, one.port or server.port), known)
    update["real_servers"] = tuple(seen.values())
    return server.model_copy(update=update)


def _vrrp(vrrp: VrrpConfig) -> VrrpConfig:
    known = {
        "track_script": {one.name for one in vrrp.scripts},
        "track_file": {one.name for one in vrrp.files},
        "track_process": {one.name for one in vrrp.processes},
    }
    names = {one.name for one in vrrp.instances}
    tracks = {one.name for one in vrrp.track_groups}
    groups: list[SyncGroup] = []
    for group in vrrp.groups:
        members = tuple(name for name in dict.fromkeys(group.group) if name in names)
        names.difference_update(members)
        if members:
            groups.append(_tracking(group, known).model_copy(update={"group": members}))
    daemon = vrrp.globals.lvs_sync_daemon
    defined = {one.name for one in vrrp.instances}
    lost = daemon is not None and daemon.inst and daemon.inst not in defined
    update: dict[str, object] = {
        "instances": tuple(_tracking(one, known) for one in vrrp.instances),
        "groups": tuple(groups),
        "track_groups": tuple(
            one.model_copy(update={"group": tuple(n for n in one.group if n in defined)})
            for one in vrrp.track_groups
        ),
        "globals": vrrp.globals.model_copy(update={"lvs_sync_daemon": None})
        if lost
        else vrrp.globals,
    }
    for key in ("static_ipaddress", "static_routes", "static_rules"):
        update[key] = tuple(
            one
            if not one.track_group or one.track_group in tracks
            else one.model_copy(update={"track_group": ""})
            for one in getattr(vrrp, key)
        )
    return vrrp.model_copy(update=update)


def _tracking(one: _Tracker, known: dict[str, set[str]]) -> _Tracker:
    update: dict[str, tuple[Tracked, ...]] = {
        block: tuple(entry for entry in getattr(one, block) if entry.name in names)
        for block, names in known.items()
    }
    return one.model_copy(update=update)
