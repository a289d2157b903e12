"""Lints of one virtual server."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from lvskeeper.config.check_rules import check_rules
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.keywords import NESTED
from lvskeeper.config.model import Forwarding, LocalAddressGroup, RealServer
from lvskeeper.config.site import FAMILIES, Site, place
from lvskeeper.config.source import Span
from lvskeeper.config.tree import Directive
from lvskeeper.units import Address, format_endpoint

_Rule = Callable[[Site], Iterable[Diagnostic]]


def known_names(what: str, names: Iterable[str]) -> str:
    """Return a hint that lists the names there are."""
    listed = ", ".join(sorted(names)[:8])
    return f"{what} in this configuration: {listed or 'none'}"


def _defaulted(site: Site) -> Iterator[Diagnostic]:
    given = {child.words[0] for child in site.at.children or ()}
    fwmark = all(member.fwmark for member in site.members)
    if "protocol" not in given and not fwmark:
        hint = "write `protocol TCP` or `protocol UDP`; without it keepalived takes UDP"
        yield error(Code.NO_PROTOCOL, site.span(), "no protocol", hint)
    for names, value in (
        (("lb_algo", "lvs_sched"), "wlc"),
        (("lb_kind", "lvs_method"), "NAT"),
    ):
        if given.isdisjoint(names):
            message = f"no {names[0]}: it is taken as {value}"
            yield warning(Code.DEFAULTED, site.span(), message, f"add: {names[0]} {value}")


def _full_nat(site: Site) -> Iterator[Diagnostic]:
    if "FNAT" not in site.kinds:
        return
    at = site.span("lb_kind", "lvs_method")
    if site.server.ops:
        message = "one-packet scheduling (ops) does not go with FNAT"
        hint = "the answers of the real servers would never be translated back"
        yield error(Code.FNAT_OPS, site.span("ops", word=0), message, hint)
    if any(member.fwmark for member in site.members):
        message = "FNAT by fwmark works on stock kernels only"
        hint = "a kernel with native FULLNAT takes it and forwards nothing"
        yield warning(Code.FNAT_FWMARK, at, message, hint)
    if site.server.protocol == "UDP":
        message = "FNAT for UDP works on stock kernels only"
        hint = "a kernel with native FULLNAT takes it and loses the answers"
        yield warning(Code.FNAT_UDP, at, message, hint)


def _scheduling(site: Site) -> Iterator[Diagnostic]:
    server = site.server
    for algo, flags in (
        ("sh", ("sh_port", "sh_fallback")),
        ("mh", ("mh_port", "mh_fallback")),
    ):
        for name in flags:
            if getattr(server, name) and server.lb_algo != algo:
                keyword = name.replace("_", "-")
                message = f"{keyword} is for the scheduler {algo}, not for {server.lb_algo}"
                at = site.span(keyword, word=0)
                yield warning(Code.SCHED_FLAG, at, message, "it is ignored")
    # A mark has no protocol, and one that is not named has been told already.
    named = any(child.words[0] == "protocol" for child in site.at.children or ())
    marks = all(member.fwmark for member in site.members)
    if server.ops and server.protocol != "UDP" and named and not marks:
        message = f"ops has an effect on UDP only, not on {server.protocol}"
        yield warning(Code.OPS_PROTOCOL, site.span("ops", word=0), message)


def _persistence(site: Site) -> Iterator[Diagnostic]:
    server = site.server
    bits = server.persistence_granularity
    if bits is not None and bits > 32 and 4 in site.families:
        at = site.span("persistence_granularity")
        yield error(Code.GRANULARITY, at, f"a prefix length of {bits} is too long for IPv4")
    if not server.persistent and any(
        member.port == 0 and not member.fwmark for member in site.members
    ):
        message = "a service for all ports needs persistence"
        hint = "name a port, or add persistence_timeout"
        yield error(Code.PORT_ZERO, site.name, message, hint)


def sticks(site: Site) -> Iterator[Diagnostic]:
    """Find servers that fail and stay in the table, where persistent clients stay with them."""
    server = site.server
    where = [site.at] if server.inhibit_on_failure else []
    where += [
        at for one, at in zip(server.real_servers, site.real, strict=True) if one.inhibit_on_failure
    ]
    if not server.persistent or not where:
        return
    message = "clients that persist stay with a server that failed: its weight is 0, its entry left"
    hint = "leave inhibit_on_failure out, or add to ipvs_sysctls: expire_quiescent_template 1"
    yield warning(Code.STICKS, place(where[0], "inhibit_on_failure", word=0), message, hint)


def _quorum(site: Site) -> Iterator[Diagnostic]:
    server = site.server
    weights = [server.weight if one.weight is None else one.weight for one in server.real_servers]
    if not weights:
        yield warning(Code.NO_SERVERS, site.span(), f"'{site.at}' has no real servers")
        return
    total = sum(weights)
    if server.hysteresis < server.quorum <= total - server.hysteresis:
        return
    from lvskeeper.health.pool import effective_quorum  # noqa: PLC0415 - all of the health room
    from lvskeeper.health.spec import QuorumSpec  # noqa: PLC0415 - see above

    used = effective_quorum(QuorumSpec(server.quorum, server.hysteresis), total)
    if total == 0:
        message = "all weights are 0: the quorum is never gained"
        yield warning(Code.QUORUM, site.span("weight"), message)
        return
    if used.quorum != server.quorum:
        message = f"the quorum {server.quorum} is above the sum of all weights, {total}"
        hint = f"it is lowered to {used.quorum}"
        yield warning(Code.QUORUM, site.span("quorum"), message, hint)
    if used.hysteresis != server.hysteresis:
        message = f"the hysteresis {server.hysteresis} is not below the quorum {used.quorum}"
        hint = f"it is lowered to {used.hysteresis}"
        yield warning(Code.HYSTERESIS, site.span("hysteresis"), message, hint)
    if used.quorum + used.hysteresis > total:
        message = (
            f"quorum {used.quorum} plus hysteresis {used.hysteresis} is above the sum of all "
            f"weights, {total}"
        )
        hint = "the quorum is never gained"
        yield warning(Code.QUORUM, site.span("hysteresis"), message, hint)


def _sorry(site: Site) -> Iterator[Diagnostic]:
    sorry = site.server.sorry_server
    if sorry is None:
        given = {child.words[0] for child in site.at.children or ()}
        for name in sorted(given & {"sorry_server_inhibit", "sorry_server_lvs_method"}):
            message = f"{name} needs sorry_server"
            yield warning(Code.NO_EFFECT, site.span(name, word=0), message)
        return
    at = site.span("sorry_server")
    # A server without a port has the service's, so that two spellings are one destination.
    ports = {member.port for member in site.members}
    if any(
        one.address == sorry.address and (one.port or port) == (sorry.port or port)
        for one in site.server.real_servers
        for port in ports
    ):
        message = "the sorry server is one of the real servers"
        yield error(Code.SORRY, at, message)
    elif site.server.real_servers and not any(one.checks for one in site.server.real_servers):
        message = "the sorry server is never used: no real server has a check"
        yield warning(Code.SORRY, at, message, "the quorum is never lost without checks")
    if (site.server.sorry_server_lvs_method or site.server.lb_kind).method != "TUN":
        yield from _family(site, sorry.address, at, "sorry server")


def _on_devices(site: Site) -> Iterator[Diagnostic]:
    """Judge what depends on the virtual addresses of this host."""
    server = site.server
    marks = all(member.fwmark for member in site.members)
    for name, given in (("ha_suspend", server.ha_suspend), ("vip_bind_dev", server.vip_bind_dev)):
        if given and marks:
            message = f"{name} needs an address, and a firewall mark has none"
            yield warning(Code.NO_EFFECT, site.span(name, word=0), message)
    if server.ha_suspend and server.vip_bind_dev and not marks:
        message = "ha_suspend has no effect beside vip_bind_dev"
        hint = "the address would wait for the quorum, and the checks for the address"
        yield warning(Code.NO_EFFECT, site.span("ha_suspend", word=0), message, hint)


def _family(site: Site, address: Address, at: Span, what: str) -> Iterator[Diagnostic]:
    if site.families and len(address) not in site.families:
        theirs = FAMILIES[next(iter(site.families))]
        message = f"the {what} is {FAMILIES[len(address)]}, the virtual server is {theirs}"
        yield error(Code.FAMILY, at, message, "only TUN crosses address families")


RULES: Final[tuple[_Rule, ...]] = (
    _defaulted, _full_nat, _scheduling, _persistence, _quorum, _sorry, _on_devices,
)  # fmt: skip


def pool_rules(site: Site, pools: dict[str, LocalAddressGroup]) -> Iterator[Diagnostic]:
    """Judge the local-address group of a virtual server."""
    name = site.server.laddr_group_name
    if not name and "FNAT" not in site.kinds:
        return
    at = site.span("laddr_group_name")
    if name and name not in pools:
        message = f"the local_address_group '{name}' is not defined"
        hint = known_names("local-address groups", pools)
        yield error(Code.POOL_UNKNOWN, at, message, hint)
    elif "FNAT" not in site.kinds:
        message = "laddr_group_name has an effect with FNAT only"
        yield warning(Code.POOL_UNUSED, at, message)
    elif not name:
        message = "FNAT needs a local-address group"
        hint = f"add: laddr_group_name NAME. {known_names('Local-address groups', pools)}"
        at = site.span("lb_kind", "lvs_method")
        yield error(Code.FNAT_NO_POOL, at, message, hint)
    elif pools[name].addresses:
        have = {len(entry.address) for entry in pools[name].addresses}
        for family in sorted(site.families - have):
            message = f"the local_address_group '{name}' has no {FAMILIES[family]} address"
            yield error(Code.POOL_FAMILY, at, message)


def real_server_rules(site: Site) -> Iterator[Diagnostic]:
    """Judge the real servers of a virtual server and their checks."""
    server = site.server
    ports = {member.port for member in site.members if not member.fwmark}
    checked = any(one.checks for one in server.real_servers)
    default = server.lb_kind
    for one, at in zip(server.real_servers, site.real, strict=True):
        kind = one.lvs_method or default
        if kind.method != "TUN" and len(one.address) not in site.families:
            yield from _family(site, one.address, at.span(1), "real server")
        if one.lthreshold > one.uthreshold:
            message = f"lthreshold {one.lthreshold} is above uthreshold {one.uthreshold}"
            yield error(Code.THRESHOLDS, place(at, "lthreshold"), message)
        if kind.method in {"DR", "TUN"} and one.port and ports and one.port not in ports:
            yield _port_kept(kind, one, at)
        if checked and not one.checks and not _has_check(at):
            message = f"'{at}' has no check, unlike others here: it always counts as up"
            yield warning(Code.NO_CHECK, at.span(0), message)
    yield from _same_real(site)
    yield from check_rules(site)


def _same_real(site: Site) -> Iterator[Diagnostic]:
    seen: dict[tuple[Address, int, int], Directive] = {}
    services = {member.port for member in site.members}
    for one, at in zip(site.server.real_servers, site.real, strict=True):
        # Without a port it has that of each service: one destination with who names that port.
        keys = [(one.address, one.port or port, port) for port in services]
        twice = next((key for key in keys if key in seen), None)
        if twice is not None:
            message = f"the real server {format_endpoint(*twice[:2])} is named twice"
            first = seen[twice].span(1)
            yield error(Code.SAME_REAL, at.span(1), message, f"first at {first}")
        for key in keys:
            seen.setdefault(key, at)


def _has_check(at: Directive) -> bool:
    """Whether the file gives a check, of a kind that is not served maybe: told elsewhere."""
    return any(child.words[0] in NESTED["real_server"] for child in at.children or ())


def _port_kept(kind: Forwarding, one: RealServer, at: Directive) -> Diagnostic:
    message = f"{kind.method} does not translate ports: port {one.port} is not used"
    hint = "packets reach the real server with the port of the virtual server"
    return warning(Code.PORT_KEPT, at.span(2), message, hint)
