"""What a configuration says and cannot mean: judged on the model, told at the place in the file."""

from collections.abc import Iterable, Iterator, Sequence

from lvskeeper.config.build import Built
from lvskeeper.config.check_rules import file_check_rules, mail_rules
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, error, warning
from lvskeeper.config.fullnat_lint import lint_fullnat
from lvskeeper.config.ranges import expand
from lvskeeper.config.rules import RULES, known_names, pool_rules, real_server_rules, sticks
from lvskeeper.config.script_lint import Host, lint_scripts
from lvskeeper.config.site import Site, family_of, label_of, site_of
from lvskeeper.config.state_sync_lint import lint_state_sync


def lint(built: Built, host: Host | None = None) -> list[Diagnostic]:
    """Return the findings for a model; items with errors of their own are left alone.

    With *host* the scripts of the file are looked for, too.
    """
    config, origin = built.config, built.origin
    pools = {group.name: group for group in config.local_address_groups}
    groups = {group.name: group for group in config.virtual_server_groups}
    found: list[Diagnostic] = []
    found += _lint_groups(built)
    sites: list[Site] = []
    for server, at, real in zip(
        config.virtual_servers, origin.virtual_servers, origin.real_servers, strict=True
    ):
        if server.group and server.group not in groups:
            hint = known_names("virtual-server groups", groups)
            message = f"the virtual_server_group '{server.group}' is not defined"
            found.append(error(Code.GROUP_UNKNOWN, at.span(2), message, hint))
            continue
        if at not in origin.spoilt:
            sites.append(site_of(server, at, real, groups))
    expires = config.global_defs.ipvs_sysctls.get("expire_quiescent_template") == 1
    for site in sites:
        for rule in RULES:
            found += rule(site)
        found += pool_rules(site, pools)
        if not expires:
            found += sticks(site)
        found += real_server_rules(site)
    found += _same_virtual(sites)
    found += _same_label(sites)
    found += lint_fullnat(built, sites, pools)
    found += lint_state_sync(built)
    found += lint_scripts(built, host)
    files = origin.vrrp.names.get("files", set()) if origin.vrrp is not None else set()
    found += file_check_rules(sites, files)
    given = config.vrrp.globals if config.vrrp is not None else None
    if given is None or not (given.smtp_server and given.notification_email):
        found += mail_rules(sites)
    if config.vrrp is not None:
        from lvskeeper.config.vrrp_lint import lint_vrrp  # noqa: PLC0415 - for VRRP only

        found += lint_vrrp(built, config.vrrp)
    return found


def _lint_groups(built: Built) -> Iterator[Diagnostic]:
    config, origin = built.config, built.origin
    used_pools = {server.laddr_group_name for server in config.virtual_servers}
    used_groups = {server.group for server in config.virtual_servers}
    for pool, at in zip(config.local_address_groups, origin.local_address_groups, strict=True):
        if not pool.addresses and at not in origin.spoilt:
            message = f"the local_address_group '{pool.name}' has no addresses"
            yield error(Code.EMPTY_GROUP, at.span(1), message)
        elif pool.name not in used_pools:
            message = f"no virtual server uses the local_address_group '{pool.name}'"
            yield warning(Code.UNUSED_GROUP, at.span(1), message)
    for group, at in zip(config.virtual_server_groups, origin.virtual_server_groups, strict=True):
        if not group.members and at not in origin.spoilt:
            message = f"the virtual_server_group '{group.name}' has no members"
            yield error(Code.EMPTY_GROUP, at.span(1), message)
        elif group.name not in used_groups:
            message = f"no virtual server uses the virtual_server_group '{group.name}'"
            yield warning(Code.UNUSED_GROUP, at.span(1), message)
        if len({len(member.address) for member in group.members if member.address}) > 1:
            message = f"the virtual_server_group '{group.name}' mixes IPv4 and IPv6"
            hint = "make a group for each family"
            yield error(Code.MIXED_GROUP, at.span(1), message, hint)


def _same_virtual(sites: Sequence[Site]) -> Iterator[Diagnostic]:
    seen: dict[tuple[object, ...], Site] = {}
    for site in sites:
        for member in site.members:
            keys: Iterable[tuple[object, ...]]
            if member.fwmark:
                keys = [(member.fwmark, family_of(site.server, member))]
            elif member.count == 1:
                keys = [(site.server.protocol, member.address, member.port)]
            else:
                keys = [
                    (site.server.protocol, address, member.port)
                    for address in expand(member.address, member.count)
                ]
            clash = next((key for key in keys if key in seen), None)
            if clash is not None:
                where = seen[clash].name
                same = seen[clash] is site
                message = (
                    f"'{site.at}' lists a service twice"
                    if same
                    else f"'{site.at}' claims a service that another virtual server has"
                )
                hint = "its group names it more than once" if same else f"the other is at {where}"
                yield error(Code.SAME_VIRTUAL, site.name, message, hint)
                break
            seen.update(dict.fromkeys(keys, site))


def _same_label(sites: Sequence[Site]) -> Iterator[Diagnostic]:
    """Find groups whose names, with what a name says of protocol and family, come out alike."""
    seen: dict[str, Site] = {}
    for site in sites:
        if not site.server.group or not site.members:
            continue
        label = label_of(site.server, site.members)
        other = seen.setdefault(label, site)
        # The same group twice has been told as the same services twice.
        if other.server.group != site.server.group:
            message = f"'{site.at}' would be known as '{label}', like another virtual server"
            hint = f"the other is at {other.name}; give one of the two groups another name"
            yield error(Code.SAME_LABEL, site.name, message, hint)
