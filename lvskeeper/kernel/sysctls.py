"""The sysctls that FULLNAT and SYNPROXY depend on: checked, set where allowed, reported where not.

``/proc/sys/net`` shows the network namespace of the process that reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, final

from lvskeeper.ipvs.types import Family

ROOT: Final = Path("/proc/sys")

CONNTRACK_MINIMUM: Final = 262144
"""The kernel's own default of ``nf_conntrack_max`` on machines with more than 4 GiB."""

STRICT: Final = 1
"""``rp_filter``: the source has to be reachable by the very interface that the packet came in."""


@final
@dataclass(frozen=True, slots=True)
class Requirement:
    """A sysctl and the value that it must have."""

    name: str
    """With slashes, as the path below ``/proc/sys``: interface names may hold dots."""
    wanted: int
    consequence: str
    """What happens otherwise, in words that follow "otherwise"."""
    at_least: bool = False
    """A greater value will do, too."""

    @property
    def dotted(self) -> str:
        """The name as sysctl(8) has it."""
        return self.name.replace("/", ".")

    def met_by(self, value: int) -> bool:
        """Return whether *value* will do."""
        return value >= self.wanted if self.at_least else value == self.wanted


@final
class State(Enum):
    """What became of a requirement."""

    OK = "ok"
    """It had the value already."""
    SET = "set"
    WRONG = "wrong"
    """It has another value, and setting was not allowed."""
    FAILED = "failed"
    """Setting it failed."""
    MISSING = "missing"
    """There is no such sysctl: its module is not loaded, or not in this kernel."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """A requirement with what was found and done about it; ``str()`` is for the operator."""

    requirement: Requirement
    state: State
    found: str = ""
    """The value before."""
    reason: str = ""
    """Why setting failed."""

    @property
    def ok(self) -> bool:
        """Whether the sysctl now is as required."""
        return self.state in {State.OK, State.SET}

    def __str__(self) -> str:
        name = self.requirement.dotted
        wanted = self.requirement.wanted
        problem = f"{name} does not exist"
        match self.state:
            case State.MISSING:
                pass
            case State.OK:
                return f"{name} is {self.found}"
            case State.SET:
                return f"{name} set to {wanted}, was {self.found}"
            case State.WRONG:
                problem = f"{name} is {self.found}, not {wanted}"
            case State.FAILED:
                problem = f"{name} is {self.found} and cannot be set to {wanted} ({self.reason})"
        return f"{problem}: {self.requirement.consequence}"


def required_for_fullnat(families: Iterable[Family]) -> tuple[Requirement, ...]:
    """Return what FULLNAT and SYNPROXY cannot do without, for services of these *families*.

    A machine that forwards IPv6 stops to take its default route from router advertisements,
    unless ``accept_ra`` of the interface is 2.
    """
    used = set(families)
    needed = [
        Requirement(
            "net/ipv4/vs/conntrack",
            1,
            "nftables does not see connections of IPVS: no LIP is used, SYN cookies lead nowhere",
        )
    ]
    replies = "the replies of the real servers are not forwarded to the clients"
    if Family.INET in used:
        needed.append(Requirement("net/ipv4/ip_forward", 1, replies))
    if Family.INET6 in used:
        needed.append(Requirement("net/ipv6/conf/all/forwarding", 1, replies))
    return tuple(needed) if used else ()


def recommended_for_fullnat(connections: int = CONNTRACK_MINIMUM) -> tuple[Requirement, ...]:
    """Return what FULLNAT is better with, when it is to carry so many *connections*.

    ``nf_conntrack_max`` is one for all namespaces and can be set in the host's own only.
    """
    return (
        Requirement(
            "net/netfilter/nf_conntrack_tcp_loose",
            1,
            "connections do not survive the loss of their conntrack entry",
        ),
        Requirement(
            "net/netfilter/nf_conntrack_max",
            max(connections, CONNTRACK_MINIMUM),
            "new connections are dropped when the table is full",
            at_least=True,
        ),
    )


POLICIES: Final = (
    Requirement(
        "net/ipv4/vs/expire_nodest_conn",
        1,
        "packets of a removed real server's connections are dropped until these time out",
    ),
    Requirement(
        "net/ipv4/vs/conn_reuse_mode",
        1,
        "a client that takes a port again is sent to its old real server, even a draining one",
        at_least=True,
    ),
)
"""What works either way, with a price that is worth a word; ``snat_reroute`` has none."""


def strict_filter(device: str, root: Path = ROOT) -> bool:
    """Return whether *device* drops IPv4 packets that the way back would not leave by.

    The greater of ``rp_filter`` of the device and of ``all`` counts, and 1 is the strict one
    (Documentation/networking/ip-sysctl.rst). It is right where ways are symmetric.
    """
    values = [read_number(f"net/ipv4/conf/{name}/rp_filter", root) for name in ("all", device)]
    return max(value or 0 for value in values) == STRICT


def read_number(name: str, root: Path = ROOT) -> int | None:
    """Return the value of the sysctl *name*, or nothing where it is none or no number."""
    try:
        return int((root / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def ensure(
    requirements: Iterable[Requirement], *, set_allowed: bool, root: Path = ROOT
) -> list[Finding]:
    """Return a finding for each of the *requirements*, after setting what *set_allowed* permits.

    Nothing is raised: a sysctl that cannot be read or written is a finding. Costs some 20
    microseconds a requirement.
    """
    return [_ensure_one(requirement, set_allowed, root) for requirement in requirements]


def _ensure_one(requirement: Requirement, set_allowed: bool, root: Path) -> Finding:
    path = root / requirement.name
    try:
        found = path.read_text(encoding="ascii").strip()
    except OSError:
        return Finding(requirement, State.MISSING)
    if found.isdecimal() and requirement.met_by(int(found)):
        return Finding(requirement, State.OK, found)
    if not set_allowed:
        return Finding(requirement, State.WRONG, found)
    try:
        path.write_text(f"{requirement.wanted}\n", encoding="ascii")
        now = path.read_text(encoding="ascii").strip()
    except OSError as error:
        return Finding(requirement, State.FAILED, found, error.strerror or str(error))
    if now.isdecimal() and requirement.met_by(int(now)):
        return Finding(requirement, State.SET, found)
    return Finding(requirement, State.FAILED, found, f"it stays {now}")
