"""What a reload would change in a router: two configurations compared, without a kernel.

It goes by what the router does: an instance is known by interface, family and VRID, and goes on
where its version is the same; everything else of it is edited in place.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from lvskeeper.daemon.plan_change import Change, Effect, Meaning, field_changes, other_changes
from lvskeeper.daemon.router_spec import GroupConfig, InstanceConfig, RouterSpec
from lvskeeper.units import format_address
from lvskeeper.vrrp.holdings import HeldAddress
from lvskeeper.vrrp.validate import Rules

_NEWS: Final = "vrrp"
_MOVES: Final = "; who is master may change"

_SETTINGS: Final[dict[str, Meaning]] = {
    "router_id": ("router_id", Effect.NOTHING),
    "link_delays": ("interface_up_down_delays", Effect.IN_PLACE),
    "fence": ("vrrp_fence", Effect.IN_PLACE),
    "director_timeout": ("vrrp_director_timeout", Effect.NOTHING),
    "startup_delay": ("vrrp_startup_delay", Effect.RESTART),
    "unknown_vrids": ("log_unknown_vrids", Effect.NOTHING),
    "fifos": ("the pipes of the router", Effect.NOTHING),
    "script_security": ("enable_script_security", Effect.NOTHING),
    "mail": ("mail of the router", Effect.NOTHING),
    "scheduling": ("how the router is scheduled", Effect.NOTHING),
    "sync_instance": ("the instance that connection sync follows", Effect.NOTHING),
    "hold": ("hold of state_sync", Effect.IN_PLACE),
}
_PARTS: Final = frozenset(
    {
        "instances", "groups", "scripts", "files", "processes", "static_addresses",
        "static_routes", "static_policies",
    }
)  # fmt: skip
_SPEC: Final[dict[str, Meaning]] = {
    "name": ("renamed", Effect.NOTHING),
    "priority": ("priority", Effect.CONNECTIONS),
    "start": ("state, which counts at its next start,", Effect.RESTART),
    "preempt_delay": ("preempt_delay", Effect.IN_PLACE),
    "down_timer_adverts": ("down_timer_adverts", Effect.IN_PLACE),
    "lower_prio_no_advert": ("lower_prio_no_advert", Effect.NOTHING),
    "higher_prio_send_advert": ("higher_prio_send_advert", Effect.NOTHING),
    "owner_ignore_adverts": ("owner_ignore_adverts", Effect.IN_PLACE),
    "timer_expired_backup": ("timer_expired_backup", Effect.IN_PLACE),
    "announce": ("how it announces its addresses", Effect.NOTHING),
    "tracks": ("what it tracks", Effect.CONNECTIONS),
}
_CONFIG: Final[dict[str, Meaning]] = {
    "group": ("multicast group", Effect.INTERRUPTS),
    "ttl": ("unicast_ttl", Effect.NOTHING),
    "skip_addresses": ("skip_check_adv_addr", Effect.NOTHING),
    "vmac": ("its virtual device", Effect.INTERRUPTS),
    "address_vmacs": ("virtual devices of its addresses", Effect.INTERRUPTS),
    "accept": ("accept", Effect.CONNECTIONS),
    "track_primary": ("dont_track_primary", Effect.CONNECTIONS),
    "no_peer_fault": ("unicast_fault_no_peer", Effect.CONNECTIONS),
    "promote_secondaries": ("promote_secondaries", Effect.NOTHING),
    "extra_refresh": ("garp_extra_if", Effect.NOTHING),
    "notifies": ("notifies", Effect.NOTHING),
}
_SEEN: Final = frozenset({"spec", "rules", "addresses", "routes", "policies"})
_SPEC_SEEN: Final = frozenset(
    {"key", "version", "interval", "source", "addresses", "accept", "preempt"}
)
_RULES: Final[dict[str, Meaning]] = {
    "auth": ("authentication", Effect.INTERRUPTS),
    "check_source": ("check_unicast_src", Effect.NOTHING),
    "checksum": ("checksum of adverts", Effect.INTERRUPTS),
    "old_checksum": ("old_unicast_checksum", Effect.NOTHING),
}
_RULES_SEEN: Final = frozenset({"version", "vrid", "interval", "addresses", "peers", "hmac"})


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)
H = TypeVar("H", bound=Hashable)


def compare_router(old: RouterSpec | None, new: RouterSpec | None) -> list[Change]:
    """Return what a router that runs by *old* would change for *new*; ``None`` is no router."""
    if old == new:
        return []
    before, after = old or RouterSpec(), new or RouterSpec()
    found = [
        *_static(before, after),
        *_tracked("vrrp_script", before.scripts, after.scripts),
        *_tracked("track_file", before.files, after.files),
        *_tracked("vrrp_track_process", before.processes, after.processes),
        *_instances(before, after),
        *_groups(before, after),
    ]
    if old is None or new is None:
        return found
    known = _SETTINGS.keys() | _PARTS
    return [
        *found,
        *field_changes(old, new, _SETTINGS, "", "settings"),
        *other_changes(old, new, known, "the router: "),
    ]


def _static(old: RouterSpec, new: RouterSpec) -> Iterator[Change]:
    yield from _addresses("static address", old.static_addresses, new.static_addresses)
    yield from _set("static route", old.static_routes, new.static_routes)
    yield from _set("static rule", old.static_policies, new.static_policies)


def _addresses(
    words: str, old: Sequence[HeldAddress], new: Sequence[HeldAddress]
) -> Iterator[Change]:
    before = {one.name: one for one in old}
    after = {one.name: one for one in new}
    for name, one in after.items():
        if name not in before:
            yield Change(f"add {words} {one}", Effect.IN_PLACE, "addresses")
        elif before[name] != one:
            yield Change(f"change {words} {one}", Effect.IN_PLACE, "addresses")
    for name, one in before.items():
        if name not in after:
            yield Change(f"delete {words} {one}", Effect.INTERRUPTS, "addresses")


def _set(words: str, old: Sequence[H], new: Sequence[H]) -> Iterator[Change]:
    for one in new:
        if one not in old:
            yield Change(f"add {words} {one}", Effect.IN_PLACE, "addresses")
    for one in old:
        if one not in new:
            yield Change(f"delete {words} {one}", Effect.CONNECTIONS, "addresses")


def _tracked(words: str, old: Sequence[N], new: Sequence[N]) -> Iterator[Change]:
    before, after = ({one.name: one for one in items} for items in (old, new))
    for name, one in after.items():
        if name not in before:
            yield Change(f"{words} {name} starts", Effect.NOTHING, "scripts")
        elif before[name] != one:
            text = f"{words} {name} changes, and starts anew"
            yield Change(text, Effect.IN_PLACE, "scripts")
    for name in before.keys() - after.keys():
        yield Change(f"{words} {name} ends", Effect.NOTHING, "scripts")


def _instances(old: RouterSpec, new: RouterSpec) -> Iterator[Change]:
    before = {one.spec.key: one for one in old.instances}
    after = {one.spec.key: one for one in new.instances}
    names = {one.spec.name: one.spec.key for one in new.instances}
    for key, was in before.items():
        now = after.get(key)
        if now is not None and now.spec.version == was.spec.version:
            yield from _instance(was, now)
        elif now is not None:
            yield _anew(was, f"version {was.spec.version} -> {now.spec.version}")
        elif (other := names.get(was.spec.name)) is not None and other not in before:
            yield _anew(was, f"{key} -> {other}")
        else:
            text = f"vrrp_instance {was.spec.name} leaves; its addresses go to a peer, if any"
            yield Change(text, Effect.INTERRUPTS, _NEWS)
    moved = {one.spec.name for one in old.instances}
    for key, now in after.items():
        if key not in before and now.spec.name not in moved:
            text = f"vrrp_instance {now.spec.name} joins: {held_text(now)}"
            yield Change(text, Effect.IN_PLACE, _NEWS, waiting=True)


def _anew(was: InstanceConfig, why: str) -> Change:
    text = f"vrrp_instance {was.spec.name} leaves and joins anew: {why}"
    return Change(text, Effect.INTERRUPTS, _NEWS)


def held_text(config: InstanceConfig) -> str:
    """Return in words what an instance holds as master."""
    names = [format_address(one.address) for one in config.addresses[:3]]
    more = len(config.addresses) - len(names)
    text = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{text or 'no address'}, if it becomes master"


def _instance(old: InstanceConfig, new: InstanceConfig) -> Iterator[Change]:
    """Yield what changes in an instance that goes on."""
    prefix = f"vrrp_instance {new.spec.name}: "
    for change in field_changes(old.spec, new.spec, _SPEC, prefix, _NEWS):
        yield (
            replace(change, what=change.what + _MOVES)
            if (change.impact is Effect.CONNECTIONS)
            else change
        )
    if old.spec.preempt and not new.spec.preempt:
        yield Change(f"{prefix}nopreempt", Effect.IN_PLACE, _NEWS)
    elif new.spec.preempt and not old.spec.preempt:
        yield Change(f"{prefix}preempt{_MOVES}", Effect.CONNECTIONS, _NEWS)
    yield from _interval(old, new, prefix)
    yield from _source(old, new, prefix)
    yield from _addresses(f"address of {new.spec.name}", old.addresses, new.addresses)
    if {*old.spec.addresses} != {*new.spec.addresses} and old.addresses == new.addresses:
        text = f"{prefix}its adverts name other addresses"
        yield Change(text, Effect.NOTHING, _NEWS)
    yield from _set(f"route of {new.spec.name}", old.routes, new.routes)
    yield from _set(f"rule of {new.spec.name}", old.policies, new.policies)
    yield from field_changes(old, new, _CONFIG, prefix, _NEWS)
    yield from _rules(old.rules, new.rules, prefix)
    yield from other_changes(old, new, _CONFIG.keys() | _SEEN, prefix)
    yield from other_changes(old.spec, new.spec, _SPEC.keys() | _SPEC_SEEN, prefix)


def _interval(old: InstanceConfig, new: InstanceConfig, prefix: str) -> Iterator[Change]:
    if old.spec.interval == new.spec.interval:
        return
    text = f"{prefix}advert_int {old.spec.interval:g} -> {new.spec.interval:g}"
    if new.spec.version == 2:
        text += "; peers drop its adverts until they have the same"
        yield Change(text, Effect.INTERRUPTS, _NEWS)
    else:
        yield Change(text, Effect.IN_PLACE, _NEWS)


def _source(old: InstanceConfig, new: InstanceConfig, prefix: str) -> Iterator[Change]:
    before, after = old.spec.source, new.spec.source
    if before == after:
        return
    shown = [format_address(one) if one else "the interface's" for one in (before, after)]
    effect = Effect.INTERRUPTS if new.rules.peers else Effect.CONNECTIONS
    yield Change(f"{prefix}source address {shown[0]} -> {shown[1]}{_MOVES}", effect, _NEWS)


def _rules(old: Rules, new: Rules, prefix: str) -> Iterator[Change]:
    """Yield changes of what is expected of packets; no secret is told."""
    if old == new:
        return
    for change in field_changes(old, new, _RULES, prefix, _NEWS):
        more = "; peers drop its adverts until they have the same"
        hard = change.impact is Effect.INTERRUPTS
        yield replace(change, what=change.what + more) if hard else change
    yield from _hmac(old, new, prefix)
    before, after = ({peer.address: peer for peer in one.peers} for one in (old, new))
    if bool(before) is not bool(after):
        text = f"{prefix}{'unicast' if after else 'multicast'} from now on"
        yield Change(f"{text}; peers have to follow", Effect.INTERRUPTS, _NEWS)
    elif before != after:
        lost = [format_address(one) for one in before.keys() - after.keys()]
        text = f"{prefix}unicast_peer changed"
        more = f"; {', '.join(sorted(lost))} hears nothing any more" if lost else ""
        effect = Effect.INTERRUPTS if lost else Effect.IN_PLACE
        yield Change(text + more, effect, _NEWS)
    yield from other_changes(old, new, _RULES.keys() | _RULES_SEEN, prefix)


def _hmac(old: Rules, new: Rules, prefix: str) -> Iterator[Change]:
    if old.hmac == new.hmac:
        return
    text = f"{prefix}auth_hmac changed"
    if old.hmac is None or new.hmac is None:
        more = "; peers drop its adverts until they have the same"
        yield Change(text + more, Effect.INTERRUPTS, _NEWS)
        return
    was, now = old.hmac, new.hmac
    options = ("active", "window", "anti_replay", "mode")
    same = all(getattr(was, name) == getattr(now, name) for name in options)
    if same and {*was.keys} <= {*now.keys}:
        yield Change(f"{text}: a key comes", Effect.IN_PLACE, _NEWS)
    else:
        more = "; peers that do not know the key drop its adverts"
        yield Change(text + more, Effect.INTERRUPTS, _NEWS)


def _groups(old: RouterSpec, new: RouterSpec) -> Iterator[Change]:
    names = {one.spec.key: one.spec.name for one in (*old.instances, *new.instances)}

    def members(group: GroupConfig) -> str:
        return ", ".join(names.get(key, str(key)) for key in group.spec.members) or "nobody"

    before, after = ({one.spec.name: one for one in spec.groups} for spec in (old, new))
    for name, one in after.items():
        words = f"vrrp_sync_group {name}"
        was = before.get(name)
        if was is None:
            text = f"{words} couples {members(one)}{_MOVES}"
            yield Change(text, Effect.CONNECTIONS, _NEWS)
            continue
        if was.spec.members != one.spec.members:
            text = f"{words}: members {members(was)} -> {members(one)}{_MOVES}"
            yield Change(text, Effect.CONNECTIONS, _NEWS)
        if replace(was.spec, members=one.spec.members) != one.spec:
            text = f"{words}: what it tracks changed{_MOVES}"
            yield Change(text, Effect.CONNECTIONS, _NEWS)
        if replace(was, spec=one.spec) != one:
            yield Change(f"{words}: notifies changed", Effect.NOTHING, _NEWS)
    for name in before.keys() - after.keys():
        text = f"vrrp_sync_group {name} ends: its members go separate ways"
        yield Change(text, Effect.CONNECTIONS, _NEWS)
