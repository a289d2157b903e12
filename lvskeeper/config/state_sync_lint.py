"""Lints of ``state_sync``."""

from collections.abc import Iterator
from typing import Final

from lvskeeper.config.build import Built
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.model import LocalAddressGroup, StateSync
from lvskeeper.config.ranges import expand
from lvskeeper.config.rules import known_names
from lvskeeper.config.site import place
from lvskeeper.config.tree import Directive
from lvskeeper.units import Address, format_address

_LINK: Final = ("interface", "address", "peer", "multicast")


def lint_state_sync(built: Built) -> list[Diagnostic]:
    """Return the findings; nothing where the block is not there, or has errors of its own."""
    given, at = built.config.state_sync, built.origin.state_sync
    if given is None or at is None or at in built.origin.spoilt:
        return []
    way = _external(given, at) if given.external else _link(given, at)
    return [*way, *_instances(built, given, at), *_pools(built)]


def _external(given: StateSync, at: Directive) -> Iterator[Diagnostic]:
    for name in _LINK:
        if getattr(given, name):
            message = f"{name} has no effect with external"
            hint = "the configuration of that conntrackd says it"
            yield warning(Code.STATE_SYNC, place(at, name, word=0), message, hint)


def _link(given: StateSync, at: Directive) -> Iterator[Diagnostic]:
    lacking = [name for name in _LINK[:2] if not getattr(given, name)]
    if not (given.peer or given.multicast):
        lacking.append("peer")
    if lacking:
        yield error(Code.STATE_SYNC, at.span(0), f"state_sync needs {' and '.join(lacking)}")
    if given.peer and given.multicast:
        message = "peer and multicast are two ways to the same director"
        yield error(Code.STATE_SYNC, place(at, "multicast", word=0), message, "keep one of them")
    if given.peer and given.peer == given.address:
        message = "peer is our own address: nothing would reach the other director"
        yield error(Code.STATE_SYNC, place(at, "peer"), message)
    for name in ("peer", "multicast"):
        other: Address | None = getattr(given, name)
        if other and given.address and len(other) != len(given.address):
            message = f"{name} is of another family than address"
            yield error(Code.STATE_SYNC, place(at, name), message)
    if given.socket is not None:
        at_socket = place(at, "socket", word=0)
        yield warning(Code.STATE_SYNC, at_socket, "socket has an effect with external only")


def _instances(built: Built, given: StateSync, at: Directive) -> Iterator[Diagnostic]:
    instances = built.config.vrrp.instances if built.config.vrrp else ()
    names = [one.name for one in instances]
    if given.follows and given.follows not in names:
        message = f"the vrrp_instance '{given.follows}' is not defined"
        hint = known_names("instances", names)
        yield error(Code.MEMBER_UNKNOWN, place(at, "follows"), message, hint)
    carrying = {one.interface for one in instances} | {
        entry.dev
        for one in instances
        for entry in (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)
    }
    if given.interface and given.interface in carrying:
        message = f"{given.interface} carries VIPs or adverts, too"
        hint = "when it fails, the peer takes over and misses the last connections"
        yield warning(Code.STATE_SYNC_LOSES, place(at, "interface"), message, hint)


def _pools(built: Built) -> Iterator[Diagnostic]:
    """Find pools in use with addresses that do not move with an instance."""
    config, origin = built.config, built.origin
    moving = {
        entry.address
        for one in (config.vrrp.instances if config.vrrp else ())
        for entry in (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)
    }
    used = {server.laddr_group_name for server in config.virtual_servers}
    for pool, at in zip(config.local_address_groups, origin.local_address_groups, strict=True):
        staying = _staying(pool, moving) if pool.name in used and at not in origin.spoilt else None
        if staying is None:
            continue
        message = (
            f"state_sync cannot keep connections through {format_address(staying)} of "
            f"'{pool.name}': no vrrp_instance moves it"
        )
        hint = (
            "put the addresses into virtual_ipaddress_excluded of the instance that moves the "
            "VIPs, and name no device here; where a route to the addresses moves, this is fine"
        )
        yield warning(Code.STATE_SYNC_LOSES, at.span(1), message, hint)


def _staying(pool: LocalAddressGroup, moving: set[Address]) -> Address | None:
    every = (one for entry in pool.addresses for one in expand(entry.address, entry.count))
    return next((address for address in every if address not in moving), None)
