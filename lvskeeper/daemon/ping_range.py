"""``net.ipv4.ping_group_range``: the groups that may ping, among which PING_CHECK needs ours."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.health.spec import CheckKind
from lvskeeper.kernel.sysctls import ROOT, State
from lvskeeper.observe import events
from lvskeeper.observe.events import Event

PING_RANGE: Final = "net/ipv4/ping_group_range"
_NAME: Final = PING_RANGE.replace("/", ".")
_CONSEQUENCE: Final = "no PING_CHECK can be made"


@final
@dataclass(frozen=True, slots=True)
class PingFinding:
    """What was found, and what is to be told of it."""

    state: State
    event: Event | None = None


def pings(spec: DirectorSpec) -> bool:
    """Return whether any check of *spec* pings."""
    return any(
        check.kind is CheckKind.PING
        for virtual in spec.virtual_servers
        for server in virtual.real_servers
        for check in server.checks
    )


def allow_ping(*, set_allowed: bool, root: Path = ROOT) -> PingFinding:
    """Widen the range so that it has our group, where *set_allowed* permits that."""
    path = root / PING_RANGE
    ours = os.getegid()
    try:
        found = path.read_text(encoding="ascii")
        low, high = map(int, found.split())
    except (OSError, ValueError):
        return PingFinding(State.MISSING)
    if low <= ours <= high:
        return PingFinding(State.OK)
    wanted = f"{min(low, ours)} {max(high, ours)}" if low <= high else f"{ours} {ours}"
    is_now = " ".join(found.split())
    if not set_allowed:
        told = events.SysctlWrong(_NAME, is_now, wanted, _CONSEQUENCE)
        return PingFinding(State.WRONG, told)
    try:
        path.write_text(f"{wanted}\n", encoding="ascii")
    except OSError as error:
        value = f"{is_now} {error.strerror or error}"
        told = events.SysctlWrong(_NAME, value, wanted, _CONSEQUENCE)
        return PingFinding(State.FAILED, told)
    return PingFinding(State.SET, events.SysctlSet(_NAME, is_now, wanted))
