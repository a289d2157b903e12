"""What the VRRP half says and can mean, and what makes trouble in service."""

from collections.abc import Iterator, Sequence
from typing import Final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, warning
from lvskeeper.config.vrrp_build import VrrpOrigin
from lvskeeper.config.vrrp_model import VrrpConfig, VrrpInstance
from lvskeeper.config.vrrp_resolve import announcing_of, spacing_of, weight_of
from lvskeeper.config.vrrp_rules import VrrpSite
from lvskeeper.vrrp.timers import OWNER

MAX_ADVERTS: Final = 2_550.0
"""Adverts a second that a router was measured to carry with ease: 255 instances at 0.1 s."""
LONG: Final = 5.0
"""Seconds of announcements after which neighbours have waited for long."""
MOST: Final = 254
"""The highest priority of one that is no owner."""


def advise(vrrp: VrrpConfig, origin: VrrpOrigin, sites: Sequence[VrrpSite]) -> Iterator[Diagnostic]:
    """Judge what is allowed, and seldom meant."""
    yield from _adverts(sites)
    yield from _alike(vrrp, origin)
    yield from _flapping(vrrp, origin)
    for site in sites:
        yield from _cut_weights(site, vrrp)
        yield from _slow_announcing(site, vrrp)


def _adverts(sites: Sequence[VrrpSite]) -> Iterator[Diagnostic]:
    rate = 0.0
    for site in sites:
        rate += 1 / site.instance.advert_int
        if rate > MAX_ADVERTS:
            message = f"from here on there are more than {MAX_ADVERTS:.0f} adverts a second"
            hint = "a longer advert_int, or several VIPs in one instance, need fewer"
            yield warning(Code.MANY_ADVERTS, site.span(), message, hint)
            return


def _alike(vrrp: VrrpConfig, origin: VrrpOrigin) -> Iterator[Diagnostic]:
    """Find groups whose members want different things: together they are what the last one is."""
    instances = {one.name: one for one in vrrp.instances}
    for group, at in zip(vrrp.groups, origin.of("groups"), strict=True):
        members = [instances[name] for name in group.group if name in instances]
        for what, of in (
            ("state", _state),
            ("nopreempt", lambda one: "yes" if one.nopreempt else "no"),
            ("preempt_delay", lambda one: f"{one.preempt_delay:g}"),
        ):
            other = next((one for one in members if of(one) != of(members[0])), None)
            if other is not None:
                first = members[0]
                message = f"in the group '{group.name}' {what} differs: '{first.name}' has "
                message += f"{of(first)}, '{other.name}' {of(other)}"
                hint = "they change together: give all the same"
                yield warning(Code.GROUP_DIFFERS, at.span(1), message, hint)
                break


def _state(one: VrrpInstance) -> str:
    return one.state or ("MASTER" if one.priority == OWNER else "BACKUP")


def _flapping(vrrp: VrrpConfig, origin: VrrpOrigin) -> Iterator[Diagnostic]:
    """Find scripts of which one result decides, where an instance takes over again at once."""
    eager = {
        entry.name
        for one in vrrp.instances
        if not one.nopreempt and not one.preempt_delay
        for entry in one.track_script
    }
    for script, at in zip(vrrp.scripts, origin.of("scripts"), strict=True):
        if script.name in eager and script.fall == 1 and script.rise == 1:
            message = f"one failure of '{script.name}' moves the addresses, one success moves them "
            message += "back"
            hint = "add: fall 2 and rise 2, or preempt_delay or nopreempt to the instances"
            yield warning(Code.PING_PONG, at.span(1), message, hint)


def _cut_weights(site: VrrpSite, vrrp: VrrpConfig) -> Iterator[Diagnostic]:
    """Find weights that would lift a priority above what there is, where two routers tie."""
    one = site.instance
    if site.resolved.priority == OWNER:
        return
    scripts = {script.name: script.weight for script in vrrp.scripts}
    gain = sum(
        max(0, weight_of(entry, scripts.get(entry.name)).weight) for entry in one.track_script
    )
    gain += sum(max(0, entry.weight or 0) for entry in one.track_interface)
    gain += sum(max(0, entry.weight or 0) for entry in one.track_process)
    if site.resolved.priority + gain > MOST:
        message = f"priority {site.resolved.priority} and weights of {gain} come to more than "
        message += f"{MOST}: what is above is cut off"
        hint = "two routers that both come to 254 are told apart by their addresses only"
        yield warning(Code.WEIGHT, site.span("priority"), message, hint)


def _slow_announcing(site: VrrpSite, vrrp: VrrpConfig) -> Iterator[Diagnostic]:
    announcing = announcing_of(site.instance, vrrp.globals)
    garp, gna, _ = spacing_of(site.instance, vrrp.garp_groups, vrrp.globals)
    spacing = garp if site.resolved.family == 4 else gna
    count = len(site.resolved.addresses) + len(site.resolved.excluded)
    took = count * announcing.repeat * spacing
    if took > LONG:
        message = f"to announce {count} VIPs {announcing.repeat} times takes {took:.0f} s, with "
        message += f"{spacing:g} s between two"
        hint = "a smaller spacing or fewer repetitions are quicker"
        yield warning(Code.SLOW_ANNOUNCE, site.span("virtual_ipaddress", word=0), message, hint)
