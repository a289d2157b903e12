"""The events of FULLNAT and SYNPROXY: pools, rulesets, floods, capacity, conntrack.

See :mod:`lvskeeper.observe.events`.
"""

from typing import Annotated, ClassVar, final

from lvskeeper.observe.events import Event, Level


@final
class RulesetRepaired(Event, frozen=True):
    """Somebody else changed or flushed our nftables table; it is as configured again."""

    NAME: ClassVar = "ruleset_repaired"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Let firewall scripts delete their own tables instead of `flush ruleset`."
    difference: Annotated[str, "what differed"]
    by: Annotated[str, "name[id] of the processes that made transactions, or unknown"]
    took: Annotated[str, "time from finding to mending"]


@final
class FullnatApplied(Event, frozen=True):
    """The nftables ruleset (LIPs, SYN cookies, defences) was changed in one transaction."""

    NAME: ClassVar = "fullnat_applied"
    services: Annotated[int, "virtual services with FULLNAT"]
    pools: Annotated[int, "local-address groups in use"]
    proxied: Annotated[int, "virtual services with SYNPROXY"]


@final
class SynProxyMismatch(Event, frozen=True):
    """SYN cookies promise clients something else than some of the real servers offer."""

    NAME: ClassVar = "syn_proxy_mismatch"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "Give all real servers the same MTU and tcp_rmem; leave syn_proxy_mss and syn_proxy_wscale "
        "at auto, or set them to what the servers offer."
    )
    virtual_server: Annotated[str, "the virtual server"]
    option: Annotated[str, "mss or wscale"]
    promised: Annotated[int, "what clients are promised"]
    offered: Annotated[str, "what the real servers offer, each value once"]
    consequence: Annotated[str, "what follows"]


@final
class SynProxyChanged(Event, frozen=True):
    """Services left the SYN cookies with their last real server, or returned with the first."""

    NAME: ClassVar = "syn_proxy_changed"
    services: Annotated[str, "the virtual services"]
    change: Annotated[str, "left or returned"]


@final
class TimestampKept(Event, frozen=True):
    """This kernel or nft cannot take TCP timestamps out of the handshake with real servers.

    Where real servers run Linux 6.15 or newer, protocols in which the server speaks first begin a
    second late.
    """

    NAME: ClassVar = "timestamp_kept"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Use a kernel with `reset tcp option` (5.18) and nft 1.0.2 or newer."
    reason: Annotated[str, "what nft says"]


@final
class GuardMissing(Event, frozen=True):
    """The guard table could not be installed: a foreign `flush ruleset` would stall connections."""

    NAME: ClassVar = "guard_missing"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Install libnftables (package libnftables1)."
    reason: Annotated[str, "why"]


@final
class SynFloodStarted(Event, frozen=True):
    """SYNs come without handshakes, for seconds; SYN cookies keep them from the real servers."""

    NAME: ClassVar = "syn_flood_started"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "None is needed while the link is not full; `syn_flood_ended` comes after it."
    syns: Annotated[int, "SYNs since its first second"]
    handshakes: Annotated[int, "those of them that clients completed"]
    rate: Annotated[int, "SYNs a second without a handshake, the most so far"]


@final
class SynFloodEnded(Event, frozen=True):
    """A flood of SYNs is over."""

    NAME: ClassVar = "syn_flood_ended"
    LEVEL: ClassVar = Level.NOTICE
    syns: Annotated[int, "SYNs that came in its time"]
    handshakes: Annotated[int, "those of them that clients completed"]
    peak: Annotated[int, "SYNs a second without a handshake, the most of it"]
    duration: Annotated[str, "from its first to its last loud second"]


@final
class SynCounters(Event, frozen=True):
    """What SYN cookies were counted to do, on demand (SIGUSR1)."""

    NAME: ClassVar = "syn_counters"
    LEVEL: ClassVar = Level.NOTICE
    syns: Annotated[int, "SYNs answered with a cookie"]
    handshakes: Annotated[int, "cookies that came back right"]
    forged: Annotated[int, "ACKs with a cookie that was wrong or too old"]
    flood: Annotated[str, "yes while a flood goes on, else no"]
    rates: Annotated[str, "counters that grow, a second, by the kernel's names"]
    others: Annotated[str, "the kernel's other counters that are not 0"]


@final
class SysctlUnknown(Event, frozen=True):
    """A setting of `ipvs_sysctls` does not exist in this kernel and is left out."""

    NAME: ClassVar = "sysctl_unknown"
    LEVEL: ClassVar = Level.NOTICE
    CURE: ClassVar = "Take it out, or run the kernel that it is for."
    sysctl: Annotated[str, "its name"]


@final
class SysctlPolicy(Event, frozen=True):
    """A sysctl that works either way has the value whose price is told here."""

    NAME: ClassVar = "sysctl_policy"
    CURE: ClassVar = "Set it to 1 in `ipvs_sysctls` if you want the other way, to 0 if not."
    sysctl: Annotated[str, "its name"]
    value: Annotated[str, "its value"]
    consequence: Annotated[str, "what follows"]


@final
class LocalAddressGap(Event, frozen=True):
    """A FULLNAT kernel refuses clients of a service: it has no LIP, or none for some CPUs.

    The kernel log then says `no port available`, as it does when all ports are taken. The third
    generation gives each LIP to one CPU, by its last byte, and a client is served by the CPU that
    its packets arrive on.
    """

    NAME: ClassVar = "local_address_gap"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Add LIPs; as many in a row as there are CPUs for data cover them all."
    service: Annotated[str, "the virtual service"]
    missing: Annotated[str, "what has no LIP"]


@final
class OptionsPassedOver(Event, frozen=True):
    """A FULLNAT kernel does not have an option of virtual servers, and goes by its settings."""

    NAME: ClassVar = "options_passed_over"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Give the settings in `ipvs_sysctls`, for all virtual servers alike."
    option: Annotated[str, "the option"]
    virtual_servers: Annotated[str, "those that have it, the first five by name"]
    settings: Annotated[str, "settings of `ipvs_sysctls` in its place"]


@final
class LocalAddressChanged(Event, frozen=True):
    """A LIP was put on its device, or removed from it."""

    NAME: ClassVar = "local_address_changed"
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    change: Annotated[str, "added or removed"]


@final
class LocalAddressFailed(Event, frozen=True):
    """A LIP could not be put on its device, or removed from it."""

    NAME: ClassVar = "local_address_failed"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Check that the device exists and is spelled as `ip link` shows it."
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    reason: Annotated[str, "why"]


@final
class LocalAddressLeaving(Event, frozen=True):
    """A LIP left its pool: it takes no new connections, and stays on its device for the old ones.

    It is removed with the end of its last connection, or when the limit has passed.
    """

    NAME: ClassVar = "local_address_leaving"
    LEVEL: ClassVar = Level.NOTICE
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]
    connections: Annotated[str, "connections that it has; unknown where they cannot be counted"]
    limit: Annotated[str, "how long they have at most"]


@final
class LocalAddressCut(Event, frozen=True):
    """The limit of a leaving LIP has passed: it is removed, and the connections that it has end."""

    NAME: ClassVar = "local_address_cut"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Where such connections must live on, keep the LIP on its device yourself."
    address: Annotated[str, "the LIP"]
    device: Annotated[str, "its device"]


@final
class PoolNearlyFull(Event, frozen=True):
    """The LIPs of a pool run out of ports toward a real server.

    The share is that of the fullest LIP, as the spreading by hash makes it likely.
    """

    NAME: ClassVar = "pool_nearly_full"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Add LIPs to the pool, or widen its port range; a reload brings them in."
    pool: Annotated[str, "local-address group"]
    server: Annotated[str, "the real server with the least room"]
    connections: Annotated[int, "connections toward it"]
    capacity: Annotated[int, "connections that the pool can hold toward it"]
    share: Annotated[str, "share of the ports of the fullest LIP that are in use"]


@final
class PoolExhausted(Event, frozen=True):
    """New connections are dropped, as the LIPs of a pool have no free port toward a real server."""

    NAME: ClassVar = "pool_exhausted"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Add LIPs to the pool, or widen its port range; a reload brings them in."
    pool: Annotated[str, "local-address group"]
    server: Annotated[str, "the real server with the least room"]
    connections: Annotated[int, "connections toward it"]
    capacity: Annotated[int, "connections that the pool can hold toward it"]
    share: Annotated[str, "share of the ports of the fullest LIP that are in use"]
    failures: Annotated[int, "packets that found no port since the last look, a few seconds ago"]


@final
class PoolRelieved(Event, frozen=True):
    """A pool that was exhausted or nearly full is so no more."""

    NAME: ClassVar = "pool_relieved"
    LEVEL: ClassVar = Level.NOTICE
    pool: Annotated[str, "local-address group"]
    was: Annotated[str, "exhausted or nearly full"]
    server: Annotated[str, "the real server with the least room"]
    connections: Annotated[int, "connections toward it"]
    capacity: Annotated[int, "connections that the pool can hold toward it"]
    share: Annotated[str, "share of the ports of the fullest LIP that are in use"]
    failures: Annotated[int, "packets that found no port in all of that time"]


@final
class ConntrackLost(Event, frozen=True):
    """Connection tracking has forgotten connections that IPVS still knows, as after a flush.

    Those in which the client speaks next come back with the same LIP and port while
    nf_conntrack_tcp_loose is 1; those behind SYN cookies end.
    """

    NAME: ClassVar = "conntrack_lost"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Find who runs `conntrack -F` or `-D`, or reloads a firewall that does."
    entries: Annotated[int, "connections that are tracked"]
    connections: Annotated[int, "TCP connections of FULLNAT services that IPVS knows"]


@final
class ConntrackNearlyFull(Event, frozen=True):
    """The table of connection tracking, which FULLNAT needs, comes near its limit."""

    NAME: ClassVar = "conntrack_nearly_full"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "Raise net.netfilter.nf_conntrack_max; `lvskeeper plan` tells what pools need."
    entries: Annotated[int, "connections in the table"]
    limit: Annotated[int, "nf_conntrack_max"]


@final
class ConntrackFull(Event, frozen=True):
    """The table of connection tracking is full: new connections are dropped, or push out others."""

    NAME: ClassVar = "conntrack_full"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Raise net.netfilter.nf_conntrack_max; `lvskeeper plan` tells what pools need."
    entries: Annotated[int, "connections in the table"]
    limit: Annotated[int, "nf_conntrack_max"]
    failures: Annotated[int, "packets dropped and entries pushed out since the last look"]


@final
class ConntrackRelieved(Event, frozen=True):
    """The table of connection tracking was full or nearly so, and is so no more."""

    NAME: ClassVar = "conntrack_relieved"
    LEVEL: ClassVar = Level.NOTICE
    was: Annotated[str, "full or nearly full"]
    entries: Annotated[int, "connections in the table"]
    limit: Annotated[int, "nf_conntrack_max"]
    failures: Annotated[int, "packets dropped and entries pushed out in all of that time"]


@final
class StateSyncStarted(Event, frozen=True):
    """conntrackd, which carries connections to the peer director, serves us."""

    NAME: ClassVar = "state_sync_started"
    LEVEL: ClassVar = Level.NOTICE
    how: Annotated[str, "started, adopted where it ran already, or external"]
    link: Annotated[str, "interface and addresses, or the control socket of an external one"]


@final
class StateSyncStopped(Event, frozen=True):
    """conntrackd was stopped, as the configuration or a clean stop asks."""

    NAME: ClassVar = "state_sync_stopped"
    LEVEL: ClassVar = Level.NOTICE


@final
class StateSyncLost(Event, frozen=True):
    """There is no conntrackd: all else works, but a fail-over now cuts connections."""

    NAME: ClassVar = "state_sync_lost"
    LEVEL: ClassVar = Level.ERROR
    CURE: ClassVar = "Install the package conntrackd, or see why it does not run."
    reason: Annotated[str, "why"]
    again: Annotated[str, "when it is tried again"]


@final
class StateSyncPeerLost(Event, frozen=True):
    """Nothing comes from the peer's conntrackd: it would not know our connections."""

    NAME: ClassVar = "state_sync_peer_lost"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "See that the peer runs, and that UDP passes the link in both directions."
    silence: Annotated[str, "how long it has been silent"]
    own: Annotated[int, "connections that it does not learn of"]


@final
class StateSyncPeerFound(Event, frozen=True):
    """The peer's conntrackd answers; both send what they have."""

    NAME: ClassVar = "state_sync_peer_found"
    LEVEL: ClassVar = Level.NOTICE
    own: Annotated[int, "connections that it is told of"]


@final
class StateSyncTroubled(Event, frozen=True):
    """Some connections did not get across; a fail-over now may cut these."""

    NAME: ClassVar = "state_sync_troubled"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = (
        "Overruns: fewer new connections or a faster CPU. Refused: see that nf_conntrack_max is "
        "the same on both directors."
    )
    refused: Annotated[int, "entries of the peer that this kernel refused since the last time"]
    overruns: Annotated[int, "times that events of this kernel came too fast since then"]
    errors: Annotated[int, "failures to send or receive since then"]


@final
class StateSyncTookOver(Event, frozen=True):
    """This director serves from now on, with the connections that the peer has told it of."""

    NAME: ClassVar = "state_sync_took_over"
    LEVEL: ClassVar = Level.NOTICE
    known: Annotated[int, "connections of this kernel that came from the peer, but for a few"]
    own: Annotated[int, "connections that this director had itself"]
    ipvs: Annotated[str, "what IPVS's own sync daemon did until then: backup, both, or none"]
    hold: Annotated[str, "for how long packets of no known connection are held; off"]
    doubts: Annotated[str, "why connections may be cut all the same; empty for none"]


@final
class StateSyncHoldEnded(Event, frozen=True):
    """Packets without a connection are answered again; until now they were dropped and counted."""

    NAME: ClassVar = "state_sync_hold_ended"
    LEVEL: ClassVar = Level.NOTICE
    servers: Annotated[int, "packets of real servers to LIPs that were held"]
    clients: Annotated[int, "packets of clients to VIPs that were held"]
    took: Annotated[str, "how long"]


@final
class StateSyncKeeps(Event, frozen=True):
    """A fail-over now would keep connections."""

    NAME: ClassVar = "state_sync_keeps"
    LEVEL: ClassVar = Level.NOTICE
    own: Annotated[int, "connections of this director that the peer knows"]


@final
class StateSyncCuts(Event, frozen=True):
    """A fail-over now would cut connections, or some of them."""

    NAME: ClassVar = "state_sync_cuts"
    LEVEL: ClassVar = Level.WARNING
    CURE: ClassVar = "See the reasons; `kill -USR1` tells the figures behind them."
    reasons: Annotated[str, "why"]


@final
class StateSyncReport(Event, frozen=True):
    """How state sync is, as somebody asked (SIGUSR1)."""

    NAME: ClassVar = "state_sync_report"
    LEVEL: ClassVar = Level.NOTICE
    keeps: Annotated[str, "whether a fail-over now would keep connections: yes, no, unknown"]
    reasons: Annotated[str, "why not"]
    serves: Annotated[str, "whether this director serves: yes, no, unknown"]
    peer: Annotated[str, "whether the peer's conntrackd is there: yes, no, unknown"]
    entries: Annotated[int, "connections that this kernel tracks"]
    own: Annotated[int, "of these, those that the peer is told of"]
    injected: Annotated[int, "entries of the peer put into this kernel since conntrackd started"]
    removed: Annotated[int, "of these, those that the peer has ended"]
    refused: Annotated[int, "of these, those that the kernel refused"]
    unconfirmed: Annotated[int, "messages on which the peer's word is still to come"]
    lost: Annotated[int, "messages that came in a second try"]
    overruns: Annotated[int, "times that events of the kernel came too fast"]
    errors: Annotated[int, "failures to send or receive"]
    ipvs: Annotated[str, "what IPVS's own sync daemon does: master, backup, both, or none"]
