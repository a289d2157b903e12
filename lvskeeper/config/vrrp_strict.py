"""Lints of ``vrrp_strict``: what keepalived refuses, or leaves out, to keep to the RFC."""

from collections.abc import Iterator
from typing import Final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.vrrp_rules import VrrpSite
from lvskeeper.vrrp.timers import OWNER

_HINT: Final = "remove it, or vrrp_strict"
_LINK_LOCAL: Final = (0xFE, 0x80)
_ANNOUNCE: Final = (
    "garp_master_delay", "garp_master_repeat", "garp_master_refresh",
    "garp_master_refresh_repeat", "garp_lower_prio_delay", "garp_lower_prio_repeat",
)  # fmt: skip


def strict_rules(site: VrrpSite) -> Iterator[Diagnostic]:
    """Judge an instance that keeps to the letter of the RFC."""
    if not site.resolved.strict:
        return
    yield from _refused(site)
    yield from _ignored(site)


def _refused(site: VrrpSite) -> Iterator[Diagnostic]:
    one, resolved = site.instance, site.resolved
    if not one.virtual_ipaddress:
        message = "vrrp_strict needs a VIP"
        yield error(
            Code.STRICT, site.span(), message, "add virtual_ipaddress, or remove vrrp_strict"
        )
    if one.unicast_peer:
        # keepalived 2.2.7 takes it without a word
        message = "vrrp_strict: unicast is beyond the RFC; the peers are used all the same"
        yield warning(Code.STRICT, site.span("unicast_peer", word=0), message, _HINT)
    if resolved.family == 6 and one.version == 2:
        message = "vrrp_strict: version 2 does not know IPv6"
        yield error(Code.STRICT, site.span("version"), message, "write version 3")
    if resolved.family == 6 and resolved.addresses:
        first = resolved.addresses[0].address
        if first[0] != _LINK_LOCAL[0] or first[1] & 0xC0 != _LINK_LOCAL[1]:
            message = "vrrp_strict: the first VIP of IPv6 has to be link-local"
            at = site.entry("virtual_ipaddress", first)
            yield error(Code.STRICT, at, message, "put an address of fe80::/10 first")


def _ignored(site: VrrpSite) -> Iterator[Diagnostic]:
    one, resolved = site.instance, site.resolved
    if one.state == "MASTER" and resolved.priority != OWNER:
        message = "vrrp_strict: it starts as BACKUP, because it is no address owner"
        hint = "write state BACKUP, or priority 255 for an owner"
        yield warning(Code.STRICT, site.span("state"), message, hint)
    if one.authentication and resolved.version == 2:
        message = "vrrp_strict knows no authentication: it is ignored"
        yield warning(Code.STRICT, site.span("authentication", word=0), message, _HINT)
    if one.preempt_delay:
        message = "vrrp_strict knows no preempt_delay: it is ignored"
        yield warning(Code.STRICT, site.span("preempt_delay"), message, _HINT)
    if one.accept is not None and resolved.version == 2 and one.accept is not resolved.accept:
        message = "vrrp_strict: version 2 has no accept mode; only an owner accepts"
        yield warning(Code.STRICT, site.span("accept", "no_accept", word=0), message, _HINT)
    if one.lower_prio_no_advert is False:
        message = "vrrp_strict: lower_prio_no_advert stays on"
        yield warning(Code.STRICT, site.span("lower_prio_no_advert"), message, _HINT)
    if one.higher_prio_send_advert:
        message = "vrrp_strict: higher_prio_send_advert stays off"
        yield warning(Code.STRICT, site.span("higher_prio_send_advert"), message, _HINT)
    if one.vmac_xmit_base:
        message = "vrrp_strict: vmac_xmit_base stays off"
        yield warning(Code.STRICT, site.span("vmac_xmit_base", word=0), message, _HINT)
    if one.down_timer_adverts not in {None, 3}:
        message = "vrrp_strict: three adverts must be missing before a takeover"
        yield warning(Code.STRICT, site.span("down_timer_adverts"), message, _HINT)
    given = [name for name in _ANNOUNCE if site.given(name)]
    if given:
        message = f"vrrp_strict announces everything once: {given[0]} is ignored"
        yield warning(Code.STRICT, site.span(given[0], word=0), message, _HINT)
