"""Keeps the sysctls of the director: those that its services need, and those of `ipvs_sysctls`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from lvskeeper.daemon.desired import uses_fullnat
from lvskeeper.daemon.ping_range import PING_RANGE, PingFinding, allow_ping, pings
from lvskeeper.daemon.roles import DirectorSpec, TcpDefence, VirtualServerSpec
from lvskeeper.daemon.ruleset import returns_through_us
from lvskeeper.daemon.sysctl_log import sysctl_event
from lvskeeper.ipvs.dialect import Traits
from lvskeeper.ipvs.types import Family
from lvskeeper.kernel.rtnetlink import RouteClient, index_of
from lvskeeper.kernel.sysctls import (
    CONNTRACK_MINIMUM,
    POLICIES,
    ROOT,
    Finding,
    Requirement,
    State,
    ensure,
    recommended_for_fullnat,
    required_for_fullnat,
    strict_filter,
)
from lvskeeper.observe import events
from lvskeeper.observe import fullnat_events as told
from lvskeeper.observe.log import Emit
from lvskeeper.units import Address

BELOW: Final = "net/ipv4/vs"
"""Where the names of `ipvs_sysctls` are."""

MAX_WAYS: Final = 64
"""Real servers of one LIP device whose way is looked up; others will be on the same ways."""

ASKED_FOR: Final = "it is not as `ipvs_sysctls` has it"


@final
@dataclass(frozen=True, slots=True)
class _Needs:
    """What a configuration has to do with sysctls beside those that it names."""

    families: frozenset[Family] = frozenset()
    """Of the services that need connection tracking."""
    servers: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    """By LIP device that replies may not come in by anywhere: real servers, some of many."""
    pings: bool = False


@final
class SysctlKeeper:
    """Sets, checks and tells; each finding is told once until it changes."""

    def __init__(self, emit: Emit, root: Path = ROOT) -> None:
        self._emit = emit
        self._root: Final = root
        self._found: dict[str, State | str] = {}
        self._spec: DirectorSpec | None = None
        self._needs = _Needs()

    def apply(
        self, spec: DirectorSpec, traits: Traits, connections: int = CONNTRACK_MINIMUM
    ) -> bool:
        """Bring the sysctls to what *spec* needs and asks for, where that is allowed.

        *connections* is what the pools can carry. Return whether one of `ipvs_sysctls` was set: the
        kernel's defaults may have changed by that. Nothing is raised; it costs some 20 microseconds
        a sysctl, and as much for each way that is looked up.
        """
        self._found.clear()
        return self._keep(spec, traits, connections, may_write=True)

    def check(
        self, spec: DirectorSpec, traits: Traits, connections: int = CONNTRACK_MINIMUM
    ) -> None:
        """Repair what differs by now, where `lvs_manage_sysctls` allows it, and tell the rest."""
        self._keep(spec, traits, connections, may_write=spec.manage_sysctls)

    def _keep(
        self, spec: DirectorSpec, traits: Traits, connections: int, *, may_write: bool
    ) -> bool:
        if spec is not self._spec:
            # Of thousands of virtual servers that takes tens of milliseconds.
            self._spec, self._needs = spec, _needs_of(spec, native=traits.native_fullnat)
        needed = required_for_fullnat(self._needs.families)
        self._tell_all(self._ensure(needed, set_allowed=spec.manage_sysctls))
        if self._needs.families:
            self._tell_all(self._ensure(recommended_for_fullnat(connections), set_allowed=False))
            self._check_ways(self._needs.servers)
        if self._needs.pings:
            self._tell_ping(allow_ping(set_allowed=spec.manage_sysctls, root=self._root))
        # What a service cannot do without is not set back again.
        taken = {item.name for item in needed}
        asked = [item for item in _asked(spec) if item.name not in taken]
        found = self._ensure(asked, set_allowed=may_write)
        for finding in found:
            self._tell_asked(finding)
        if spec.virtual_servers:
            taken |= {item.name for item in asked}
            self._tell_policies(item for item in POLICIES if item.name not in taken)
        return any(finding.state is State.SET for finding in found)

    def _ensure(self, wanted: Iterable[Requirement], *, set_allowed: bool) -> list[Finding]:
        return ensure(wanted, set_allowed=set_allowed, root=self._root)

    def _tell_all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        event = sysctl_event(finding)
        fresh = self._is_news(finding.requirement.name, finding.state)
        # A sysctl that is set again and again has an enemy: that is told each time.
        if event is not None and (finding.ok or fresh):
            self._emit(event)

    def _tell_asked(self, finding: Finding) -> None:
        if finding.state is not State.MISSING:
            self._tell(finding)
        elif self._is_news(finding.requirement.name, finding.state):
            self._emit(told.SysctlUnknown(finding.requirement.dotted))

    def _tell_ping(self, finding: PingFinding) -> None:
        if self._is_news(PING_RANGE, finding.state) and finding.event is not None:
            self._emit(finding.event)

    def _tell_policies(self, policies: Iterable[Requirement]) -> None:
        for finding in self._ensure(policies, set_allowed=False):
            news = self._is_news(finding.requirement.name, finding.found)
            if finding.state is State.WRONG and news:
                name, consequence = finding.requirement.dotted, finding.requirement.consequence
                self._emit(told.SysctlPolicy(name, finding.found, consequence))

    def _check_ways(self, servers: Mapping[str, tuple[Address, ...]]) -> None:
        """Tell of LIP devices that are strict with sources which are reached another way."""
        strict = [device for device in servers if strict_filter(device, self._root)]
        asymmetric = set(_asymmetric(strict, servers)) if strict else set()
        for device in servers:
            name = f"net.ipv4.conf.{device}.rp_filter"
            state = State.WRONG if device in asymmetric else State.OK
            if self._is_news(name, state) and state is State.WRONG:
                reason = "replies to its LIPs are dropped: the real servers are reached elsewhere"
                self._emit(events.SysctlWrong(name, "1", "0 or 2", reason))

    def _is_news(self, name: str, state: State | str) -> bool:
        before = self._found.get(name)
        self._found[name] = state
        return before != state


def _translated(spec: DirectorSpec) -> Iterator[VirtualServerSpec]:
    """Return what needs connection tracking on a stock kernel."""
    return (
        item
        for item in spec.virtual_servers
        if item.syn_proxy
        or uses_fullnat(item)
        or (item.defence.tcp is not TcpDefence.NO and returns_through_us(item))
    )


def _asked(spec: DirectorSpec) -> Iterator[Requirement]:
    return (Requirement(f"{BELOW}/{name}", value, ASKED_FOR) for name, value in spec.sysctls)


def _needs_of(spec: DirectorSpec, *, native: bool) -> _Needs:
    if native:
        return _Needs(pings=pings(spec))
    families = {key.family for virtual in _translated(spec) for key in virtual.keys}
    return _Needs(frozenset(families), servers_behind(spec), pings(spec))


def servers_behind(spec: DirectorSpec) -> dict[str, tuple[Address, ...]]:
    """Return by LIP device the IPv4 real servers, some of many, that answer to LIPs of it."""
    by_pool: dict[str, dict[Address, None]] = {}
    for virtual in _translated(spec):
        behind = by_pool.setdefault(virtual.pool, {})
        for server in virtual.real_servers if len(behind) < MAX_WAYS else ():
            if Family.of(server.address) is Family.INET:
                behind[server.address] = None
    by_device: dict[str, dict[Address, None]] = {}
    for pool in spec.pools:
        for item in pool.addresses if pool.name in by_pool else ():
            # Where the LIP is on lo, the replies may come in anywhere.
            if item.device not in {"", "lo"} and Family.of(item.address) is Family.INET:
                by_device.setdefault(item.device, {}).update(by_pool[pool.name])
    return {device: tuple(found)[:MAX_WAYS] for device, found in by_device.items()}


def _asymmetric(
    devices: Iterable[str], servers: Mapping[str, tuple[Address, ...]]
) -> Iterator[str]:
    with RouteClient() as client:
        for device in devices:
            ways = {client.way_out(address) for address in servers[device]}
            if ways - {0, index_of(device), index_of("lo")}:
                yield device
