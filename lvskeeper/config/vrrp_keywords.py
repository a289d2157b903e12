"""Keywords of the VRRP half: part of the table in :mod:`lvskeeper.config.keywords`."""

from typing import Final

from lvskeeper.config import keyword as k
from lvskeeper.config import values as v
from lvskeeper.config import vrrp_options as o
from lvskeeper.config import vrrp_values as w
from lvskeeper.config.keyword import Keyword

_BURST: Final = v.integer(1, 2**31 - 1)
_BURST_OR_NONE: Final = v.integer(0, 2**31 - 1)
_TRACKED: Final = "`NAME [weight N [reverse|noreverse]]` a line"


def _entries(name: str, doc: str, read: v.Reader, *, key: str = "") -> Keyword:
    return Keyword(name, "", doc, "K", most=1, block=True, entries=read, key=key)


def _alias(name: str, args: str, of: str, read: v.Reader, key: str) -> Keyword:
    return Keyword(
        name, args, f"Old name of `{of}`.", "K", read, least=2, most=3, key=key, instead=of
    )


ROOT_BLOCKS: Final = (
    k.block("vrrp_instance", "NAME", "A virtual router.", read=v.text, least=2, most=2,
            key="instances"),
    k.block("vrrp_sync_group", "NAME", "Instances that are master together or not at all.",
            read=v.text, least=2, most=2, key="groups"),
    k.block("vrrp_script", "NAME", "A command whose exit status is tracked; 0 is well.",
            read=v.text, least=2, most=2, key="scripts"),
    k.block("vrrp_track_process", "NAME", "How many processes of a name run, tracked.",
            read=v.text, least=2, most=2, key="processes"),
    k.block("track_file", "NAME", "The number in a file, tracked; times its weight.",
            read=v.text, least=2, most=2, key="files"),
    k.old(k.block("track_file", "NAME", "", read=v.text, least=2, most=2, key="files"),
          "vrrp_track_file"),
    k.block("track_group", "NAME",
            "Instances that static items with `track_group NAME` name. Here such items are put "
            "back when somebody removes them, and no instance moves for it.",
            read=v.text, least=2, most=2, key="track_groups"),
    k.block("garp_group", "", "Spacing of announcements on interfaces, which may share it.",
            key="garp_groups"),
    _entries("static_ipaddress", "Addresses that are always there; as in `virtual_ipaddress`.",
             w.address_entry),
    _entries("static_routes", "Routes that are always there; as in `virtual_routes`.",
             w.route_entry),
    _entries("static_rules", "Rules that are always there; as in `virtual_rules`.", w.rule_entry),
    _entries("interface_up_down_delays",
             "`INTERFACE DOWN [UP]` a line, in seconds: how long a link has to be up before it "
             "counts; UP is DOWN where it is left out. A link that is down counts at once.",
             w.link_delay, key="link_delays"),
)  # fmt: skip

_GLOBAL_ANNOUNCE: Final = (
    k.value("vrrp_garp_master_delay", "SECONDS",
            "Time from the first burst of announcements to the second; 0 for none.",
            w.whole_seconds(86_400), default="5"),
    k.value("vrrp_garp_master_repeat", "N", "Announcements of each address in a burst.", _BURST,
            default="5"),
    k.value("vrrp_garp_master_refresh", "SECONDS", "Period of a master's announcements.",
            w.whole_seconds(86_400), default="0: none"),
    k.value("vrrp_garp_master_refresh_repeat", "N", "Announcements of each address then.",
            _BURST, default="1"),
    k.value("vrrp_garp_lower_prio_delay", "SECONDS",
            "The same delay after another router claimed the addresses.",
            w.whole_seconds(86_400), default="vrrp_garp_master_delay"),
    k.value("vrrp_garp_lower_prio_repeat", "N", "The same repeat then.", _BURST_OR_NONE,
            default="vrrp_garp_master_repeat"),
    k.value("vrrp_garp_interval", "SECONDS",
            "Least time between two gratuitous ARPs of an interface.", w.interval, default="0"),
    k.value("vrrp_gna_interval", "SECONDS",
            "Least time between two unsolicited neighbour advertisements of an interface.",
            w.interval, default="0"),
    k.flag("vrrp_min_garp", "One announcement of each address, and no repetition."),
    Keyword("vrrp_garp_extra_if", "[all] SECONDS",
            "Period of announcements on the other interfaces of VMACs; 0 for none.", "K",
            w.extra_interfaces, least=2, most=3, default="0"),
    _alias("vrrp_vmac_garp_intvl", "[all] SECONDS", "vrrp_garp_extra_if", w.extra_interfaces,
           "vrrp_garp_extra_if"),
)  # fmt: skip

_GLOBAL_VRRP: Final = (
    k.value("vrrp_version", "2|3", "Version for IPv4; IPv6 has 3 only.", w.version, default="2"),
    k.value("vrrp_mcast_group4", "ADDRESS", "Multicast group of IPv4.", w.group4,
            default="224.0.0.18"),
    k.value("vrrp_mcast_group6", "ADDRESS", "Multicast group of IPv6.", w.group6,
            default="ff02::12"),
    k.value("vrrp_down_timer_adverts", "N", "Adverts that must be missing before a takeover.",
            v.integer(1, 100), default="3"),
    k.flag("vrrp_lower_prio_no_advert", "A master does not answer a lower priority."),
    k.flag("vrrp_higher_prio_send_advert", "A master that yields sends one more advert."),
    k.flag("vrrp_owner_ignore_adverts", "With priority 255 pay no heed to others."),
    k.bare("vrrp_check_unicast_src", "Take unicast from configured peers only."),
    k.flag("vrrp_skip_check_adv_addr", "Compare addresses in adverts only of a new master."),
    k.flag("vrrp_strict", "Keep to the letter of the RFC."),
    k.bare("v3_checksum_as_v2", "Version 3 over IPv4: checksum without pseudo header."),
    k.value("vrrp_startup_delay", "SECONDS", "Listen only for so long after the start.",
            v.seconds(zero=True), default="0"),
    k.bare("log_unknown_vrids", "Tell of adverts for virtual routers that are not ours."),
    Keyword("dynamic_interfaces", "[allow_if_changes]",
            "Interfaces may be missing at the start, and come and go; lvskeeper lets them in any "
            "case.", "K", w.dynamic, default="no"),
    k.value("default_interface", "INTERFACE", "Where static addresses are that name none.",
            w.device, default="eth0"),
    k.value("vmac_prefix", "NAME", "Start of the names of VMACs.", w.name_prefix, default="vrrp"),
    k.value("vmac_addr_prefix", "NAME", "The same for `use_vmac_addr`.", w.name_prefix,
            default="vmac_prefix"),
    k.value("vrrp_fence", "SECONDS",
            "VIPs are in the kernel for this long and refreshed meanwhile, so that the kernel "
            "removes them when the daemon dies.",
            w.seconds(1, 86_400), default="off", origin="L"),
    k.value("vrrp_director_timeout", "SECONDS",
            "Silence of the director role after which all instances are in FAULT; 0 for never. "
            "Without a virtual server there is no director.",
            v.seconds(zero=True), default="20", origin="L"),
    Keyword("lvs_sync_daemon",
            "INTERFACE [INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]",
            "Synchronise IPVS connections; with an instance it sends while that is master and "
            "receives otherwise. The id is that instance's VRID where none is given.",
            "K", o.sync_daemon, least=2, most=15, default="off"),
)  # fmt: skip

_GLOBAL_PROCESS: Final = (
    k.value("vrrp_priority", "N", "Nice value of the router role.", w.signed(-20, 19),
            default="0"),
    k.bare("vrrp_no_swap", "Lock the memory of the router role."),
    k.value("vrrp_rt_priority", "N", "Real-time priority of the router role (SCHED_RR).",
            v.integer(1, 99), default="off"),
    Keyword("vrrp_cpu_affinity", "CPU ...", "Processors of the router role.", "K", w.cpus,
            least=2, most=99, default="all"),
    k.value("vrrp_rlimit_rttime", "MICROSECONDS", "Limit of a real-time turn.",
            v.integer(1, 2**31 - 1, "us"), default="none; in keepalived 10000"),
    k.old(k.value("vrrp_rlimit_rttime", "MICROSECONDS", "", v.integer(1, 2**31 - 1, "us")),
          "vrrp_rlimit_rtime"),
    k.flag("use_symlink_paths", "Take symbolic links on the way to a script. It changes nothing: "
           "they are followed, and each is looked at.", default="yes; in keepalived no"),
    k.flag("set_supplementary_groups", "Give scripts the supplementary groups of their user. It "
           "changes nothing: they have them.", default="yes; in keepalived no"),
    k.bare("enable_script_security", "Root runs no script that somebody else could write."),
)  # fmt: skip

_FIFO: Final = "A named pipe that gets a line for each transition."
_GLOBAL_TELL: Final = (
    Keyword("notify_fifo", "PATH [USER [GROUP]]", _FIFO, "K", w.fifo, least=2, most=4),
    Keyword("vrrp_notify_fifo", "PATH [USER [GROUP]]", _FIFO, "K", w.fifo, least=2, most=4),
    Keyword("lvs_notify_fifo", "PATH [USER [GROUP]]",
            "A named pipe that gets a line for each transition of real and virtual servers.", "K",
            w.fifo, least=2, most=4),
    k.command("notify_fifo_script", "Started with the path of `notify_fifo` as last argument."),
    k.command("vrrp_notify_fifo_script", "The same for `vrrp_notify_fifo`."),
    k.command("lvs_notify_fifo_script", "The same for `lvs_notify_fifo`."),
    k.flag("rs_init_notifies", "Run `notify_up` of real servers, and write their lines, also where "
           "they are up from the start."),
    k.flag("vrrp_notify_priority_changes", "Lines also for changes of the effective priority."),
    Keyword("notification_email", "", "Who gets mail; an address a line.", "K", most=1,
            block=True, entries=w.mail_addresses),
    k.text("notification_email_from", "ADDRESS", "Sender of mail.", w.mail_address,
           default="lvskeeper@HOST"),
    Keyword("smtp_server", "HOST [PORT]", "Who takes the mail.", "K", w.mail_server, least=2,
            most=3, default="none: no mail; port 25"),
    k.value("smtp_helo_name", "NAME", "Our name in the SMTP greeting.", v.header,
            default="host name"),
    k.value("smtp_connect_timeout", "SECONDS", "Limit of a mail.", v.seconds(), default="30"),
    k.flag("smtp_alert", "Mail of all transitions.",
           default="no; of real servers yes"),
    k.flag("smtp_alert_vrrp", "Mail of VRRP transitions.", default="smtp_alert"),
    k.flag("smtp_alert_checker", "Mail of transitions of real and virtual servers.",
           default="smtp_alert"),
    k.flag("no_checker_emails", "No mail of a check that does not change its real server. It "
           "changes nothing: a mail is of a real server or a virtual server always.",
           default="yes; in keepalived no"),
    k.flag("checker_log_all_failures", "Tell every failure of a server that is up. It changes "
           "nothing: all are told.", default="yes; in keepalived no"),
    k.bare("no_email_faults", "No mail of transitions to FAULT."),
)  # fmt: skip

GLOBALS: Final = (*_GLOBAL_VRRP, *_GLOBAL_ANNOUNCE, *_GLOBAL_TELL, *_GLOBAL_PROCESS)
GLOBAL_KEYS: Final = frozenset(one.key for one in GLOBALS)

_TRACKS: Final = (
    _entries("track_interface",
             "Interfaces whose links are tracked; `INTERFACE [weight N [reverse]]` a line. "
             "Without a weight a failure is FAULT.",
             w.track(w.MAX_WEIGHT, link=True)),
    _entries("track_script", f"Scripts; {_TRACKED}.", w.track(w.MAX_WEIGHT)),
    _entries("track_file", f"Files; {_TRACKED}.", w.track(w.MAX_FILE_WEIGHT)),
    _entries("track_process", f"Processes; {_TRACKED}.", w.track(w.MAX_FILE_WEIGHT)),
)  # fmt: skip

_NOTIFIES: Final = (
    k.command("notify_master", "Run on becoming master."),
    k.command("notify_backup", "Run on becoming backup."),
    k.command("notify_fault", "Run on a fault."),
    k.command("notify_stop", "Run at the stop."),
    k.command("notify", "Run on every transition, with `INSTANCE|GROUP NAME STATE PRIORITY` "
              "as further arguments."),
    k.flag("smtp_alert", "Mail of transitions.", default="smtp_alert_vrrp"),
    k.flag("notify_priority_changes", "Pipe lines for changes of the effective priority.",
           default="vrrp_notify_priority_changes"),
)  # fmt: skip

_ANNOUNCE: Final = (
    k.value("garp_master_delay", "SECONDS", "As `vrrp_garp_master_delay`, here.",
            w.whole_seconds(86_400), default="the global one"),
    k.value("garp_master_repeat", "N", "As `vrrp_garp_master_repeat`, here.", _BURST,
            default="the global one"),
    k.value("garp_master_refresh", "SECONDS", "As `vrrp_garp_master_refresh`, here.",
            w.whole_seconds(86_400), default="the global one"),
    k.value("garp_master_refresh_repeat", "N", "As `vrrp_garp_master_refresh_repeat`, here.",
            _BURST, default="the global one"),
    k.value("garp_lower_prio_delay", "SECONDS", "As `vrrp_garp_lower_prio_delay`, here.",
            w.whole_seconds(86_400), default="the global one"),
    k.value("garp_lower_prio_repeat", "N", "As `vrrp_garp_lower_prio_repeat`, here.",
            _BURST_OR_NONE, default="the global one"),
    Keyword("garp_extra_if", "[all] SECONDS", "As `vrrp_garp_extra_if`, here.", "K",
            w.extra_interfaces, least=2, most=3, default="the global one"),
    _alias("vmac_garp_intvl", "[all] SECONDS", "garp_extra_if", w.extra_interfaces,
           "garp_extra_if"),
)  # fmt: skip

_ELECTION: Final = (
    k.value("state", "MASTER|BACKUP", "How soon it may take over after the start.",
            v.choice("MASTER", "BACKUP"), default="BACKUP; MASTER with priority 255"),
    k.value("virtual_router_id", "N", "Number on the wire, 1 to 255; required.",
            v.integer(1, 255)),
    k.value("priority", "N", "1 to 255; 255 owns the addresses.", v.integer(1, 255),
            default="100; 255 with state MASTER"),
    k.value("advert_int", "SECONDS",
            "Time between adverts: whole in version 2, up to 40.95 in steps of 0.01 in version 3.",
            w.seconds(0.01, 255), default="1"),
    k.value("version", "2|3", "Version of VRRP.", w.version, default="vrrp_version; IPv6 3"),
    Keyword("native_ipv6", "[BOOL]", "It is of IPv6, as its addresses tell.", "K", v.flag,
            default="no", bare=True),
    k.bare("nopreempt", "Leave a master of lower priority alone."),
    Keyword("preempt", "[BOOL]", "The opposite of `nopreempt`.", "K", w.off, default="yes",
            key="nopreempt"),
    k.value("preempt_delay", "SECONDS",
            "How long a master of lower priority is let be (with `state BACKUP`).",
            v.seconds(zero=True, high=1000), default="0"),
    k.value("down_timer_adverts", "N", "As `vrrp_down_timer_adverts`, here.",
            v.integer(1, 100), default="the global one"),
    k.flag("lower_prio_no_advert", "As `vrrp_lower_prio_no_advert`, here.",
           default="the global one"),
    k.flag("higher_prio_send_advert", "As `vrrp_higher_prio_send_advert`, here.",
           default="the global one"),
    k.flag("owner_ignore_adverts", "As `vrrp_owner_ignore_adverts`, here.",
           default="the global one"),
    Keyword("timer_expired_backup", "[PRIORITY]",
            "A master that stood still for too long becomes backup; PRIORITY is that of the most "
            "eager other router, 254 where none is given.",
            "K", w.timer_expired, default="off"),
    Keyword("thread_timer_expired", "[PRIORITY]", "Old name of `timer_expired_backup`.", "K",
            w.timer_expired, key="timer_expired_backup", instead="timer_expired_backup"),
    k.flag("strict_mode", "As `vrrp_strict`, here.", default="the global one"),
    Keyword("accept", "[BOOL]", "A master answers at its addresses.", "K", v.flag,
            default="yes; with vrrp_strict only for priority 255"),
    Keyword("no_accept", "[BOOL]", "The opposite of `accept`.", "K", w.off, key="accept"),
)  # fmt: skip

_NETWORK: Final = (
    k.value("interface", "INTERFACE",
            "Where it is; may be left out for unicast with a source address.", w.device),
    _entries("unicast_peer",
             "The other routers, in place of multicast; `ADDRESS [min_ttl N] [max_ttl N]` a line.",
             w.peer),
    k.value("unicast_src_ip", "ADDRESS", "Source of adverts.", w.source,
            default="the first address of the interface"),
    k.value("mcast_src_ip", "ADDRESS", "The same, for multicast.", w.source),
    k.value("mcast_dst_ip", "ADDRESS", "Multicast group.", w.multicast,
            default="vrrp_mcast_group4, vrrp_mcast_group6"),
    k.bare("unicast_fault_no_peer", "FAULT rather than multicast where there is no peer."),
    k.bare("check_unicast_src", "Take unicast from configured peers only."),
    k.value("unicast_ttl", "N", "TTL of unicast.", v.integer(1, 255), default="255"),
    Keyword("old_unicast_checksum", "[never]",
            "Send the unicast checksum of keepalived before 1.3.7; `never` accepts none either.",
            "K", w.old_checksum, default="accept, not send"),
    k.flag("skip_check_adv_addr", "As `vrrp_skip_check_adv_addr`, here.",
           default="the global one"),
    k.flag("v3_checksum_as_v2", "As in `global_defs`, here.", default="the global one"),
    k.bare("track_src_ip",
           "FAULT while the configured source address is missing; lvskeeper does so in any case."),
    k.bare("dont_track_primary", "Its own interface may be down."),
    Keyword("use_vmac", "[[name] DEVICE] [MAC]", "A macvlan with the virtual MAC.", "K", o.vmac,
            most=6, default="off; named vrrp.VRID"),
    k.bare("vmac_xmit_base", "Adverts leave on the interface below; always so with unicast."),
    k.bare("use_vmac_addr", "VMACs also for addresses on other interfaces."),
    Keyword("use_ipvlan", "[bridge|private|vepa] [[name] DEVICE] [ADDRESS[/LENGTH]]",
            "An ipvlan of its own.", "K", o.ipvlan, most=6, default="off"),
    k.value("lvs_sync_daemon_interface", "INTERFACE",
            "Old form of `lvs_sync_daemon` with this instance.", w.device),
)  # fmt: skip

_HOLDINGS: Final = (
    _entries("virtual_ipaddress",
             "The VIPs; `ADDRESS[/LENGTH] [dev INTERFACE] [scope S] [brd A|+|-] [label L] "
             "[peer A[/L]] [preferred_lft N|forever] [no_track] ...` a line.",
             w.address_entry),
    _entries("virtual_ipaddress_excluded", "VIPs that are not in adverts; of any family.",
             w.address_entry),
    k.bare("no_virtual_ipaddress", "There is none, on purpose."),
    k.bare("promote_secondaries", "A secondary address of the interface survives its primary."),
    _entries("virtual_routes", "Routes that the master has, as `ip route` takes them.",
             w.route_entry),
    _entries("virtual_rules", "Rules that the master has, as `ip rule` takes them.",
             w.rule_entry),
)  # fmt: skip

_INSTANCE: Final = (
    *_NETWORK[:1],
    *_ELECTION,
    *_HOLDINGS,
    *_NETWORK[1:],
    k.block("authentication", "", "Of version 2."),
    k.block("auth_hmac", "", "Signed adverts, of both versions (keepalived 2.4)."),
    *_TRACKS,
    *_ANNOUNCE,
    *_NOTIFIES,
    k.command("notify_deleted", "Run in place of `notify_fault` when a reload removes it."),
    k.command("notify_master_rx_lower_pri", "Run when a master hears a lower priority."),
)

_GROUP: Final = (
    _entries("group", "The instances, one or more names a line.", w.names),
    *_TRACKS,
    k.bare("sync_group_tracking_weight", "Let weights count inside the group."),
    *_NOTIFIES,
)

_SCRIPT: Final = (
    Keyword("script", '"CMD ARGS"', "What to run, without a shell; required.", "K", w.script,
            least=2, most=99, whole=True),
    k.value("interval", "SECONDS", "Time between runs.", w.seconds(0.001, 86_400), default="1"),
    k.value("timeout", "SECONDS", "Limit of a run.", v.seconds(), default="interval"),
    Keyword("weight", "N [reverse]", "What it adds to the priority, -253 to 253.", "K",
            w.weight(w.MAX_WEIGHT), least=2, most=3, default="0: a failure is FAULT"),
    k.value("rise", "N", "Successes in a row to be well.", v.integer(1, 2**31 - 1), default="1"),
    k.value("fall", "N", "Failures in a row to have failed.", v.integer(1, 2**31 - 1),
            default="1"),
    Keyword("user", "USER [GROUP]", "Who runs it.", "K", v.user, least=2, most=3,
            default="script_user"),
    k.bare("init_fail", "Counts as failed before the first result."),
)  # fmt: skip

_PROCESS: Final = (
    Keyword("process", "PATH [ARGUMENT ...]", "Which processes; required.", "K", w.process,
            least=2, most=99),
    Keyword("param_match", "[initial|partial]",
            "Compare arguments: exactly; with `partial` more may follow, with `initial` the last "
            "one may also go on.", "K",
            w.argument_match, default="any, where none are given"),
    Keyword("weight", "N [reverse]", "What it adds to the priority, -254 to 254.", "K",
            w.weight(w.MAX_FILE_WEIGHT), least=2, most=3, default="0: a failure is FAULT"),
    k.value("quorum", "N", "Processes that must run.", v.integer(1, 65_535), default="1"),
    k.value("quorum_max", "N", "More than this fail, too.", v.integer(0, 65_535),
            default="0: no bound"),
    k.value("delay", "SECONDS", "Both delays.", v.seconds(zero=True, high=3600), default="0"),
    k.value("terminate_delay", "SECONDS", "How long too few have to last.",
            v.seconds(zero=True, high=3600), default="delay"),
    k.value("fork_delay", "SECONDS", "How long enough have to last.",
            v.seconds(zero=True, high=3600), default="delay"),
    k.bare("full_command", "Compare the whole path, not the kernel's short name."),
)  # fmt: skip

_FILE: Final = (
    k.text("file", "PATH", "The file; required.", w.file_path),
    Keyword("weight", "N [reverse]", "Times the number in the file, -254 to 254.", "K",
            w.weight(w.MAX_FILE_WEIGHT), least=2, most=3, default="1"),
    Keyword("init_file", "[N] [overwrite]", "Make the file with this number at the start.", "K",
            w.init_file, most=3, default="off; 0"),
)  # fmt: skip

_GARP_GROUP: Final = (
    k.value("garp_interval", "SECONDS", "As `vrrp_garp_interval`.", w.interval, default="0"),
    k.value("gna_interval", "SECONDS", "As `vrrp_gna_interval`.", w.interval, default="0"),
    k.value("interface", "INTERFACE", "One interface.", w.device),
    _entries("interfaces", "Interfaces that share the spacing.", w.devices),
)  # fmt: skip

_AUTHENTICATION: Final = (
    k.value("auth_type", "PASS|AH", "Password, or IP authentication header.",
            v.choice("PASS", "AH")),
    k.value("auth_pass", "PASSWORD", "Up to 8 bytes.", w.password),
)  # fmt: skip

_HMAC: Final = (
    Keyword("key", "ID VALUE|hex:DIGITS|file:PATH",
            "A key of 32 to 64 bytes with its number; all keys are accepted. A file counts from "
            "the folder of the configuration.",
            "K", o.hmac_key, least=3, most=3, key="keys", many=True),
    k.value("active_key", "ID", "The key that signs.", v.integer(1, 255),
            default="the one key"),
    k.value("time_window", "SECONDS", "How far clocks may differ.", w.seconds(1, 300),
            default="3 times advert_int, 5 to 300"),
    k.value("anti_replay", "time|monotonic", "What keeps old packets out.",
            v.choice("time", "monotonic"), default="time"),
    k.value("mode", "enforce|permissive|receive-only",
            "Whether adverts without it count, and whether ours have it.",
            v.choice("enforce", "permissive", "receive-only"), default="enforce"),
)  # fmt: skip

TABLES: Final = (
    ("vrrp_instance", _INSTANCE),
    ("authentication", _AUTHENTICATION),
    ("auth_hmac", _HMAC),
    ("vrrp_sync_group", _GROUP),
    ("vrrp_script", _SCRIPT),
    ("vrrp_track_process", _PROCESS),
    ("track_file", _FILE),
    ("vrrp_track_file", _FILE),
    ("track_group", (_entries("group", "The instances, one or more names a line.", w.names),)),
    ("garp_group", _GARP_GROUP),
)
"""Keywords of the blocks, by name."""

NAMED: Final = frozenset(one.name for one in ROOT_BLOCKS if one.read is not None)
"""Blocks with a name on their own line."""

ROOT_NAMES: Final = frozenset(one.name for one in ROOT_BLOCKS)
