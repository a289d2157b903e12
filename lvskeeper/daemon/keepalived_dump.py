"""keepalived's dumps on signals: ``keepalived.json`` and ``keepalived.stats``, for exporters.

The form is that of keepalived 2.2.7, version 1: an array with an object an instance, numbers where
it has numbers and booleans where it has booleans. A key of authentication is never shown.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, final

import msgspec

from lvskeeper.daemon.desk import Desk
from lvskeeper.daemon.questions import AskError, TakeSnapshot
from lvskeeper.daemon.roles import Script
from lvskeeper.daemon.router_spec import InstanceConfig, RouterSpec
from lvskeeper.daemon.run_dir import STATS_FILE
from lvskeeper.daemon.staff import Post
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit
from lvskeeper.observe.views import InstanceView, RouterView
from lvskeeper.units import format_address
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.tracking import TrackKind
from lvskeeper.vrrp.verdict import RejectKind

MODE: Final = 0o640
"""For an exporter in the daemon's group."""

_STATES: Final = {"INIT": 0, "BACKUP": 1, "MASTER": 2, "FAULT": 3}
_SCOPES: Final = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
"""``RT_SCOPE_*``."""

_PACKET_ERRORS: Final[Mapping[str, tuple[RejectKind, ...]]] = {
    "packet_len_err": (RejectKind.LENGTH, RejectKind.IP_LENGTH),
    "advert_interval_err": (RejectKind.INTERVAL,),
    "ip_ttl_err": (RejectKind.TTL,),
    "invalid_type_rcvd": (RejectKind.TYPE,),
    "addr_list_err": (),
    "invalid_authtype": (RejectKind.AUTH_TYPE,),
    "authtype_mismatch": (RejectKind.AUTH_MISMATCH,),
    "auth_failure": (RejectKind.AUTH_FAILURE, RejectKind.REPLAY),
}
"""Other addresses than ours are noted, not an error: ``addr_list_err`` stays 0."""

_LINES: Final = (
    ("  Advertisements:", ""), ("    Received", "advert_rcvd"), ("    Sent", "advert_sent"),
    ("  Became master", "become_master"), ("  Released master", "release_master"),
    ("  Packet Errors:", ""), ("    Length", "packet_len_err"), ("    TTL", "ip_ttl_err"),
    ("    Invalid Type", "invalid_type_rcvd"),
    ("    Advertisement Interval", "advert_interval_err"), ("    Address List", "addr_list_err"),
    ("  Authentication Errors:", ""), ("    Invalid Type", "invalid_authtype"),
    ("    Type Mismatch", "authtype_mismatch"), ("    Failure", "auth_failure"),
    ("  Priority Zero:", ""), ("    Received", "pri_zero_rcvd"), ("    Sent", "pri_zero_sent"),
)  # fmt: skip


def render_json(spec: RouterSpec, view: RouterView, wall: float) -> str:
    """Return the JSON dump of *view*, taken at the time of day *wall*, of what *spec* asks for."""
    configs = {config.spec.name: config for config in spec.instances}
    scripts = {script.name: script.script for script in spec.scripts}
    whole = [
        {"data": _data(configs[one.name], one, scripts, wall), "stats": stats_of(one)}
        for one in view.instances
        if one.name in configs
    ]
    return json.dumps(whole, separators=(",", ":"))


def render_stats(view: RouterView) -> str:
    """Return the counters as text."""
    lines: list[str] = []
    for one in view.instances:
        stats = stats_of(one)
        lines.append(f"VRRP Instance: {one.name}")
        lines += [f"{name}: {stats[key]}" if key else name for name, key in _LINES]
    return "\n".join(lines) + "\n" if lines else ""


def stats_of(view: InstanceView) -> dict[str, int]:
    """Return the counters of an instance by keepalived's names."""
    counters = view.counters
    rejected = counters.rejected or {}
    return {
        "advert_rcvd": counters.received,
        "advert_sent": counters.sent,
        "become_master": counters.became_master,
        "release_master": counters.released_master,
        **{
            name: sum(rejected.get(kind.value, 0) for kind in kinds)
            for name, kinds in _PACKET_ERRORS.items()
        },
        "pri_zero_rcvd": counters.zero_received,
        "pri_zero_sent": counters.zero_sent,
    }


def _data(
    config: InstanceConfig, view: InstanceView, scripts: Mapping[str, Script], wall: float
) -> dict[str, object]:
    spec, announce, state = config.spec, config.spec.announce, _STATES[view.state]
    found: dict[str, object] = {
        "iname": view.name,
        "dont_track_primary": int(not config.track_primary),
        "skip_check_adv_addr": int(config.skip_addresses),
        "strict_mode": 0,
        "vmac_ifname": config.vmac.name if config.vmac else "",
        "ifp_ifname": view.interface,
        "master_priority": view.master_priority,
        "last_transition": 0.0 if view.for_seconds is None else wall - view.for_seconds,
        "garp_delay": announce.delay,
        "garp_refresh": announce.refresh,
        "garp_rep": announce.repeat,
        "garp_refresh_rep": announce.refresh_repeat,
        "garp_lower_prio_delay": announce.lower_prio_delay,
        "garp_lower_prio_rep": announce.lower_prio_repeat,
        "lower_prio_no_advert": int(spec.lower_prio_no_advert),
        "higher_prio_send_advert": int(spec.higher_prio_send_advert),
        "vrid": view.vrid,
        "base_priority": view.base,
        "effective_priority": view.priority,
        "vipset": view.held,
        "promote_secondaries": config.promote_secondaries,
        "adver_int": spec.interval,
        "master_adver_int": view.interval,
        "accept": int(config.accept),
        "nopreempt": not view.preempt,
        "preempt_delay": spec.preempt_delay,
        "state": state,
        "wantstate": state,
        "version": view.version,
        "smtp_alert": config.notifies.mail,
        "notify_deleted": config.notifies.deleted is not None,
    }
    # Whole numbers without a point, as readers of integers want them
    found = {key: _whole(value) for key, value in found.items()}
    return found | _scripts(config) | _lists(config, view, scripts) | {
        "auth_type": int(config.rules.auth.kind)
    }  # fmt: skip


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _scripts(config: InstanceConfig) -> dict[str, object]:
    notifies = config.notifies
    named = {
        "script_backup": notifies.backup, "script_master": notifies.master,
        "script_fault": notifies.fault, "script_stop": notifies.stop, "script": notifies.any,
        "script_master_rx_lower_pri": notifies.lower_heard,
    }  # fmt: skip
    return {key: _command(script) for key, script in named.items() if script is not None}


def _command(script: Script) -> str:
    return " ".join(f"'{word}'" for word in script.argv)


def _lists(
    config: InstanceConfig, view: InstanceView, scripts: Mapping[str, Script]
) -> dict[str, object]:
    advertised = set(config.spec.addresses)
    vips = [_address(one, view) for one in config.addresses if one.address in advertised]
    others = [_address(one, view) for one in config.addresses if one.address not in advertised]
    tracks = [track.id for track in config.spec.tracks]
    lists: dict[str, list[str]] = {
        "vips": vips,
        "evips": others,
        "vroutes": [str(route) for route in config.routes],
        "vrules": [str(rule) for rule in config.policies],
        "track_ifp": [one.name for one in tracks if one.kind is TrackKind.INTERFACE],
        "track_script": [
            _command(scripts[one.name])
            for one in tracks
            if one.kind is TrackKind.SCRIPT and one.name in scripts
        ],
        "track_process": [one.name for one in tracks if one.kind is TrackKind.PROCESS],
    }
    return {key: value for key, value in lists.items() if value}


def _address(held: HeldAddress, view: InstanceView) -> str:
    whole = held.prefix == len(held.address) * 8
    prefix = "" if whole else f"/{held.prefix}"
    scope = _SCOPES.get(held.scope, str(held.scope))
    label = f" label {held.label}" if held.label else ""
    there = " set" if view.held else ""
    text = f"{format_address(held.address)}{prefix}"
    return f"{text} dev {held.device} scope {scope}{label}{there}"


@final
class Dumper:
    """Writes a dump into *folder* when a signal asks for it."""

    def __init__(self, desk: Desk, router: Post, folder: Path, emit: Emit) -> None:
        self._desk = desk
        self._router = router
        self._folder = folder
        self._emit = emit

    async def write(self, name: str, wall: float) -> None:
        """Write the file *name*, one of the two; *wall* is the time of day."""
        if name == STATS_FILE:
            await self._write(name, render_stats, "")
            return
        spec = self._router.spec
        await self._write(
            name,
            lambda view: render_json(msgspec.json.decode(spec, type=RouterSpec), view, wall),
            "[]",
        )

    async def _write(self, name: str, render: Callable[[RouterView], str], nothing: str) -> None:
        try:
            reply = await self._desk.ask_role(self._router, TakeSnapshot())
            text = render(msgspec.json.decode(reply.body, type=RouterView))
        except AskError as error:
            if error.problem.code != "not_found":
                self._emit(events.DumpFailed(name, error.problem.message))
                return
            text = nothing  # there is no VRRP, as a dump of keepalived's has none
        try:
            _replace(self._folder / name, text)
        except OSError as error:
            self._emit(events.DumpFailed(name, f"{self._folder}: {error.strerror}"))


def _replace(path: Path, text: str) -> None:
    """Let *path* be a file with *text*: a reader finds the old one or the new one, all of it."""
    number, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.fchmod(number, MODE)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
