"""What a running daemon shows of itself: values only, made by the roles, read by everybody else.

Addresses and names are texts, as operators see them. A length of time is in seconds and counts
back from ``taken`` of its view, which is a reading of the machine's monotonic clock: so a reader on
the same machine knows how old every value is, however long it was on its way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

STALE_AFTER: Final = 5.0
"""Seconds after which a view tells what was, and no longer what is."""


@final
@dataclass(frozen=True, slots=True)
class OverrideView:
    """What an operator ordered for a real server, or for a whole virtual server."""

    kind: str
    """``drain``, ``weight`` or ``disable``."""
    state: str
    """``draining`` while connections are left, ``drained`` after that, else ``set``."""
    weight: int
    age: float
    expires_in: float | None
    """Until it ends by itself."""
    deadline_in: float | None
    """Until a drain no longer waits for connections."""
    connections: int | None
    """What is left of a drain, as of the last look; none before the first."""
    templates: int | None
    """Templates of persistence that lead to the server."""
    note: str
    """What holds a drain up."""
    by: str
    """Who ordered it."""
    reason: str


@final
@dataclass(frozen=True, slots=True)
class OrderView:
    """An override with its subject."""

    virtual_server: str
    real_server: str
    """Empty: all of the virtual server."""
    override: OverrideView
    orphaned: bool
    """The configuration does not name the subject: it waits for it to come back."""


@final
@dataclass(frozen=True, slots=True)
class OverridesView:
    """The overrides in force, or those that a command gave or lifted."""

    taken: float
    """Monotonic clock when it was made."""
    orders: tuple[OrderView, ...]


@final
@dataclass(frozen=True, slots=True)
class CheckView:
    """One check of a real server."""

    name: str
    """Kind and target."""
    state: str
    """``up``, ``down``, or ``unknown`` before a result decided."""
    up: bool
    """Whether it lets its server serve; what is unknown goes by alpha, or by what was adopted."""
    for_seconds: float | None
    """How long it has been in this state; none while it is unknown."""
    ok: bool | None
    """Whether the last probe went well; none before the first."""
    detail: str
    """How the last probe ended: where, and why."""
    age: float | None
    """Since that probe ended."""
    took: float
    """How long it took."""
    due: float | None
    """Until the next probe starts; none while one runs."""
    failed: int
    """Failures in a row while it is still up."""
    attempts: int
    """Failures in a row that take it down."""
    every: float
    """Time between two probes while nothing fails."""


@final
@dataclass(frozen=True, slots=True)
class ServerView:
    """One real server of a virtual server."""

    name: str
    """Address and port."""
    up: bool
    """Whether all its checks are up."""
    serving: bool
    """Whether it gets new connections."""
    weight: int
    """In the kernel's table now; 0 where it does not serve."""
    configured: int
    effective: int
    """The weight that it has whenever it serves: the configured one, or what checks gave it."""
    forward: str
    """``NAT``, ``DR``, ``TUN``, ``FULLNAT``."""
    for_seconds: float
    """How long it has been up, or down."""
    checks: tuple[CheckView, ...] = ()
    override: OverrideView | None = None

    @property
    def failing(self) -> Iterator[CheckView]:
        """The checks that keep it out."""
        return (check for check in self.checks if not check.up)


@final
@dataclass(frozen=True, slots=True)
class VirtualView:
    """One virtual server."""

    name: str
    services: tuple[str, ...]
    """Its services in the kernel."""
    addresses: tuple[str, ...]
    """Their addresses."""
    scheduler: str
    quorum: bool
    """Whether the quorum is gained."""
    for_seconds: float
    """How long it has been gained, or lost."""
    live: int
    """Weight of the servers that are up."""
    gain_at: int
    """Live weight at which the quorum is gained."""
    lose_below: int
    """Live weight below which it is lost."""
    sorry: str
    """The sorry server, if there is one."""
    sorry_serves: bool
    pool: str
    """Its local-address group."""
    syn_proxy: bool
    servers: tuple[ServerView, ...] = ()
    refused: tuple[str, ...] = ()
    """What the kernel refuses of it."""
    override: OverrideView | None = None
    """It is disabled."""

    @property
    def state(self) -> str:
        """``up``, ``sorry`` while only the sorry server serves, ``weak`` without quorum, ``down``.

        A virtual server that lost its quorum and has no sorry server goes on with what is left.
        """
        if self.sorry_serves:
            return "sorry"
        if not any(server.serving for server in self.servers):
            return "down"
        return "up" if self.quorum else "weak"


@final
@dataclass(frozen=True, slots=True)
class PoolView:
    """How full a local-address group is, at its fullest place."""

    name: str
    connections: int
    place: str
    """The real server toward which there is the least room."""
    used: int
    """Connections toward it."""
    capacity: int
    share: float
    """Of the ports of the fullest LIP, 0 to 1 and above."""
    state: str


@final
@dataclass(frozen=True, slots=True)
class ProbesView:
    """Probes of one kind since the start of the role."""

    kind: str
    good: int
    bad: int
    broken: int
    """The director could not make them."""
    seconds: float
    """What they took together."""
    lengths: tuple[int, ...]
    """By length, as :data:`lvskeeper.health.tally.BOUNDS` parts them."""


@final
@dataclass(frozen=True, slots=True)
class StateSyncView:
    """What carries connections to the peer, and whether a fail-over now would keep them."""

    link: str
    """The way to the peer, or the socket of a conntrackd that the administrator runs."""
    age: float | None
    """Since conntrackd told its figures; none before it did."""
    running: bool
    """Whether conntrackd answers."""
    peer: bool | None
    """Whether the peer's conntrackd is heard; none: not known yet."""
    active: bool | None
    """Whether this director serves; none where it follows no VRRP instance, or has no news yet."""
    keeps: bool | None
    """Whether a fail-over now would keep connections; none: not known yet."""
    doubts: tuple[str, ...]
    """Why not, or not all of them."""
    own: int
    """Connections of this director that the peer is to know."""
    from_peer: int
    """Connections in this kernel that came from the peer, but for a few."""
    behind: int
    """Messages that the peer has not confirmed."""
    sent: int
    """Packets to the peer; this and what follows only grows, and starts anew with conntrackd."""
    received: int
    lost: int
    """Messages of the peer that did not come at first; they are sent again."""
    refused: int
    """Entries of the peer that this kernel refused."""
    errors: int
    """Failures to send or to receive."""
    overruns: int
    """Times that connections came faster than conntrackd could read."""
    ipvs: str
    """What IPVS's own sync daemon does: master, backup, both, none."""


@final
@dataclass(frozen=True, slots=True)
class DirectorView:
    """What the director role shows."""

    taken: float
    """Monotonic clock when it was made."""
    dialect: str = ""
    """Of IPVS; empty as long as the kernel's table was not needed."""
    virtual_servers: tuple[VirtualView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    conntrack_entries: int | None = None
    conntrack_limit: int | None = None
    syn_cookies: dict[str, int] | None = None
    """Counters of SYN cookies, while a virtual server has them."""
    repairs: int = 0
    """Operations by which drift of the table was repaired, since the role's start."""
    probes: tuple[ProbesView, ...] = ()
    state_sync: StateSyncView | None = None
    """``None`` where it is not configured."""


@final
@dataclass(frozen=True, slots=True)
class PeerView:
    """A router whose adverts are heard."""

    address: str
    priority: int
    adverts: int
    age: float
    """Since the last one."""


@final
@dataclass(frozen=True, slots=True)
class TermView:
    """What a tracked thing adds to the priority."""

    name: str
    value: int


@final
@dataclass(frozen=True, slots=True)
class TrackView:
    """A tracked thing."""

    name: str
    well: bool | None
    """None before its first result."""
    weight: int
    """0: its failure is a fault."""
    reverse: bool = False
    value: int = 0
    """Files only: the number in it."""


@final
@dataclass(frozen=True, slots=True)
class CountersView:
    """Totals of an instance, or of the addresses that it holds."""

    sent: int = 0
    received: int = 0
    zero_sent: int = 0
    zero_received: int = 0
    became_master: int = 0
    released_master: int = 0
    late: int = 0
    lost: int = 0
    rejected: dict[str, int] | None = None
    """Adverts that were not accepted, by reason."""


@final
@dataclass(frozen=True, slots=True)
class InstanceView:
    """One VRRP instance."""

    name: str
    key: str
    interface: str
    family: int
    vrid: int
    version: int
    state: str
    """``MASTER``, ``BACKUP``, ``FAULT``, ``INIT``."""
    for_seconds: float | None
    """How long it has been in this state; none before the start."""
    cause: str
    """Why it entered it."""
    before: str
    """The state before."""
    source: str
    """Our address in adverts."""
    priority: int
    """The effective one."""
    base: int
    """The configured one."""
    terms: tuple[TermView, ...]
    interval: float
    """The advert interval in force."""
    master_down: float
    """Silence of a master after which a backup takes over."""
    preempt: bool
    preempt_left: float | None
    """What is left of the preempt delay."""
    due: float | None
    """Until its timer ends: a backup then takes over."""
    faults: tuple[str, ...]
    pending: tuple[str, ...]
    """What has no first result yet."""
    master: str
    """The master that a backup hears."""
    master_priority: int
    master_age: float | None
    """Since its last advert."""
    contention: str
    """Two masters that are heard at once."""
    contention_for: float | None
    group: str
    """Its sync group."""
    waits: bool
    """It hears no master, and waits for the other members of its group."""
    addresses: tuple[str, ...]
    held: bool
    """Whether it is to hold them."""
    announced: float | None
    """Since neighbours were last told of any of them."""
    tracks: tuple[TrackView, ...]
    peers: tuple[PeerView, ...]
    counters: CountersView


@final
@dataclass(frozen=True, slots=True)
class GroupView:
    """One sync group."""

    name: str
    state: str
    members: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class RouterView:
    """What the router role shows."""

    taken: float
    """Monotonic clock when it was made."""
    instances: tuple[InstanceView, ...] = ()
    groups: tuple[GroupView, ...] = ()
    director_silent: bool = False
