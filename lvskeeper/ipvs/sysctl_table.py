"""The settings below ``/proc/sys/net/ipv4/vs``: what they take, and which kernels have them.

Every one is optional: versions differ, and a namespace other than the host's may lack some. Ranges
are those of the kernels, or of their documentation where the code takes any number. Sources:
``Documentation/networking/ipvs-sysctl.rst`` and ``ip_vs_ctl.c`` of mainline and of the fork.
"""

from dataclasses import dataclass
from typing import Final, final

from lvskeeper.ipvs.dialect import Dialect

MAX_INT: Final = 2**31 - 1
MAX_SECONDS: Final = MAX_INT // 1000
"""The kernel keeps seconds as ticks in an ``int``, at most 1,000 a second."""

_STOCK: Final = frozenset({Dialect.MAINLINE})
_FORK: Final = frozenset({Dialect.FORK_V2, Dialect.FORK_V3})
_V3: Final = frozenset({Dialect.FORK_V3})
_ALL: Final = frozenset(Dialect)


@final
@dataclass(frozen=True, slots=True)
class Sysctl:
    """A setting that is one number."""

    name: str
    low: int
    high: int
    default: str
    """What the kernel starts with."""
    meaning: str
    kernels: frozenset[Dialect]


def _switches(kernels: frozenset[Dialect], **meanings: tuple[int, str]) -> tuple[Sysctl, ...]:
    return tuple(
        Sysctl(name, 0, 1, str(default), meaning, kernels)
        for name, (default, meaning) in meanings.items()
    )


def _modes(**meanings: str) -> tuple[Sysctl, ...]:
    how = "0 never, 1 and 2 where memory is short, 3 always"
    return tuple(
        Sysctl(name, 0, 3, "0", f"{meaning}: {how}.", _ALL) for name, meaning in meanings.items()
    )


def _timeouts(**defaults: str) -> tuple[Sysctl, ...]:
    return tuple(
        Sysctl(name, 1, MAX_SECONDS, default, "Seconds of a connection in this state.", _FORK)
        for name, default in defaults.items()
    )


_SHARED: Final = (
    Sysctl("amemthresh", 1, MAX_INT, "1024", "Pages of free memory below which it is short.", _ALL),
    Sysctl("am_droprate", 0, MAX_INT, "10", "One packet of so many with `drop_packet 3`.", _ALL),
    *_modes(
        drop_entry="Drop connections that are half open",
        drop_packet="Drop some of all packets",
        secure_tcp="Stricter TCP states, with timeouts of their own",
    ),
    *_switches(
        _ALL,
        cache_bypass=(0, "Packets without a usable cache server go to where they were sent."),
        expire_nodest_conn=(0, "Connections of a removed real server end at their next packet."),
        expire_quiescent_template=(0, "Persistence does not lead to a server of weight 0."),
        nat_icmp_send=(0, "Tell real servers of connections that are not there."),
    ),
    Sysctl("debug_level", 0, 12, "0", "How much goes to the kernel's log.", _ALL),
    Sysctl("lblc_expiration", 0, MAX_SECONDS, "86400", "Seconds of an entry of `lblc`.", _ALL),
    Sysctl("lblcr_expiration", 0, MAX_SECONDS, "86400", "Seconds of an entry of `lblcr`.", _ALL),
)

_MAINLINE: Final = (
    *_switches(
        _STOCK,
        backup_only=(0, "A backup of the sync daemon forwards nothing."),
        conntrack=(0, "Connections are tracked. FNAT, `syn_proxy` and others here need 1."),
        ignore_tunneled=(0, "Leave packets of unknown protocols alone."),
        pmtu_disc=(1, "Answer packets that are too long for the path."),
        run_estimation=(1, "Count rates."),
        schedule_icmp=(0, "ICMP packets may start connections."),
        sloppy_sctp=(0, "Any SCTP packet may start a connection."),
        sloppy_tcp=(0, "Any TCP segment may start a connection."),
        snat_reroute=(1, "Route answers of real servers as packets of the director."),
        sync_persist_mode=(0, "Sync only the persistence of persistent services."),
        sync_version=(1, "Version of the sync protocol that is sent."),
    ),
    Sysctl(
        "conn_reuse_mode", 0, 3, "1",
        "A client's port used again: 0 stays with its server, 1 may be scheduled anew, 2 also in "
        "FIN_WAIT.", _STOCK,
    ),
    Sysctl("est_nice", -20, 19, "0", "Niceness of the threads that count rates.", _STOCK),
    Sysctl("sync_ports", 1, 8, "1", "Threads, and UDP ports, of sync; a power of two.", _STOCK),
    Sysctl("sync_qlen_max", 1, MAX_INT, "1/32 of the memory pages", "Longest queue of sync.",
           _STOCK),
    Sysctl("sync_refresh_period", 0, MAX_SECONDS, "0", "Seconds between two syncs of a connection "
           "that stays as it is.", _STOCK),
    Sysctl("sync_retries", 0, 3, "0", "Repetitions of a sync.", _STOCK),
    Sysctl("sync_sock_size", 0, MAX_INT, "0: the system's", "Bytes of the buffer of sync.", _STOCK),
)  # fmt: skip

_FULLNAT: Final = (
    *_switches(
        _FORK,
        fullnat_timestamp_remove_entry=(1, "Take the timestamp out of a client's SYN."),
        fullnat_mss_adjust_entry=(1, "Lower the MSS by the size of TOA."),
        fullnat_conn_reused_entry=(1, "A SYN that meets an old connection starts it anew."),
        fullnat_toa_entry=(1, "The client's address in its first segments, not in its SYN only."),
    ),
    Sysctl("fullnat_lport_min", 1025, 65_535, "5000", "First port on the LIPs.", _FORK),
    Sysctl("fullnat_lport_max", 1025, 65_535, "65535", "Last port on the LIPs.", _FORK),
    Sysctl("fullnat_lport_tries", 10, 60_000, "10000", "Ports that are tried.", _FORK),
    *_switches(
        _FORK,
        defence_tcp_drop=(1, "Drop TCP to a VIP without a service or a connection."),
        defence_udp_drop=(1, "Drop UDP to addresses that have a TCP service."),
        defence_frag_drop=(1, "Drop fragments of IPv4."),
        conn_expire_tcp_rst=(1, "Reset both ends of a connection that expires."),
        fast_response_xmit=(1, "Answer clients at the MAC address that they came from."),
    ),
)

_SYNPROXY: Final = (
    Sysctl("synproxy_init_mss", 0, 65_535, "1452", "Greatest MSS that clients are told.", _FORK),
    Sysctl("synproxy_wscale", 0, 14, "0: none", "Window scale that clients are told.", _FORK),
    Sysctl("synproxy_synack_ttl", 1, 255, "63", "TTL of the answers to SYNs.", _FORK),
    Sysctl("synproxy_ack_skb_store_thresh", 0, 5, "3", "Segments that wait for a real server.",
           _FORK),
    Sysctl("synproxy_ack_storm_thresh", 0, 65_535, "10",
           "Equal ACKs after which more are dropped; 0 for never.", _FORK),
    Sysctl("synproxy_syn_retry", 0, 6, "3", "SYNs that a silent real server gets.", _FORK),
    *_switches(
        _FORK,
        synproxy_sack=(1, "Clients may use SACK."),
        synproxy_timestamp=(0, "Clients may use timestamps."),
        synproxy_defer=(0, "Wait for a client's data before a real server is asked."),
        synproxy_conn_reuse=(1, "A valid cookie starts an old connection anew, in some states."),
        synproxy_conn_reuse_close=(1, "`synproxy_conn_reuse` in CLOSE."),
        synproxy_conn_reuse_time_wait=(1, "`synproxy_conn_reuse` in TIME_WAIT."),
        synproxy_conn_reuse_fin_wait=(0, "`synproxy_conn_reuse` in FIN_WAIT."),
        synproxy_conn_reuse_close_wait=(0, "`synproxy_conn_reuse` in CLOSE_WAIT."),
        synproxy_conn_reuse_last_ack=(0, "`synproxy_conn_reuse` in LAST_ACK."),
    ),
)  # fmt: skip

_FORK_V3: Final = (
    *_switches(
        _V3,
        fast_response_xmit_inside=(1, "The same toward real servers."),
        csum_offload=(1, "Leave TCP checksums to the network card; breaks IPv6 on some."),
    ),
    Sysctl("reserve_core", 0, 6, "0", "First CPUs that forward nothing.", _V3),
    Sysctl("conn_max_num", 0, MAX_INT, "by memory", "Most connections; 0 for no limit.", _V3),
)

SYSCTLS: Final = {
    one.name: one
    for one in (
        *_SHARED,
        *_MAINLINE,
        *_FULLNAT,
        *_SYNPROXY,
        *_timeouts(
            timeout_established="90", timeout_synsent="3", timeout_synrecv="30",
            timeout_finwait="3, v3 7", timeout_timewait="3, v3 7", timeout_close="3",
            timeout_closewait="3, v3 7", timeout_lastack="3, v3 7", timeout_listen="120",
            timeout_synack="30",
        ),
        *_FORK_V3,
    )
}  # fmt: skip
"""By name."""

OTHER_FORM: Final = {
    "sync_threshold": "two numbers",
    "est_cpulist": "a list of CPUs",
}
"""Settings that are no single number, and what they are."""
