"""Lints of SYNPROXY, the defences, local addresses and IPVS settings."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, final

from lvskeeper.config.build import Built
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.model import GlobalDefs, LocalAddress, LocalAddressGroup
from lvskeeper.config.ranges import expand
from lvskeeper.config.site import Site, place_of
from lvskeeper.config.source import Span
from lvskeeper.ipvs.sysctl_table import SYSCTLS
from lvskeeper.units import Address, format_address

if TYPE_CHECKING:
    from lvskeeper.config.tree import Directive

ETHERNET_MSS: Final = {4: 1460, 16: 1440}
"""Segments that 1,500 bytes carry, by the length of addresses."""
LEAST_MSS6: Final = 1220
"""What every path of IPv6 carries (RFC 8200, 5), less the headers."""

_OPTIONS: Final = (
    "syn_proxy_mss", "syn_proxy_wscale", "syn_proxy_timestamp", "syn_proxy_sack",
)  # fmt: skip
_DEFENCES: Final = ("defence_tcp_drop", "defence_udp_drop", "defence_frag_drop")


def lint_fullnat(
    built: Built, sites: Sequence[Site], pools: Mapping[str, LocalAddressGroup]
) -> list[Diagnostic]:
    """Return the findings; what ``global_defs`` causes in many virtual servers is told once."""
    lint = _Lint(built, sites)
    found: dict[tuple[Code, Span], Diagnostic] = {}
    for site in sites:
        told = (
            _syn_proxy(site),
            lint.promises(site),
            _local_ports(site, pools),
            lint.defences(site),
        )
        for one in chain(*told):
            found.setdefault((one.code, one.span), one)
    return [*found.values(), *lint.sysctls(), *lint.local_addresses()]


def _syn_proxy(site: Site) -> Iterator[Diagnostic]:
    server = site.server
    if not server.syn_proxy:
        for name in _OPTIONS:
            if getattr(server, name) is not None:
                message = f"{name} has an effect with syn_proxy only"
                yield warning(Code.SYN_PROXY_OFF, site.span(name, word=0), message)
        return
    at = site.span("syn_proxy", word=0)
    wrong = sorted(site.kinds - {"NAT", "FNAT"})
    if server.protocol != "TCP":
        yield error(Code.SYN_PROXY, at, f"syn_proxy is for TCP, not for {server.protocol}")
    elif wrong:
        message = f"syn_proxy needs NAT or FNAT, not {wrong[0]}"
        hint = "the answers of the real servers have to pass the director"
        yield error(Code.SYN_PROXY, at, message, hint)
    elif any(member.fwmark for member in site.members):
        message = "syn_proxy needs an address: it does not go with a fwmark"
        hint = "a SYN is answered before it could have been marked"
        yield error(Code.SYN_PROXY, at, message, hint)


def _local_ports(site: Site, pools: Mapping[str, LocalAddressGroup]) -> Iterator[Diagnostic]:
    server = site.server
    if server.laddr_ports is None:
        return
    at = site.span("laddr_ports")
    if "FNAT" not in site.kinds:
        message = "laddr_ports has an effect with FNAT only"
        yield warning(Code.PORTS_UNUSED, site.span("laddr_ports", word=0), message)
        return
    group = pools.get(server.laddr_group_name)
    if group is None or not group.addresses:
        return
    first, last = server.laddr_ports
    for one, where in zip(server.real_servers, site.real, strict=True):
        if (one.lvs_method or server.lb_kind).method != "FNAT":
            continue
        addresses = sum(
            entry.count for entry in group.addresses if len(entry.address) == len(one.address)
        )
        carried = (last - first + 1) * addresses
        if carried < one.uthreshold:
            message = (
                f"these ports on {addresses} local address{'es' * (addresses != 1)} carry "
                f"{carried} connections, fewer than uthreshold {one.uthreshold} of '{where}'"
            )
            hint = "the real server is never full, and clients are refused without a word"
            yield warning(Code.FEW_PORTS, at, message, hint)
            return


@final
class _Lint:
    """What needs more than one virtual server to be judged."""

    def __init__(self, built: Built, sites: Sequence[Site]) -> None:
        self.built = built
        self.sites = sites
        self.defs: GlobalDefs = built.config.global_defs
        self.udp = {
            address
            for site in sites
            if site.server.protocol == "UDP"
            for address in _addresses(site)
        }

    def used(self, site: Site, name: str) -> object:
        """Return the value of a keyword that ``global_defs`` has, too; ``None``: not given."""
        own = getattr(site.server, name)
        return getattr(self.defs, name) if own is None else own

    def place(self, site: Site, *names: str) -> Span:
        """Return the place of the first of *names* that *site* itself gives, else in globals."""
        for name in names:
            if getattr(site.server, name) is not None:
                return site.span(name, word=0)
        return place_of(self.built.origin.globals, names[0], word=0)

    def promises(self, site: Site) -> Iterator[Diagnostic]:
        """Judge what ``syn_proxy`` promises to clients."""
        if not site.server.syn_proxy:
            return
        mss, scale, stamp, sack = (self.used(site, name) for name in _OPTIONS)
        if stamp is False:
            cut = [
                name
                for name, kept in (
                    ("syn_proxy_wscale", scale not in {None, "auto", 0}),
                    ("syn_proxy_sack", sack is True),
                )
                if kept
            ]
            if cut:
                message = f"{' and '.join(cut)} without syn_proxy_timestamp has no effect"
                hint = "without timestamps stock kernels promise neither window scale nor SACK"
                at = self.place(site, *cut, "syn_proxy_timestamp")
                yield warning(Code.SYN_PROXY_PROMISE, at, message, hint)
        elif scale == 0:
            message = "without a window scale no more than 64 KB can be under way"
            hint = "leave syn_proxy_wscale out: it follows the real servers"
            at = self.place(site, "syn_proxy_wscale")
            yield warning(Code.SYN_PROXY_PROMISE, at, message, hint)
        if isinstance(mss, int) and site.families:
            yield from self.mss(site, mss)

    def mss(self, site: Site, mss: int) -> Iterator[Diagnostic]:
        """Judge a segment size that is given as a number."""
        at = self.place(site, "syn_proxy_mss")
        limit = min(ETHERNET_MSS[family] for family in site.families)
        family = "IPv4" if limit == ETHERNET_MSS[4] else "IPv6"
        if mss > limit:
            message = f"segments of {mss} bytes are longer than an Ethernet path carries"
            hint = f"{limit} is the most for {family}; more needs jumbo frames all the way"
            yield warning(Code.SYN_PROXY_PROMISE, at, message, hint)
        elif family == "IPv6" and mss < LEAST_MSS6:
            message = f"segments of {mss} bytes are shorter than every IPv6 path carries"
            hint = f"{LEAST_MSS6} or more"
            yield warning(Code.SYN_PROXY_PROMISE, at, message, hint)

    def defences(self, site: Site) -> Iterator[Diagnostic]:
        """Judge the defences that a virtual server names itself; global ones fall silent."""
        server = site.server
        on = [name for name in _DEFENCES if getattr(server, name) not in {None, False, "no"}]
        if not on:
            return
        if all(member.fwmark for member in site.members):
            message = f"{on[0]} needs an address: a fwmark has none"
            yield warning(Code.DEFENCE, site.span(on[0], word=0), message, "it is ignored")
            return
        if "defence_tcp_drop" in on:
            yield from _tcp_defence(site)
        if "defence_udp_drop" in on:
            twice = next((address for address in _addresses(site) if address in self.udp), None)
            if twice is not None:
                message = f"a UDP virtual server has {format_address(twice)}, too"
                hint = "UDP to this address is not dropped"
                at = site.span("defence_udp_drop", word=0)
                yield warning(Code.DEFENCE, at, message, hint)

    def sysctls(self) -> Iterator[Diagnostic]:
        """Judge ``ipvs_sysctls``."""
        given = self.defs.ipvs_sysctls
        if given.get("conntrack") == 0:
            yield from self.untracked()
        ports = [f"fullnat_lport_{end}" for end in ("min", "max")]
        first, last = (given.get(name, int(SYSCTLS[name].default)) for name in ports)
        if first > last:
            message = f"fullnat_lport_min {first} is above fullnat_lport_max {last}"
            at = self.sysctl(ports[0] if ports[0] in given else ports[1])
            yield error(Code.SYSCTL, at, message, "the kernel takes both, and has no port then")
        threads = given.get("sync_ports", 1)
        if threads & (threads - 1):
            message = f"sync_ports {threads} is no power of two"
            yield error(Code.SYSCTL, self.sysctl("sync_ports"), message)

    def sysctl(self, name: str) -> Span:
        """Return the place of a setting."""
        blocks = [
            child
            for block in self.built.origin.globals
            for child in block.children or ()
            if child.words[0] == "ipvs_sysctls"
        ]
        return place_of(blocks, name)

    def untracked(self) -> Iterator[Diagnostic]:
        """Find who cannot do without connection tracking."""
        for site in self.sites:
            if "FNAT" in site.kinds:
                what, hint = "FNAT", "no connection gets a local address without tracking"
            elif site.server.syn_proxy:
                what, hint = "syn_proxy", "sequence numbers are translated by tracking"
            elif site.kinds == {"NAT"} and self.used(site, "defence_tcp_drop") in {"yes", "vip"}:
                what, hint = "defence_tcp_drop", "without tracking no segment has a connection"
            else:
                continue
            message = f"conntrack 0 does not go with {what} of '{site.at}'"
            yield error(Code.SYSCTL, self.sysctl("conntrack"), message, hint)
            return

    def local_addresses(self) -> Iterator[Diagnostic]:
        """Find local addresses that are something else, too."""
        origin = self.built.origin
        places: list[tuple[LocalAddress, Directive]] = [
            (entry, child)
            for pool, at in zip(
                self.built.config.local_address_groups, origin.local_address_groups, strict=True
            )
            if at not in origin.spoilt
            for entry, child in zip(pool.addresses, at.children or (), strict=True)
        ]
        if not places:
            return
        taken = self.taken()
        devices: dict[Address, tuple[str, Span]] = {}
        for entry, child in places:
            at = child.span(0)
            for address in expand(entry.address, entry.count):
                clash = _clash(address, entry.device, at, taken, devices)
                if clash is not None:
                    yield clash
                    break

    def taken(self) -> dict[Address, tuple[Code, str, Span]]:
        """Return the addresses of servers and virtual servers, with what they are and where."""
        found: dict[Address, tuple[Code, str, Span]] = {}
        for site in self.sites:
            for one, at in zip(site.server.real_servers, site.real, strict=True):
                found.setdefault(one.address, (Code.LIP_TAKEN, "real server", at.span(1)))
            if (sorry := site.server.sorry_server) is not None:
                place = site.span("sorry_server")
                found.setdefault(sorry.address, (Code.LIP_TAKEN, "sorry server", place))
        for site in self.sites:
            entry = (Code.LIP_IS_VIP, "VIP", site.name)
            found.update(dict.fromkeys(_addresses(site), entry))
        return found


def _addresses(site: Site) -> Iterator[Address]:
    for member in site.members:
        if member.address:
            yield from expand(member.address, member.count)


def _clash(
    address: Address,
    device: str,
    at: Span,
    taken: Mapping[Address, tuple[Code, str, Span]],
    devices: dict[Address, tuple[str, Span]],
) -> Diagnostic | None:
    """Return what is wrong with one local address; *devices* has those before it."""
    name = f"the local address {format_address(address)}"
    if address in taken:
        code, what, where = taken[address]
        return error(code, at, f"{name} is also a {what}", f"that one is at {where}")
    if device:
        other, first = devices.setdefault(address, (device, at))
        if other != device:
            message = f"{name} is put on {device} and on {other}"
            return error(Code.LIP_TAKEN, at, message, f"first at {first}")
    return None


def _tcp_defence(site: Site) -> Iterator[Diagnostic]:
    at = site.span("defence_tcp_drop", word=0)
    wrong = sorted(site.kinds - {"NAT", "FNAT"})
    if wrong:
        message = f"defence_tcp_drop needs NAT or FNAT, not {wrong[0]}"
        hint = "the director sees one half of each connection, and would take it for none"
        yield error(Code.DEFENCE, at, message, hint)
    elif site.server.protocol != "TCP" and site.server.defence_tcp_drop == "yes":
        message = f"defence_tcp_drop is for TCP virtual servers, not for {site.server.protocol}"
        yield warning(Code.DEFENCE, at, message, "`vip` drops TCP to the whole address")
