"""What ``lvskeeper doctor`` says: findings, each with the command that mends it.

The checks are in :mod:`lvskeeper.observe.doctor_kernel` and :mod:`lvskeeper.observe.doctor_net`;
they read, and change nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

from lvskeeper.ipvs.types import Family
from lvskeeper.observe.views import StateSyncView
from lvskeeper.units import Address, format_count


@final
class Verdict(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, until something else happens; or it may be as it is meant."""
    PROBLEM = "problem"
    """Something that is asked for does not work."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    topic: str
    verdict: Verdict
    text: str
    command: str = ""
    """What mends it, to be typed as it is; or words in parentheses where no command does."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """An address with its device; an empty device means that it only has to lead here."""

    address: Address
    device: str = ""


@final
@dataclass(frozen=True, slots=True)
class Router:
    """A VRRP instance, as far as the wire knows it."""

    name: str
    device: str
    vrid: int
    family: int
    addresses: frozenset[Address]


@final
@dataclass(frozen=True, slots=True)
class Needs:
    """What a configuration asks of the machine; without one, what most will ask."""

    given: bool = False
    """There is a configuration."""
    ipvs: bool = True
    schedulers: tuple[str, ...] = ()
    forwards: frozenset[Family] = frozenset()
    """Families whose packets go from clients to servers, and back by us, by plain NAT."""
    fullnat: frozenset[Family] = frozenset()
    """Families of services that nftables translates."""
    cookies: bool = False
    native: bool = False
    """The kernel does FULLNAT and SYN cookies itself: nothing else is needed for them."""
    firewall: bool = False
    """The router keeps a table of nftables: for ``no_accept``, or for VMACs."""
    connections: int = 0
    """How many of them connection tracking has to hold."""
    manages_sysctls: bool = True
    conntrackd: bool = False
    real_time: bool = False
    locks_memory: bool = False
    routers: tuple[Router, ...] = ()
    vips: tuple[Place, ...] = ()
    lips: tuple[Place, ...] = ()
    servers: tuple[Address, ...] = ()
    """Some of the real servers."""
    behind: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    """By device of IPv4 LIPs: real servers that answer to these."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The interfaces that it names, each once."""
        named = [router.device for router in self.routers]
        named += [place.device for place in (*self.vips, *self.lips)]
        return tuple(dict.fromkeys(device for device in named if device and device != "lo"))


_MARKS: Final = {Verdict.OK: "ok", Verdict.WARNING: "warning", Verdict.PROBLEM: "PROBLEM"}


def ok(topic: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(topic, Verdict.OK, text)


def warning(topic: str, text: str, command: str = "") -> Finding:
    """Return what deserves a look."""
    return Finding(topic, Verdict.WARNING, text, command)


def problem(topic: str, text: str, command: str = "") -> Finding:
    """Return what does not work."""
    return Finding(topic, Verdict.PROBLEM, text, command)


def render(findings: Iterable[Finding], *, colors: bool = False) -> str:
    """Return the screen: a line a finding, and below it the command where there is one."""
    findings = list(findings)
    width = max((len(one.topic) for one in findings), default=0)
    lines = []
    for one in findings:
        mark = f"{_MARKS[one.verdict]:<8}"
        if colors and one.verdict is not Verdict.OK:
            mark = f"\x1b[{33 if one.verdict is Verdict.WARNING else 31}m{mark}\x1b[0m"
        lines.append(f"{mark} {one.topic:<{width}}  {one.text}")
        if one.command:
            lines.append(f"{'':8} {'':<{width}}  -> {one.command}")
    ok, *bad = (sum(one.verdict is verdict for one in findings) for verdict in Verdict)
    lines.append(", ".join([f"{ok} ok", *map(format_count, bad, ("warning", "problem"))]))
    return "\n".join(lines)


def carried(sync: StateSyncView) -> Finding:
    """Return whether a fail-over now would keep connections, as a running daemon sees it."""
    known = f"{sync.own} connections of this director, {sync.from_peer} of the peer's are here"
    if sync.keeps:
        return Finding("fail-over", Verdict.OK, f"it would keep connections now: {known}")
    reasons = "; ".join(sync.doubts) or "it is not known yet"
    text = f"it would cut connections now: {reasons}; {known}"
    return Finding("fail-over", Verdict.WARNING, text, "lvskeeper status sync -o wide")
