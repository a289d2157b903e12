"""Lints of one VRRP instance."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.holding_model import AddressEntry
from lvskeeper.config.site import FAMILIES, place
from lvskeeper.config.source import Span
from lvskeeper.config.tree import Directive
from lvskeeper.config.vrrp_model import VrrpGlobals, VrrpInstance
from lvskeeper.config.vrrp_resolve import PASSWORD_SIZE, Resolved, room_of
from lvskeeper.units import Address, format_address
from lvskeeper.vrrp.packet import MAX_CENTISECONDS
from lvskeeper.vrrp.timers import OWNER

_MULTICAST_BIT: Final = 1
"""In the first byte of a MAC."""


@final
@dataclass(frozen=True, slots=True)
class VrrpSite:
    """An instance with what it comes to, and its place."""

    instance: VrrpInstance
    resolved: Resolved
    settings: VrrpGlobals
    at: Directive

    def span(self, *names: str, word: int = 1) -> Span:
        """Return the place of the last of the keywords *names*, or of the instance."""
        return place(self.at, *names, word=word) if names else self.at.span(1)

    def given(self, name: str) -> bool:
        """Whether the keyword *name* stands in the block of the instance."""
        return any(child.words[0] == name for child in self.at.children or ())

    def entry(self, block: str, address: Address) -> Span:
        """Return the place of the entry of *address* in one of the blocks *block*."""
        text = format_address(address)
        for child in self.at.children or ():
            if child.words[0] != block:
                continue
            for entry in child.children or ():
                if entry.words[0].partition("/")[0].lower() == text:
                    return entry.span(0)
        return self.span(block, word=0)

    @property
    def size(self) -> int:
        """Length of the addresses of its family."""
        return 4 if self.resolved.family == 4 else 16


_Rule = Callable[[VrrpSite], Iterable[Diagnostic]]


def entries_of(at: Directive, block: str) -> Iterator[Directive]:
    """Yield the entries of all blocks *block* within *at*."""
    for child in at.children or ():
        if child.words[0] == block:
            yield from child.children or ()


def _needed(site: VrrpSite) -> Iterator[Diagnostic]:
    one = site.instance
    if one.virtual_router_id is None:
        message = f"the instance '{one.name}' has no virtual_router_id"
        yield error(Code.NO_VRID, site.span(), message, "add: virtual_router_id N, 1 to 255")
    if not one.interface and not (one.unicast_peer and site.resolved.source):
        message = f"the instance '{one.name}' has no interface"
        hint = "add: interface DEVICE. Only unicast_peer with unicast_src_ip can do without"
        yield error(Code.NO_INTERFACE, site.span(), message, hint)
    elif not one.interface:
        vips = (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)
        if any(not entry.dev for entry in vips):
            message = f"without an interface the VIPs of '{one.name}' need a device each"
            hint = "write: ADDRESS dev DEVICE"
            yield error(Code.NO_INTERFACE, site.span("virtual_ipaddress", word=0), message, hint)
    # Without a VIP in adverts there may still be others, or a strict mode that has its own word.
    vips = (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)
    if not vips and not one.no_virtual_ipaddress and not site.resolved.strict:
        message = f"the instance '{one.name}' has no VIP"
        hint = "add virtual_ipaddress, or no_virtual_ipaddress if that is meant"
        yield warning(Code.NO_VIP, site.span(), message, hint)


def _election(site: VrrpSite) -> Iterator[Diagnostic]:
    one, resolved = site.instance, site.resolved
    at = site.span("nopreempt", word=0)
    if one.priority == OWNER and one.state == "BACKUP":
        message = "priority 255 owns the addresses, so that it starts as MASTER"
        hint = "write state MASTER, or a priority up to 254"
        yield warning(Code.OWNER, site.span("state"), message, hint)
    elif one.priority is None and one.state == "MASTER":
        message = "state MASTER without a priority has 255, that of an address owner"
        hint = "add: priority N; 100 is usual"
        yield warning(Code.OWNER, site.span("state"), message, hint)
    if one.nopreempt and resolved.priority == OWNER:
        message = "an address owner (priority 255) always pre-empts"
        yield warning(Code.PREEMPT, at, message, "nopreempt is ignored")
    elif one.nopreempt and resolved.master:
        message = "nopreempt has no effect with state MASTER: it takes over at its start"
        hint = "write state BACKUP on both routers"
        yield warning(Code.PREEMPT, at, message, hint)
    if resolved.preempt_delay:
        at = site.span("preempt_delay")
        if resolved.master:
            message = "preempt_delay has no effect with state MASTER"
            yield warning(Code.PREEMPT, at, message, "write state BACKUP")
        elif one.nopreempt:
            message = "preempt_delay has no effect with nopreempt"
            yield warning(Code.PREEMPT, at, message)
    if one.timer_expired_backup and not one.nopreempt:
        message = "timer_expired_backup needs nopreempt: else it takes over again at once"
        at = site.span("timer_expired_backup", "thread_timer_expired", word=0)
        yield warning(Code.PREEMPT, at, message)


def _interval(site: VrrpSite) -> Iterator[Diagnostic]:
    interval, version = site.instance.advert_int, site.resolved.version
    at = site.span("advert_int")
    hundredths = round(interval * 100, 4)  # a time has up to six decimals
    if version == 2 and interval != int(interval):
        hint = "1 to 255 whole seconds, or version 3"
        message = f"version 2 has whole seconds, not {interval:g}"
        yield error(Code.INTERVAL, at, message, hint)
    elif version == 3 and hundredths > MAX_CENTISECONDS:
        most = MAX_CENTISECONDS / 100
        yield error(Code.INTERVAL, at, f"version 3 has up to {most:g} seconds, not {interval:g}")
    elif version == 3 and hundredths != int(hundredths):
        yield error(Code.INTERVAL, at, f"version 3 has steps of 0.01 seconds, not {interval:g}")


def _version(site: VrrpSite) -> Iterator[Diagnostic]:
    if site.instance.version == 2 and site.resolved.family == 6 and not site.resolved.strict:
        message = "IPv6 has version 3 only; it is used"
        yield warning(Code.VERSION, site.span("version"), message, "write version 3")


def _authentication(site: VrrpSite) -> Iterator[Diagnostic]:
    given = site.instance.authentication
    if given is None:
        return
    at = site.span("authentication", word=0)
    if given.auth_type == "AH" and site.resolved.family == 6:
        message = "AH is of version 2, which does not know IPv6"
        yield error(Code.AUTHENTICATION, at, message, "use auth_hmac")
        return
    if not given.auth_type or not given.auth_pass:
        lacks = "auth_pass" if given.auth_type else "auth_type"
        message = f"authentication without {lacks} is ignored"
        yield warning(Code.AUTHENTICATION, at, message)
        return
    if site.resolved.version == 3:
        message = "version 3 has no authentication: it is ignored"
        hint = "remove it, or use auth_hmac on all routers"
        yield warning(Code.AUTHENTICATION, at, message, hint)
        return
    if site.resolved.strict:
        return  # a rule of its own tells that it is ignored
    if len(given.auth_pass.encode()) > PASSWORD_SIZE:
        message = f"only the first {PASSWORD_SIZE} bytes of the password count"
        block = next(
            child for child in reversed(site.at.children or []) if child.words[0] == at.text
        )
        yield warning(Code.AUTHENTICATION, place(block, "auth_pass"), message)
    if given.auth_type == "AH" and site.instance.state == "MASTER":
        message = "with AH it starts as BACKUP: its sequence number has to be behind no other"
        yield warning(Code.AUTHENTICATION, site.span("state"), message)


def _hmac(site: VrrpSite) -> Iterator[Diagnostic]:
    given = site.instance.auth_hmac
    if given is None:
        return
    at = site.span("auth_hmac", word=0)
    ids = [key.id for key in given.keys]
    if not ids:
        yield error(Code.HMAC, at, "auth_hmac has no key", "add: key 1 file:PATH")
    elif len(set(ids)) < len(ids):
        yield error(Code.HMAC, at, "two keys have one number")
    elif given.active_key is None and len(ids) > 1:
        yield error(Code.HMAC, at, "one of several keys has to sign", "add: active_key ID")
    elif given.active_key is not None and given.active_key not in ids:
        message = f"the active_key {given.active_key} is none of the keys"
        yield error(Code.HMAC, at, message, f"keys: {', '.join(map(str, ids))}")
    if site.resolved.password is not None:
        message = "authentication and auth_hmac exclude each other"
        yield error(Code.HMAC, at, message, "remove the authentication block")


def _addresses(site: VrrpSite) -> Iterator[Diagnostic]:
    one, size = site.instance, site.size
    odd = [entry.address for entry in one.virtual_ipaddress if len(entry.address) != size]
    for address in odd:
        message = f"the VIP is {FAMILIES[len(address)]}, the instance is {FAMILIES[size]}"
        hint = "put it into virtual_ipaddress_excluded, or an instance of its own"
        at = site.entry("virtual_ipaddress", address)
        yield error(Code.VIP_FAMILY, at, message, hint)
    count, room = len(one.virtual_ipaddress) - len(odd), room_of(one)
    if count > room:
        message = f"an advert holds {room} VIPs, not {count}: the last ones are as if excluded"
        hint = "put them into virtual_ipaddress_excluded, on all routers alike"
        yield warning(Code.TOO_MANY_VIPS, site.span("virtual_ipaddress", word=0), message, hint)
    seen: set[tuple[Address, str]] = set()
    for block, entries in (
        ("virtual_ipaddress", one.virtual_ipaddress),
        ("virtual_ipaddress_excluded", one.virtual_ipaddress_excluded),
    ):
        for entry in entries:
            key = (entry.address, entry.dev or one.interface)
            if key in seen:
                message = f"the VIP {format_address(entry.address)} is there twice"
                yield error(Code.SAME_VIP, site.entry(block, entry.address), message)
            elif _names_network(entry):
                name = f"{format_address(entry.address)}/{entry.prefix}"
                message = f"{name} is no host: it is its network's address, or the broadcast one"
                at = site.entry(block, entry.address)
                yield warning(Code.VIP_NETWORK, at, message, "write the address of a host")
            seen.add(key)


def _names_network(entry: AddressEntry) -> bool:
    """Whether the host part is all zeros or all ones; IPv6 has no such addresses of its own."""
    if len(entry.address) == 16 or entry.prefix > 30 or entry.peer:
        return False
    ones = 2 ** (32 - entry.prefix) - 1
    return int.from_bytes(entry.address) & ones in {0, ones}


def _peers(site: VrrpSite) -> Iterator[Diagnostic]:
    one, size, source = site.instance, site.size, site.resolved.source
    if one.unicast_peer == () and not one.unicast_fault_no_peer:
        message = "without a peer it speaks multicast"
        hint = "name the peers, remove the block, or add unicast_fault_no_peer"
        yield warning(Code.EMPTY_PEERS, site.span("unicast_peer", word=0), message, hint)
    if one.unicast_src_ip and one.mcast_src_ip and one.unicast_src_ip != one.mcast_src_ip:
        message = "unicast_src_ip and mcast_src_ip are both the source, and differ"
        yield error(Code.PEER, site.span("mcast_src_ip"), message)
    if source and len(source) != size:
        message = f"the source is {FAMILIES[len(source)]}, the instance is {FAMILIES[size]}"
        at = site.span("unicast_src_ip", "mcast_src_ip")
        yield error(Code.PEER, at, message)
    group = one.mcast_dst_ip
    if group and len(group) != size:
        message = f"the group is {FAMILIES[len(group)]}, the instance is {FAMILIES[size]}"
        yield error(Code.PEER, site.span("mcast_dst_ip"), message)
    for peer in one.unicast_peer or ():
        at = site.entry("unicast_peer", peer.address)
        if len(peer.address) != size:
            message = f"the peer is {FAMILIES[len(peer.address)]}, "
            yield error(Code.PEER, at, f"{message}the instance is {FAMILIES[size]}")
        elif peer.address == source:
            message = "the peer is our own source address"
            yield error(Code.PEER, at, message, "list the other routers only")
    if one.track_src_ip and not source:
        message = "track_src_ip needs unicast_src_ip or mcast_src_ip"
        yield warning(Code.NO_EFFECT, site.span("track_src_ip", word=0), message)


def _devices(site: VrrpSite) -> Iterator[Diagnostic]:
    one = site.instance
    if one.use_vmac and one.use_ipvlan:
        message = "use_vmac and use_ipvlan exclude each other"
        yield error(Code.VMAC, site.span("use_ipvlan", word=0), message)
    for name, device in (("use_vmac", one.use_vmac), ("use_ipvlan", one.use_ipvlan)):
        if device is None:
            continue
        if not one.interface:
            message = f"{name} needs an interface"
            yield error(Code.VMAC, site.span(name, word=0), message, "add: interface DEVICE")
        elif device.name == one.interface:
            message = "the virtual device has the name of the interface below it"
            yield error(Code.VMAC, site.span(name, word=0), message)
    if one.use_vmac and one.use_vmac.mac and one.use_vmac.mac[0] & _MULTICAST_BIT:
        yield error(Code.VMAC, site.span("use_vmac", word=0), "the MAC is one of multicast")
    if one.vmac_xmit_base and not one.use_vmac and not one.use_ipvlan:
        message = "vmac_xmit_base needs use_vmac or use_ipvlan"
        yield warning(Code.VMAC, site.span("vmac_xmit_base", word=0), message)


def _weights(site: VrrpSite) -> Iterator[Diagnostic]:
    if site.resolved.priority != OWNER:
        return
    for block in ("track_interface", "track_script", "track_file", "track_process"):
        for entry in entries_of(site.at, block):
            if len(entry.words) > 2 and entry.words[2] != "0":
                message = "no weight moves priority 255: the entry is ignored"
                hint = "leave the weight out to have FAULT, or use a priority up to 254"
                yield warning(Code.WEIGHT, entry.span(2), message, hint)


RULES: Final[tuple[_Rule, ...]] = (
    _needed, _election, _interval, _version, _authentication, _hmac, _addresses, _peers, _devices,
    _weights,
)  # fmt: skip
