"""``--compat keepalived``: what keepalived merely logs is a warning, so that its file starts.

Keepalived passes over lines that it cannot read, and leaves out what is named and not defined.
With this mode lvskeeper does the same and says so. What would do harm stays an error: an include
that loops, a file of YAML that is none, a service that is claimed twice, keywords of the forks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from lvskeeper.config.check_model import FileCheck
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, Severity
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.model import Config, RealServer, VirtualServer
from lvskeeper.config.tree import Tree
from lvskeeper.config.vrrp_model import SyncGroup, Tracked, VrrpConfig, VrrpInstance

KEEPALIVED: Final = "keepalived"
HINT: Final = "keepalived only logs such errors and goes on: --compat keepalived does, too"

LOGGED: Final = frozenset(
    {
        Code.QUOTE, Code.BRACE_MISSING, Code.BRACE_EXTRA, Code.BRACE_STRAY,
        Code.UNKNOWN, Code.MISPLACED, Code.BAD_VALUE, Code.NO_BLOCK, Code.BLOCK, Code.PLACEHOLDER,
        Code.REQUIRED, Code.SAME_NAME, Code.REFUSED, Code.UNREADABLE,
        Code.NO_PROTOCOL, Code.SAME_REAL, Code.TRACK_UNKNOWN, Code.MEMBER_UNKNOWN,
        Code.TWO_GROUPS, Code.GROUP_SIZE,
    }
)  # fmt: skip
"""Errors for which keepalived has a message, and goes on without what they are about."""

_FIRM: Final = frozenset({"net_namespace", "net_namespace_ipvs"})
"""Keywords that stay refused: without them the daemon would serve somewhere else."""

_Tracker = TypeVar("_Tracker", VrrpInstance, SyncGroup)


def asked_for(tree: Tree) -> bool:
    """Whether the file itself has ``compat keepalived`` in its ``global_defs``."""
    return any(
        line.words[:2] == ["compat", KEEPALIVED]
        for block in tree.directives
        if block.words[0] == "global_defs"
        for line in block.children or ()
    )


def is_logged(one: Diagnostic) -> bool:
    """Whether keepalived has no more than a message for an error."""
    if one.code not in LOGGED:
        return False
    word = one.span.text
    if one.code is Code.REFUSED:
        table = (block[word] for block in BLOCKS.values() if word in block)
        return word not in _FIRM and any("K" in keyword.origin for keyword in table)
    if one.code is Code.UNREADABLE:
        # Only the plain form: the others are there to be strict, and the file itself is needed.
        lines = one.span.source.lines
        line = lines[one.span.line - 1] if one.span.line <= len(lines) else ""
        return line[: one.span.column - 1].split()[-1:] == ["include"]
    return True


def all_logged(found: Iterable[Diagnostic]) -> bool:
    """Whether there are errors, and keepalived only logs each of them."""
    errors = [one for one in found if one.severity is Severity.ERROR]
    return bool(errors) and all(map(is_logged, errors))


def relax(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return what is told where the errors that keepalived merely logs are warnings."""
    return [
        replace(one, severity=Severity.WARNING)
        if one.severity is Severity.ERROR and is_logged(one)
        else one
        for one in found
    ]


def mend(config: Config) -> Config:
    """Leave out what keepalived leaves out: what is named and not defined, or named twice."""
    files = {one.name for one in config.vrrp.files} if config.vrrp else set[str]()
    return config.model_copy(
        update={
            "virtual_servers": tuple(_served(one, files) for one in config.virtual_servers),
            "vrrp": _vrrp(config.vrrp) if config.vrrp else None,
        }
    )


def _served(server: VirtualServer, files: set[str]) -> VirtualServer:
    update: dict[str, object] = {}
    if "protocol" not in server.model_fields_set and not server.fwmark:
        update["protocol"] = "UDP"
    seen: dict[tuple[bytes, int], RealServer] = {}
    for one in server.real_servers:
        checks = tuple(
            check
            for check in one.checks
            if not isinstance(check, FileCheck) or check.track_file in files
        )
        known = one if checks == one.checks else one.model_copy(update={"checks": checks})
        seen.setdefault((one.address, one.port or server.port), known)
    update["real_servers"] = tuple(seen.values())
    return server.model_copy(update=update)


def _vrrp(vrrp: VrrpConfig) -> VrrpConfig:
    known = {
        "track_script": {one.name for one in vrrp.scripts},
        "track_file": {one.name for one in vrrp.files},
        "track_process": {one.name for one in vrrp.processes},
    }
    names = {one.name for one in vrrp.instances}
    tracks = {one.name for one in vrrp.track_groups}
    groups: list[SyncGroup] = []
    for group in vrrp.groups:
        members = tuple(name for name in dict.fromkeys(group.group) if name in names)
        names.difference_update(members)
        if members:
            groups.append(_tracking(group, known).model_copy(update={"group": members}))
    daemon = vrrp.globals.lvs_sync_daemon
    defined = {one.name for one in vrrp.instances}
    lost = daemon is not None and daemon.inst and daemon.inst not in defined
    update: dict[str, object] = {
        "instances": tuple(_tracking(one, known) for one in vrrp.instances),
        "groups": tuple(groups),
        "track_groups": tuple(
            one.model_copy(update={"group": tuple(n for n in one.group if n in defined)})
            for one in vrrp.track_groups
        ),
        "globals": vrrp.globals.model_copy(update={"lvs_sync_daemon": None})
        if lost
        else vrrp.globals,
    }
    for key in ("static_ipaddress", "static_routes", "static_rules"):
        update[key] = tuple(
            one
            if not one.track_group or one.track_group in tracks
            else one.model_copy(update={"track_group": ""})
            for one in getattr(vrrp, key)
        )
    return vrrp.model_copy(update=update)


def _tracking(one: _Tracker, known: dict[str, set[str]]) -> _Tracker:
    update: dict[str, tuple[Tracked, ...]] = {
        block: tuple(entry for entry in getattr(one, block) if entry.name in names)
        for block, names in known.items()
    }
    return one.model_copy(update=update)
