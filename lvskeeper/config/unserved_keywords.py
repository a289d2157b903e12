"""Keywords of keepalived and its forks that are known and not acted on, and why.

Those that harm nobody are passed over with a warning. To pass over the others would change what is
served, so they are errors that say what to do in their place.
"""

from typing import Final

from lvskeeper.config import keyword as k
from lvskeeper.config import unserved_values as u
from lvskeeper.config import values as v
from lvskeeper.config import vrrp_values as w
from lvskeeper.config.keyword import Keyword, noted, refuse
from lvskeeper.config.unserved_dpvs import PROXY
from lvskeeper.config.unserved_dpvs import ROOT as _DPVS_ROOT
from lvskeeper.config.unserved_dpvs import TABLES as _DPVS_TABLES
from lvskeeper.config.unserved_dpvs import VIRTUAL as _DPVS_VIRTUAL

_ANY: Final = v.integer(0, 2**32 - 1)
_BYTES: Final = v.integer(0, 2**32 - 1, "bytes")
_NICE: Final = w.signed(-20, 19)
_REAL_TIME: Final = v.integer(1, 99)
_MICROSECONDS: Final = v.integer(1, 2**31 - 1, "us")

_NO_SNMP: Final = "SNMP is not spoken; metrics and `lvskeeper status` tell the same"
_NO_DBUS: Final = "D-Bus is not spoken; the control socket tells the same"
_NO_BFD: Final = "BFD is not spoken here, so nothing would ever come up or go down by it"
_NO_PIDS: Final = "there are no pid files and no names to tell several apart: systemd knows them"
_PROCESSES: Final = "processes are named after their roles"
_BUFFERS: Final = "lvskeeper sizes its buffers itself, and reads all anew when one overflows"
_TABLES: Final = "lvskeeper's own nftables tables hold what is needed, and no others are touched"
_LINKS: Final = "the kernel tells of links by netlink, which no longer needs polling"
_RELOAD: Final = "every reload judges the whole file first, and changes nothing where it is wrong"
_TIMED: Final = "a timer of systemd, with `systemctl reload lvskeeper`, does it"
_COPY: Final = "no copy of the configuration is written"
_DUMP: Final = "state is asked over the control socket, not written to files"
_UNIT: Final = "the unit sets it for the director: Nice=, CPUAffinity=, LimitRTTIME= and the like"
_NAMESPACE: Final = (
    "lvskeeper serves the network namespace that it is started in: NetworkNamespacePath= in its "
    "unit, or ip netns exec"
)
_SCRIPT: Final = (
    "no script runs around the daemon; write it as ExecStartPre= or ExecStopPost= of the unit"
)


def _link(name: str) -> Keyword:
    return k.bare(name, "Poll links with MII or ethtool.")


def _several(name: str, args: str, doc: str, read: v.Reader) -> Keyword:
    return Keyword(name, args, doc, "K", read, least=2, most=99)


_ROOT: Final = (
    refuse(k.value("net_namespace", "NAME", "Network namespace to run in.", v.text), _NAMESPACE),
    refuse(Keyword("net_namespace_ipvs", "[NAME]", "Network namespace of IPVS.", "K", u.name),
           _NAMESPACE),
    noted(k.bare("namespace_with_ipsets", "Use ipsets in a network namespace, too."), _TABLES),
    noted(k.bare("use_pid_dir", "Keep pid files in a folder of their own."), _NO_PIDS),
    noted(k.value("instance", "NAME", "Name of this daemon among several.", v.text), _NO_PIDS),
    noted(k.value("child_wait_time", "SECONDS", "How long processes may take to end.",
                  v.integer(0, 86_400, "s"), default="5"),
          "every role has a limit of its own at the stop"),
    noted(_link("linkbeat_use_polling"), _LINKS),
    noted(Keyword("linkbeat_interfaces", "", "`INTERFACE [MII|ETHTOOL|IOCTL]` a line: links to "
                  "poll.", "K", most=1, block=True, entries=u.polled_link), _LINKS),
    noted(k.block("bfd_instance", "NAME", "A BFD session.", read=v.text, least=2, most=2), _NO_BFD),
    *_DPVS_ROOT,
)  # fmt: skip

_NAMED: Final = (
    noted(k.bare("process_names", "Name processes after their work."), _PROCESSES),
    *(
        noted(k.value(f"{role}process_name", "NAME", f"Name of {whose}.", v.text), _PROCESSES)
        for role, whose in (
            ("", "the first process"),
            ("vrrp_", "the VRRP process"),
            ("checker_", "the process of checks"),
            ("bfd_", "the BFD process"),
        )
    ),
    noted(k.old(k.value("checker_process_name", "NAME", "", v.text), "lvs_process_name"),
          _PROCESSES),
)  # fmt: skip

_SCRIPTS: Final = (
    refuse(k.command("startup_script", "Run before anything else starts."), _SCRIPT),
    refuse(k.command("shutdown_script", "Run after everything else has ended."), _SCRIPT),
    *(
        noted(k.value(f"{when}_script_timeout", "SECONDS", f"Limit of `{when}_script`.",
                      v.integer(1, 1000, "s"), default="10"), "there is no such script to wait for")
        for when in ("startup", "shutdown")
    ),
)  # fmt: skip

_PRIORITIES: Final = (
    noted(Keyword("max_auto_priority", "[PRIORITY]", "Real-time priority to rise to when late.",
                  "K", w.signed(-1, 99), least=2, default="0: none"),
          "priorities do not rise by themselves; vrrp_rt_priority sets that of the router"),
    noted(k.value("min_auto_priority_delay", "MICROSECONDS", "Lateness that makes it rise.",
                  v.integer(1, 10_000_000, "us"), default="1000000"),
          "priorities do not rise by themselves; vrrp_rt_priority sets that of the router"),
    *(
        noted(one, _UNIT if role == "checker" else _NO_BFD)
        for role, whose in (("checker", "the process of checks"), ("bfd", "the BFD process"))
        for one in (
            k.value(f"{role}_priority", "N", f"Nice value of {whose}.", _NICE, default="0"),
            k.bare(f"{role}_no_swap", f"Lock the memory of {whose}."),
            k.value(f"{role}_rt_priority", "N", f"Real-time priority of {whose}.", _REAL_TIME),
            Keyword(f"{role}_cpu_affinity", "CPU ...", f"Processors of {whose}.", "K", w.cpus,
                    least=2, most=99),
            k.value(f"{role}_rlimit_rttime", "MICROSECONDS", "Limit of a real-time turn.",
                    _MICROSECONDS, default="10000"),
            k.old(k.value(f"{role}_rlimit_rttime", "MICROSECONDS", "", _MICROSECONDS),
                  f"{role}_rlimit_rtime"),
        )
    ),
)  # fmt: skip

_FIREWALL: Final = (
    noted(Keyword("vrrp_iptables", "[IN [OUT]]", "Chains of iptables for `no_accept`.", "K",
                  u.names, least=1, most=3), _TABLES),
    noted(_several("vrrp_ipsets", "NAME ...", "Names of ipsets for `no_accept`.", u.names),
          _TABLES),
    noted(Keyword("nftables", "[NAME]", "Table of nftables for `no_accept`.", "K", u.name),
          _TABLES),
    noted(k.value("nftables_priority", "N", "Priority of its chains.", w.signed(-400, 400),
                  default="-1"), _TABLES),
    noted(k.bare("nftables_ifindex", "Rules name interfaces by number."), _TABLES),
    noted(k.bare("nftables_counters", "Rules count packets."), _TABLES),
    noted(Keyword("nftables_ipvs", "[NAME]", "Table of nftables for groups by mark.", "K",
                  u.name), _TABLES),
    noted(k.value("nftables_ipvs_priority", "N", "Priority of its chains.", w.signed(-400, 400),
                  default="-1"), _TABLES),
    noted(k.value("nftables_ipvs_start_fwmark", "N", "First mark that groups get.",
                  v.integer(1, 2**32 - 1), default="1000"), _TABLES),
)  # fmt: skip

_SNMP: Final = tuple(
    noted(one, _NO_SNMP)
    for one in (
        k.value("snmp_socket", "SOCKET", "Socket of the SNMP agent.", v.text),
        k.bare("enable_traps", "Send SNMP traps."),
        k.bare("enable_snmp_vrrp", "Serve the KEEPALIVED-MIB of VRRP."),
        k.old(k.bare("enable_snmp_vrrp", ""), "enable_snmp_keepalived"),
        k.bare("enable_snmp_rfc", "Serve the MIBs of both RFCs."),
        k.bare("enable_snmp_rfcv2", "Serve the MIB of RFC 2787."),
        k.bare("enable_snmp_rfcv3", "Serve the MIB of RFC 6527."),
        k.bare("enable_snmp_checker", "Serve the KEEPALIVED-MIB of checks."),
        k.value("snmp_vs_stats_update_interval", "SECONDS", "Age of counters of virtual servers.",
                w.seconds(0.001, 30), default="5"),
        k.value("snmp_rs_stats_update_interval", "SECONDS", "Age of counters of real servers.",
                w.seconds(0.001, 30), default="snmp_vs_stats_update_interval"),
    )
)  # fmt: skip

_BUFFER_SIZES: Final = tuple(
    noted(one, _BUFFERS)
    for what in ("vrrp_netlink_cmd", "vrrp_netlink_monitor", "lvs_netlink_cmd",
                 "lvs_netlink_monitor", "process_monitor")
    for one in (
        k.value(f"{what}_rcv_bufs", "BYTES", "Size of a receive buffer.", _BYTES, default="0"),
        k.flag(f"{what}_rcv_bufs_force", "Beyond the limit of the system, too."),
    )
)  # fmt: skip

_RELOADS: Final = (
    noted(Keyword("reload_check_config", "[LOG]", "Judge a new file before it is loaded.", "K",
                  u.name), _RELOAD),
    noted(k.value("reload_time_file", "PATH", "File with the time of the next reload.",
                  w.file_path), _TIMED),
    noted(k.bare("reload_repeat", "Reload every day at that time."), _TIMED),
    noted(Keyword("reload_file", "[PATH]", "A file that is there while files are read.", "K",
                  u.name), "ask `lvskeeper status` for the generation that runs"),
    noted(k.value("config_save_dir", "FOLDER", "Where copies of files are kept.", w.file_path),
          _COPY),
    noted(k.value("tmp_config_directory", "FOLDER", "Where the joined copy of files is.",
                  w.file_path), _COPY),
)  # fmt: skip

_FILES: Final = (
    noted(k.flag("data_use_instance", "Names of dumps have that of the instance."), _DUMP),
    noted(k.value("json_version", "1|2", "Form of the JSON dump.", v.choice("1", "2"),
                  default="1"), _DUMP),
    noted(k.value("state_dump_file", "PATH", "File of the dump.", v.text), _DUMP),
    noted(k.value("stats_dump_file", "PATH", "File of counters.", v.text), _DUMP),
    noted(k.value("json_dump_file", "PATH", "File of the JSON dump.", v.text), _DUMP),
    noted(Keyword("umask", "MASK|BIT ...", "Mode of files that are written.", "K", u.umask,
                  least=2, most=99, default="0177"), "what is written has a fixed, narrow mode"),
    noted(k.value("iproute_usr_dir", "FOLDER", "Where iproute2's names are.", w.file_path),
          "routes and rules take the kernel's names, and numbers"),
    noted(k.value("iproute_etc_dir", "FOLDER", "Where iproute2's names are, too.", w.file_path),
          "routes and rules take the kernel's names, and numbers"),
)  # fmt: skip

_GLOBAL: Final = (
    *_NAMED,
    *_SCRIPTS,
    *_PRIORITIES,
    noted(k.bare("disable_local_igmp", "No reports of multicast groups on the local link."),
          "set it with sysctl: net.ipv4.igmp_link_local_mcast_reports = 0"),
    refuse(_several("lvs_timeouts", "[tcp N] [tcpfin N] [udp N]",
                    "Timeouts of IPVS connections.", u.timeouts),
           "write it as ExecStartPost= of the unit: ipvsadm --set TCP TCPFIN UDP"),
    *_FIREWALL,
    noted(k.bare("fifo_write_vrrp_states_on_reload", "Write all states to pipes after a reload."),
          "a reload changes no state; a reader that starts later asks the control socket"),
    *_SNMP,
    *(
        noted(one, _NO_DBUS)
        for one in (
            k.bare("enable_dbus", "Serve D-Bus."),
            k.value("dbus_service_name", "NAME", "Name on the bus.", v.text,
                    default="org.keepalived.Vrrp1"),
            k.value("dbus_no_interface_name", "NAME", "Name in place of no interface.", v.text,
                    default="none"),
        )
    ),
    *_BUFFER_SIZES,
    noted(_several("vrrp_rx_bufs_policy", "MTU|ADVERT|N", "Size of receive buffers of VRRP.",
                   u.buffer_policy), _BUFFERS),
    noted(k.value("vrrp_rx_bufs_multiplier", "N", "Their size, times this.", v.integer(1, 2**31),
                  default="3"), _BUFFERS),
    noted(k.value("vrrp_delay_after_boot", "SECONDS",
                  "Only listen until the machine is up for so long.", v.seconds(zero=True)),
          "vrrp_startup_delay does it, from the start of the daemon on"),
    noted(k.value("random_seed", "N", "Seed of random numbers.", _ANY), "nothing depends on it"),
    *_RELOADS,
    *_FILES,
    PROXY,
    noted(k.value("plugin_dir", "FOLDER", "Where plug-ins were.", w.file_path, origin="T"),
          "there are no plug-ins; keepalived itself had them in early versions only"),
)  # fmt: skip

_SCHEDULER_FLAG: Final = "its meaning is the scheduler's: write sh-fallback or mh-fallback"
_VIRTUAL: Final = (
    noted(k.bare("hashed", "A flag that the kernel has for itself."), "the kernel sets it"),
    refuse(k.bare("flag-1", "First flag of the scheduler."), _SCHEDULER_FLAG),
    refuse(k.bare("flag-2", "Second flag of the scheduler."),
           "its meaning is the scheduler's: write sh-port or mh-port"),
    noted(k.bare("flag-3", "Third flag of the scheduler."), "no scheduler has it"),
    noted(k.value("snmp_name", "NAME", "Name in the MIB.", v.text), _NO_SNMP),
    noted(k.value("nat_mask", "NETMASK", "Netmask of NAT in IPVS of Linux 2.2.", v.granularity,
                  origin="T"), "IPVS has had no such mask since Linux 2.4"),
    *_DPVS_VIRTUAL,
)  # fmt: skip

_NO_TRACKING: Final = f"{_NO_BFD}; track the link, or a script that asks the neighbour"


def _tracked_bfd() -> Keyword:
    return refuse(
        Keyword("track_bfd", "", "`NAME [weight N [reverse|noreverse]]` a line: BFD sessions.",
                "K", most=1, block=True, entries=w.track(w.MAX_WEIGHT)),
        _NO_TRACKING,
    )  # fmt: skip


_INSTANCE: Final = (
    _tracked_bfd(),
    refuse(k.value("vrf", "INTERFACE", "VRF of unicast without an interface.", w.device),
           "name the interface; it may be a member of the VRF"),
    noted(k.value("debug", "N", "Level of debug messages.", v.integer(0, 4)),
          "it does nothing in keepalived, too"),
    noted(_link("linkbeat_use_polling"), _LINKS),
    noted(k.value("kernel_rx_buf_size", "BYTES", "Size of the receive buffer.", _BYTES), _BUFFERS),
    noted(k.value("dpdk_interface", "PORT", "DPDK port that has the VIPs.", w.device, origin="D"),
          "there are no DPDK ports here: VIPs are put on `interface`"),
)  # fmt: skip

_GROUP: Final = (
    _tracked_bfd(),
    noted(k.bare("global_tracking", "Old keyword; tracking is the group's in any case."),
          "what a group tracks is tracked for all of its instances"),
)  # fmt: skip

_MILLISECONDS: Final = v.integer(1, 4_294_967, "ms")
_BFD: Final = tuple(
    noted(one, _NO_BFD)
    for one in (
        k.value("neighbor_ip", "ADDRESS", "The other end; required.", v.address),
        k.old(k.value("neighbor_ip", "ADDRESS", "", v.address), "neighbour_ip"),
        k.value("source_ip", "ADDRESS", "Our address.", v.address),
        k.value("min_rx", "MILLISECONDS", "Shortest interval that we can hear.", _MILLISECONDS,
                default="10"),
        k.value("min_tx", "MILLISECONDS", "Shortest interval that we can send at.",
                _MILLISECONDS, default="10"),
        k.value("idle_tx", "MILLISECONDS", "Interval while the session is down.",
                v.integer(1000, 4_294_967, "ms"), default="1000"),
        k.value("multiplier", "N", "Missed packets that end the session.", v.integer(1, 255),
                default="5"),
        k.bare("passive", "Wait for the other end to begin."),
        k.value("ttl", "N", "TTL of packets.", v.integer(1, 255), default="255; IPv6 64"),
        k.value("hoplimit", "N", "The same as `ttl`.", v.integer(1, 255)),
        k.value("max_hops", "N", "Routers that may lie between.", w.signed(-1, 255), default="0"),
        k.flag("multihop", "The other end is behind routers."),
        Keyword("weight", "N [reverse]", "What it adds to the priority, -253 to 253.", "K",
                w.weight(w.MAX_WEIGHT), least=2, most=3, default="0"),
        k.bare("vrrp", "Instances are told of it."),
        k.bare("checker", "Checks are told of it."),
    )
)  # fmt: skip

_NO_PORT: Final = "an echo request has no port"
_NO_TLS: Final = "an HTTP_GET has no TLS; SSL_GET has"
_OF_THE_CHECK: Final = "it is one for the whole check: write it beside `host`"

TABLES: Final[dict[str, tuple[Keyword, ...]]] = {
    "": _ROOT,
    "global_defs": _GLOBAL,
    "virtual_server": _VIRTUAL,
    "real_server": (
        noted(k.value("snmp_name", "NAME", "Name in the MIB.", v.text), _NO_SNMP),
    ),
    "vrrp_instance": _INSTANCE,
    "vrrp_sync_group": _GROUP,
    "bfd_instance": _BFD,
    "BFD_CHECK": (
        noted(k.value("name", "NAME", "The bfd_instance.", v.text), _NO_BFD),
        noted(k.flag("alpha", "Start as down."), _NO_BFD),
    ),
    "HTTP_GET": (
        noted(k.flag("enable_sni", "Name the server in the handshake."), _NO_TLS),
        noted(k.value("sni_name", "NAME", "That name.", v.header), _NO_TLS),
    ),
    "PING_CHECK": (
        noted(k.value("connect_port", "PORT", "Port to connect to.", v.integer(1, 65_535)),
              _NO_PORT),
        noted(k.value("bind_port", "PORT", "Local port.", v.integer(1, 65_535)), _NO_PORT),
    ),
    "url": (
        noted(k.bare("regex_stack", "A stack of its own for the regex."),
              "a regex has all the memory that its bounds let it have"),
        noted(k.flag("tls_compliant", "As in SSL_GET, for this url."),
              "it is one for all urls: write it beside `url`"),
    ),
    "host": (
        noted(k.value("retry", "N", "As in the check.", v.integer(0, 1000)), _OF_THE_CHECK),
        noted(k.value("delay_before_retry", "SECONDS", "As in the check.", v.seconds(zero=True)),
              _OF_THE_CHECK),
        noted(k.value("warmup", "SECONDS", "As in the check.", v.seconds(zero=True)),
              _OF_THE_CHECK),
        noted(k.value("delay_loop", "SECONDS", "As in the check.", v.seconds()), _OF_THE_CHECK),
        noted(k.flag("alpha", "As in the check."), _OF_THE_CHECK),
        noted(k.flag("log_all_failures", "As in the check."), _OF_THE_CHECK),
    ),
    **_DPVS_TABLES,
}  # fmt: skip
"""By block; blocks that are passed over have their keywords here, too."""

BLOCKS: Final = ("bfd_instance", "BFD_CHECK", *_DPVS_TABLES)
"""Blocks of which nothing is served."""
