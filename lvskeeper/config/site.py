"""A virtual server as the lint looks at it: with its members, its methods and its places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.config.model import GroupMember, VirtualServer, VirtualServerGroup
from lvskeeper.config.source import Span
from lvskeeper.config.tree import Directive

FAMILIES: Final = {4: "IPv4", 16: "IPv6"}
"""Name of a family by the length of its addresses."""


@final
@dataclass(frozen=True, slots=True)
class Site:
    """A virtual server with what belongs to it, and its places."""

    server: VirtualServer
    at: Directive
    real: Sequence[Directive]
    members: tuple[GroupMember, ...]
    """What it serves: its own address or mark, or what its group lists."""
    kinds: frozenset[str]
    """Forwarding methods in use."""
    families: frozenset[int]
    """Families of its members, as lengths of addresses."""

    def span(self, *names: str, word: int = 1) -> Span:
        """Return the place of the last of the keywords *names*, or of the virtual server."""
        return place(self.at, *names, word=word)

    @property
    def name(self) -> Span:
        """The place of the address, the mark or the group's name."""
        return self.at.span(1 if self.server.address else 2)


def family_of(server: VirtualServer, member: GroupMember) -> int:
    """Return the family of a member, as the length of its addresses.

    Of a fwmark it is what the member or the virtual server says, else that of the real servers.
    """
    if member.address:
        return len(member.address)
    named = member.ip_family or server.ip_family
    if named:
        return 4 if named == "inet" else 16
    return len(server.real_servers[0].address) if server.real_servers else 4


def label_of(server: VirtualServer, members: Sequence[GroupMember]) -> str:
    """Return the name under which a virtual server of a group is known."""
    # One group may be served over several protocols, a group of fwmarks over both families: the
    # name has to tell them apart.
    suffix = "" if server.protocol == "TCP" else f" {server.protocol.lower()}"
    family = " inet6" if family_of(server, members[0]) == 16 else ""
    return f"group {server.group}{suffix}{family}"


def place(directive: Directive, *names: str, word: int = 1) -> Span:
    """Return the place of the last of the keywords *names* in a block, or of its own name."""
    for child in reversed(directive.children or ()):
        if child.words[0] in names:
            return child.span(word if len(child.words) > word else 0)
    return directive.span(0)


def place_of(blocks: Sequence[Directive], name: str, word: int = 1) -> Span:
    """Return the place of the keyword *name* in the last of *blocks* that has it."""
    for block in reversed(blocks):
        if any(child.words[0] == name for child in block.children or ()):
            return place(block, name, word=word)
    return blocks[0].span(0)


def site_of(
    server: VirtualServer,
    at: Directive,
    real: Sequence[Directive],
    groups: dict[str, VirtualServerGroup],
) -> Site:
    """Gather what the rules ask about *server*."""
    members = (
        groups[server.group].members
        if server.group
        else (GroupMember(address=server.address, port=server.port, fwmark=server.fwmark),)
    )
    kinds = {real.lvs_method.method for real in server.real_servers if real.lvs_method}
    if not server.real_servers or any(not real.lvs_method for real in server.real_servers):
        kinds.add(server.lb_kind.method)
    if server.sorry_server:
        kinds.add((server.sorry_server_lvs_method or server.lb_kind).method)
    families = {family_of(server, member) for member in members}
    return Site(server, at, real, members, frozenset(kinds), frozenset(families))
