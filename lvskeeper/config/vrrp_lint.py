"""What the VRRP half says and cannot mean, beyond single instances."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from lvskeeper.config.build import Built
from lvskeeper.config.check_rules import checked_files
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.rules import known_names
from lvskeeper.config.site import place, place_of
from lvskeeper.config.source import Span
from lvskeeper.config.tree import Directive
from lvskeeper.config.vrrp_advice import advise
from lvskeeper.config.vrrp_build import VrrpOrigin
from lvskeeper.config.vrrp_model import VrrpConfig, VrrpGlobals
from lvskeeper.config.vrrp_resolve import resolve, used_names
from lvskeeper.config.vrrp_rules import RULES, VrrpSite, entries_of
from lvskeeper.config.vrrp_strict import strict_rules
from lvskeeper.units import Address, format_address

BEATS: Final = 3.0
"""Seconds of silence that a director may need when it is busy: it beats once a second."""

_TRACKED: Final = (
    ("track_script", "scripts", "vrrp_script"),
    ("track_file", "files", "track_file"),
    ("track_process", "processes", "vrrp_track_process"),
)
"""Block of entries, field of the model, and keyword of what is tracked."""


def lint_vrrp(built: Built, vrrp: VrrpConfig) -> list[Diagnostic]:
    """Return the findings for the VRRP half; items with errors of their own are left alone."""
    origin, spoilt = built.origin.vrrp, built.origin.spoilt
    assert origin is not None
    sites = [
        VrrpSite(one, resolve(one, vrrp.globals), vrrp.globals, at)
        for one, at in zip(vrrp.instances, origin.of("instances"), strict=True)
        if at not in spoilt
    ]
    found: list[Diagnostic] = []
    for site in sites:
        for rule in RULES:
            found += rule(site)
        found += strict_rules(site)
    found += advise(vrrp, origin, sites)
    found += _same_vrid(sites)
    found += _same_vip(sites)
    found += _same_device(sites)
    found += _groups(vrrp, origin, spoilt)
    found += _tracked(vrrp, origin, checked_files(built.config.virtual_servers))
    found += _static(origin)
    found += _garp_groups(vrrp, origin, spoilt)
    found += _link_delays(origin)
    served = bool(built.config.virtual_servers)
    found += _globals(vrrp.globals, origin, served=served)
    found += _mail(vrrp, origin)
    found += _sync_daemon(vrrp, origin)
    return found


def _global(origin: VrrpOrigin, name: str, word: int = 1) -> Span:
    return place_of(origin.globals, name, word=word)


def _same_vrid(sites: Sequence[VrrpSite]) -> Iterator[Diagnostic]:
    seen: dict[tuple[object, ...], VrrpSite] = {}
    for site in sites:
        one = site.instance
        if one.virtual_router_id is None:
            continue
        # Without an interface it is the source that tells two virtual routers apart.
        where = one.interface or site.resolved.source
        other = seen.setdefault((where, site.resolved.family, one.virtual_router_id), site)
        if other is not site:
            message = (
                f"'{one.name}' has the VRID {one.virtual_router_id} of '{other.instance.name}' on "
                f"the same interface"
            )
            hint = f"the other is at {other.span()}; every virtual router has its own number"
            yield error(Code.SAME_VRID, site.span("virtual_router_id"), message, hint)


def _same_vip(sites: Sequence[VrrpSite]) -> Iterator[Diagnostic]:
    seen: dict[Address, tuple[VrrpSite, str]] = {}
    for site in sites:
        one = site.instance
        for block, entries in (
            ("virtual_ipaddress", one.virtual_ipaddress),
            ("virtual_ipaddress_excluded", one.virtual_ipaddress_excluded),
        ):
            for entry in entries:
                device = entry.dev or one.interface
                other, there = seen.setdefault(entry.address, (site, device))
                if other is site:
                    continue
                name = format_address(entry.address)
                message = f"the VIP {name} is also one of '{other.instance.name}'"
                at = site.entry(block, entry.address)
                hint = f"the other is at {other.span()}"
                report = error if device == there else warning
                yield report(Code.SAME_VIP, at, message, hint)


def _same_device(sites: Sequence[VrrpSite]) -> Iterator[Diagnostic]:
    seen: dict[str, VrrpSite] = {}
    for site in sites:
        for name, device in (
            ("use_vmac", site.instance.use_vmac),
            ("use_ipvlan", site.instance.use_ipvlan),
        ):
            if device is None or not device.name:
                continue
            other = seen.setdefault(device.name, site)
            if other is not site:
                message = f"'{other.instance.name}' has a virtual device of this name, too"
                yield error(Code.VMAC, site.span(name, word=0), message)


def _members(
    names: Sequence[str], at: Directive, instances: Collection[str]
) -> Iterator[Diagnostic]:
    """Find names of instances that are not defined, or given twice."""
    seen: set[str] = set()
    for entry in entries_of(at, "group"):
        for index, name in enumerate(entry.words):
            if name in names and name not in instances:
                message = f"the vrrp_instance '{name}' is not defined"
                hint = known_names("instances", instances)
                yield error(Code.MEMBER_UNKNOWN, entry.span(index), message, hint)
            elif name in seen:
                yield warning(Code.TWICE, entry.span(index), f"'{name}' is named twice")
            seen.add(name)


def _groups(vrrp: VrrpConfig, origin: VrrpOrigin, spoilt: set[Directive]) -> Iterator[Diagnostic]:
    instances = origin.names.get("instances", set())
    home: dict[str, str] = {}
    for group, at in zip(vrrp.groups, origin.of("groups"), strict=True):
        yield from _members(group.group, at, instances)
        for entry in entries_of(at, "group"):
            for index, name in enumerate(entry.words):
                first = home.setdefault(name, group.name)
                if first != group.name:
                    message = f"'{name}' is in the group '{first}' already"
                    hint = "an instance is in one sync group at most"
                    yield error(Code.TWO_GROUPS, entry.span(index), message, hint)
        count = len(set(group.group))
        if count == 0 and at not in spoilt:
            message = f"the vrrp_sync_group '{group.name}' has no instances"
            yield error(Code.GROUP_SIZE, at.span(1), message, "add: group { NAME ... }")
        elif count == 1:
            message = f"the vrrp_sync_group '{group.name}' has one instance: it does nothing"
            yield warning(Code.GROUP_SIZE, at.span(1), message)
        elif not group.sync_group_tracking_weight:
            yield from _group_weights(group.name, group.group, origin, vrrp)
    for tracked, at in zip(vrrp.track_groups, origin.of("track_groups"), strict=True):
        yield from _members(tracked.group, at, instances)


def _group_weights(
    group: str, members: Sequence[str], origin: VrrpOrigin, vrrp: VrrpConfig
) -> Iterator[Diagnostic]:
    """Find weights that would move one member of a group and not the others."""
    places = zip(vrrp.instances, origin.of("instances"), strict=True)
    where = [at for one, at in places if one.name in members]
    groups = zip(vrrp.groups, origin.of("groups"), strict=True)
    where += [at for one, at in groups if one.name == group]
    weighted = [
        entry
        for at in where
        for block in ("track_interface", "track_script", "track_file", "track_process")
        for entry in entries_of(at, block)
        if entry.words[1:2] == ["weight"] and entry.words[2:3] not in ([], ["0"])
    ]
    if weighted:
        others = len(weighted) - 1
        more = f" ({others} more like it)" if others else ""
        message = f"in the group '{group}' weights do not count: a failure is FAULT{more}"
        hint = "add sync_group_tracking_weight to the group, or leave the weights out"
        yield warning(Code.WEIGHT, weighted[0].span(2), message, hint)


def _tracked(vrrp: VrrpConfig, origin: VrrpOrigin, checked: frozenset[str]) -> Iterator[Diagnostic]:
    """Find what is tracked and not defined, and what is defined and neither tracked nor *checked*.

    The latter are names of files.
    """
    trackers = (*origin.of("instances"), *origin.of("groups"))
    for block, key, keyword in _TRACKED:
        known = origin.names.get(key, set())
        for tracker in trackers:
            for entry in entries_of(tracker, block):
                if entry.words[0] not in known:
                    message = f"the {keyword} '{entry.words[0]}' is not defined"
                    hint = known_names(f"{keyword}s", known)
                    yield error(Code.TRACK_UNKNOWN, entry.span(0), message, hint)
        used = used_names(vrrp, block) | (checked if block == "track_file" else frozenset())
        for one in origin.of(key):
            if one.words[1] not in used:
                message = f"nothing tracks the {one.words[0]} '{one.words[1]}'"
                yield warning(Code.UNUSED_TRACK, one.span(1), message)


def _static(origin: VrrpOrigin) -> Iterator[Diagnostic]:
    """Find static items whose track group is not defined."""
    known = origin.names.get("track_groups", set())
    for key in ("static_ipaddress", "static_routes", "static_rules"):
        for block in origin.of(key):
            for entry in block.children or ():
                if "track_group" not in entry.words[:-1]:
                    continue
                index = entry.words.index("track_group") + 1
                if entry.words[index] not in known:
                    message = f"the track_group '{entry.words[index]}' is not defined"
                    hint = known_names("track groups", known)
                    yield error(Code.TRACK_UNKNOWN, entry.span(index), message, hint)


def _garp_groups(
    vrrp: VrrpConfig, origin: VrrpOrigin, spoilt: set[Directive]
) -> Iterator[Diagnostic]:
    seen: dict[str, Directive] = {}
    for group, at in zip(vrrp.garp_groups, origin.of("garp_groups"), strict=True):
        if not group.members and at not in spoilt:
            message = "a garp_group needs an interface"
            yield error(Code.GARP_GROUP, at.span(0), message, "add: interface DEVICE")
        for name in dict.fromkeys(group.members):
            other = seen.setdefault(name, at)
            if other is not at:
                message = f"'{name}' is in two garp_groups"
                yield error(Code.GARP_GROUP, at.span(0), message, f"first at {other.span(0)}")


def _link_delays(origin: VrrpOrigin) -> Iterator[Diagnostic]:
    for block in origin.of("link_delays"):
        for entry in block.children or ():
            if len(entry.words) == 3 and entry.words[1].strip("0.") != "":
                message = "a link that is down counts at once: the delay is not served"
                hint = f"write: {entry.words[0]} 0 {entry.words[2]}"
                yield warning(Code.LINK_DELAY, entry.span(1), message, hint)


def _globals(settings: VrrpGlobals, origin: VrrpOrigin, *, served: bool) -> Iterator[Diagnostic]:
    given = settings.model_fields_set
    if "vrrp_director_timeout" in given:
        at = _global(origin, "vrrp_director_timeout")
        if not served:
            message = "without a virtual server there is no director to wait for"
            yield warning(Code.DIRECTOR_TIMEOUT, at, message, "remove the line")
        elif 0 < settings.vrrp_director_timeout < BEATS:
            message = f"the director may be silent for {BEATS:g} s when it is busy"
            hint = f"at least {BEATS:g}, or 0 for never"
            yield error(Code.DIRECTOR_TIMEOUT, at, message, hint)
    for fifo in ("notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo"):
        if f"{fifo}_script" in given and fifo not in given:
            at = _global(origin, f"{fifo}_script", word=0)
            yield warning(Code.NO_EFFECT, at, f"{fifo}_script needs {fifo}")
    if settings.vrrp_rlimit_rttime and not settings.vrrp_rt_priority:
        at = _global(origin, "vrrp_rlimit_rttime")
        yield warning(Code.NO_EFFECT, at, "vrrp_rlimit_rttime needs vrrp_rt_priority")


def _mail(vrrp: VrrpConfig, origin: VrrpOrigin) -> Iterator[Diagnostic]:
    settings = vrrp.globals
    if settings.smtp_server and settings.notification_email:
        return
    lacks = "notification_email" if settings.smtp_server else "smtp_server"
    message = f"without {lacks} in global_defs there is no mail"
    for name in ("smtp_alert", "smtp_alert_vrrp", "smtp_alert_checker"):
        if getattr(settings, name):
            yield warning(Code.NO_EFFECT, _global(origin, name, word=0), message)
            break
    for items, key in ((vrrp.instances, "instances"), (vrrp.groups, "groups")):
        for one, at in zip(items, origin.of(key), strict=True):
            if one.smtp_alert:
                yield warning(Code.NO_EFFECT, place(at, "smtp_alert", word=0), message)


def _sync_daemon(vrrp: VrrpConfig, origin: VrrpOrigin) -> Iterator[Diagnostic]:
    daemon = vrrp.globals.lvs_sync_daemon
    names = origin.names.get("instances", set())
    if daemon is not None and daemon.inst and daemon.inst not in names:
        where = _global(origin, "lvs_sync_daemon")
        message = f"the vrrp_instance '{daemon.inst}' is not defined"
        yield error(Code.MEMBER_UNKNOWN, where, message, known_names("instances", names))
    first = ""
    for one, at in zip(vrrp.instances, origin.of("instances"), strict=True):
        if not one.lvs_sync_daemon_interface:
            continue
        where = place(at, "lvs_sync_daemon_interface", word=0)
        if daemon is not None or first:
            message = "there is one sync daemon, and another line says where it is"
            yield error(Code.SYNC_DAEMON, where, message, "keep lvs_sync_daemon in global_defs")
        first = first or one.name
