"""Every served keyword of the VRRP half, with a value that it takes and values that it refuses."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memfiles import MemoryFiles

from lvskeeper.config import vrrp_model as m
from lvskeeper.config.base import Command, ScriptUser
from lvskeeper.config.codes import Code
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.vrrp_keywords import GLOBALS, TABLES
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.units import parse_address as addr

INSTANCE = "vrrp_instance VI {\ninterface eth0\nvirtual_router_id 1\n%s\n}\n"
KEY = "k" * 40
FRAMES: dict[str, tuple[str, Callable[[m.VrrpConfig], object]]] = {
    "global_defs": (
        "global_defs {\n%s\n}\n" + INSTANCE.replace("%s", ""),
        lambda vrrp: vrrp.globals,
    ),
    "vrrp_instance": (INSTANCE, lambda vrrp: vrrp.instances[0]),
    "authentication": (
        INSTANCE % "authentication {\n%s\n}",
        lambda vrrp: vrrp.instances[0].authentication,
    ),
    "auth_hmac": (
        INSTANCE % f"auth_hmac {{\nkey 9 {KEY}\nactive_key 9\n%s\n}}",
        lambda vrrp: vrrp.instances[0].auth_hmac,
    ),
    "vrrp_sync_group": (
        INSTANCE.replace("%s", "") + "vrrp_sync_group G {\ngroup { VI }\n%s\n}\n",
        lambda vrrp: vrrp.groups[0],
    ),
    "vrrp_script": (
        "vrrp_script S {\nscript /bin/true\n%s\n}\n",
        lambda vrrp: vrrp.scripts[0],
    ),
    "vrrp_track_process": (
        "vrrp_track_process P {\nprocess /bin/true\n%s\n}\n",
        lambda vrrp: vrrp.processes[0],
    ),
    "track_file": ("track_file F {\nfile /x\n%s\n}\n", lambda vrrp: vrrp.files[0]),
    "vrrp_track_file": ("vrrp_track_file F {\nfile /x\n%s\n}\n", lambda vrrp: vrrp.files[0]),
    "garp_group": ("garp_group {\ninterface eth0\n%s\n}\n", lambda vrrp: vrrp.garp_groups[0]),
}

BAD_TIME = ("", "2s", "-1", "1e3", "1.0000001", "99999")
BAD_WHOLE = ("", "2s", "-1", "1.5", "99999")
BAD_COUNT = ("", "x", "0", "-1", "1.5", "99999999999")
BAD_FLAG = ("maybe", "1", "No")
BAD_SCRIPT = ("", '""', "/bin/x -v", '"/bin/x \'a"', '"> /tmp/x"')
BAD_NAME = ("", "a/b", "a:b", "sixteen-letters-x", "$IF")
BAD_GROUP = ("", "192.0.2.1", "host", "2001:db8::1")
SCRIPT = ("\"/bin/x 'a b' c\" nobody daemon",
          Command(argv=("/bin/x", "a b", "c"), user="nobody", group="daemon"))  # fmt: skip
VMAC = m.Vmac(name="v0", mac=bytes.fromhex("02000000000a"))
SYNC = m.SyncDaemon(interface="eth0", inst="VI", id=7, maxlen=1400, port=8848, ttl=2,
                    group=addr("224.0.0.81"))  # fmt: skip

Row = tuple[str, str, object, tuple[str, ...]]


def flags(names: str) -> list[Row]:
    return [(name, "", True, BAD_FLAG) for name in names.split()]


def announce(prefix: str) -> list[Row]:
    return [
        (f"{prefix}garp_master_delay", "0", 0.0, BAD_WHOLE),
        (f"{prefix}garp_master_repeat", "1", 1, BAD_COUNT),
        (f"{prefix}garp_master_refresh", "60", 60.0, BAD_WHOLE),
        (f"{prefix}garp_master_refresh_repeat", "2", 2, BAD_COUNT),
        (f"{prefix}garp_lower_prio_delay", "3", 3.0, BAD_WHOLE),
        (f"{prefix}garp_lower_prio_repeat", "0", 0, ("", "x", "-1")),
        (f"{prefix}garp_extra_if", "all 60", 60.0, ("", "all", "x", "86401")),
    ]


NOTIFIES: list[Row] = [
    *((name, *SCRIPT, BAD_SCRIPT)
      for name in ("notify_master", "notify_backup", "notify_fault", "notify_stop", "notify")),
    ("smtp_alert", "no", False, BAD_FLAG),
    ("notify_priority_changes", "yes", True, BAD_FLAG),
]  # fmt: skip
TRACK_FILE: list[Row] = [
    ("file", "/run/a", "/run/a", ("", "a", "$X")),
    ("weight", "-254", m.Weight(weight=-254), ("", "255", "x", "1 noreverse")),
    ("init_file", "-5 overwrite", m.InitFile(value=-5, overwrite=True), ("x", "1.5")),
]
TABLE: dict[str, list[Row]] = {
    "global_defs": [
        *announce("vrrp_"),
        ("vrrp_vmac_garp_intvl", "60", 60.0, ("", "all", "x")),
        ("vrrp_garp_interval", "0", 0.0, BAD_TIME),
        ("vrrp_gna_interval", "0.001", 0.001, BAD_TIME),
        ("vrrp_version", "3", 3, ("", "1", "4", "x")),
        ("vrrp_mcast_group4", "224.0.0.20", addr("224.0.0.20"), (*BAD_GROUP, "ff02::12")),
        ("vrrp_mcast_group6", "ff02::14", addr("ff02::14"), (*BAD_GROUP, "224.0.0.18")),
        ("vrrp_down_timer_adverts", "100", 100, (*BAD_COUNT, "101")),
        ("vrrp_startup_delay", "0.5", 0.5, BAD_TIME),
        ("dynamic_interfaces", "allow_if_changes", True, BAD_FLAG),
        ("default_interface", "eth1", "eth1", BAD_NAME),
        ("vmac_prefix", "v", "v", ("", "a/b", "ninechars", "$P")),
        ("vmac_addr_prefix", "va", "va", ("", "a/b", "ninechars")),
        ("vrrp_fence", "1", 1.0, (*BAD_TIME, "0", "0.99")),
        ("vrrp_director_timeout", "0", 0.0, BAD_TIME),
        (
            "lvs_sync_daemon",
            "eth0 VI id 7 maxlen 1400 port 8848 ttl 2 group 224.0.0.81",
            SYNC,
            ("", "a/b", "eth0 id", "eth0 id 256", "eth0 VI x 1", "eth0 group 192.0.2.1"),
        ),
        ("vrrp_priority", "-20", -20, ("", "-21", "20", "x")),
        ("vrrp_rt_priority", "99", 99, ("", "0", "100")),
        ("vrrp_cpu_affinity", "0 3", (0, 3), ("", "x", "-1", "1024")),
        ("vrrp_rlimit_rttime", "5000", 5000, BAD_COUNT),
        ("vrrp_rlimit_rtime", "5000", 5000, BAD_COUNT),
        ("notify_fifo", "/run/f a b", m.Fifo(path="/run/f", user="a", group="b"), ("", "f")),
        ("vrrp_notify_fifo", "/run/f", m.Fifo(path="/run/f"), ("", "f", "/run/f /x")),
        ("notify_fifo_script", *SCRIPT, BAD_SCRIPT),
        ("vrrp_notify_fifo_script", *SCRIPT, BAD_SCRIPT),
        ("lvs_notify_fifo", "/run/f a", m.Fifo(path="/run/f", user="a"), ("", "f")),
        ("lvs_notify_fifo_script", *SCRIPT, BAD_SCRIPT),
        ("notification_email_from", "a@b.example", "a@b.example", ("", '""', "$X")),
        ("smtp_server", "192.0.2.1 587", m.MailServer(host="192.0.2.1", port=587),
         ("", "é", "a 65536")),
        ("smtp_helo_name", "a.example", "a.example", ("", "é")),
        ("smtp_connect_timeout", "10", 10.0, (*BAD_TIME, "0")),
        *flags(
            "vrrp_min_garp vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert "
            "vrrp_owner_ignore_adverts vrrp_check_unicast_src vrrp_skip_check_adv_addr "
            "v3_checksum_as_v2 log_unknown_vrids vrrp_no_swap enable_script_security "
            "vrrp_notify_priority_changes smtp_alert smtp_alert_vrrp no_email_faults "
            "smtp_alert_checker no_checker_emails checker_log_all_failures rs_init_notifies "
            "use_symlink_paths set_supplementary_groups"
        ),
        ("vrrp_strict", "no", False, BAD_FLAG),
    ],
    "vrrp_instance": [
        ("interface", "eth1", "eth1", BAD_NAME),
        ("state", "MASTER", "MASTER", ("", "master", "FAULT")),
        ("virtual_router_id", "255", 255, (*BAD_COUNT, "256")),
        ("priority", "255", 255, (*BAD_COUNT, "256")),
        ("advert_int", "2", 2.0, (*BAD_TIME, "0", "256")),
        ("version", "2", 2, ("", "1", "4", "x")),
        ("preempt", "", False, BAD_FLAG),
        ("preempt_delay", "0.5", 0.5, (*BAD_TIME, "1001")),
        ("down_timer_adverts", "1", 1, (*BAD_COUNT, "101")),
        ("timer_expired_backup", "", 254, ("0", "255", "x")),
        ("thread_timer_expired", "200", 200, ("0", "255", "x")),
        ("no_accept", "", False, BAD_FLAG),
        ("unicast_src_ip", "192.0.2.1/24", addr("192.0.2.1"), ("", "host", "192.0.2.1/x")),
        ("mcast_src_ip", "192.0.2.1", addr("192.0.2.1"), ("", "host")),
        ("mcast_dst_ip", "224.0.0.20", addr("224.0.0.20"), BAD_GROUP),
        ("unicast_ttl", "1", 1, (*BAD_COUNT, "256")),
        ("old_unicast_checksum", "never", "never", ("always",)),
        ("use_vmac", "v0 2:0:0:0:0:a netlink_notify_msg", VMAC,
         ("name", "v0 v1", "a/b", "v0 group 3", "name $V")),
        ("use_ipvlan", "private name v0 192.0.2.9/24",
         m.Ipvlan(mode="private", name="v0", address=addr("192.0.2.9"), prefix=24),
         ("v0 v1", "192.0.2.9/33", "1:2", "group 3")),
        ("lvs_sync_daemon_interface", "eth1", "eth1", BAD_NAME),
        *announce(""),
        ("vmac_garp_intvl", "60", 60.0, ("", "all", "x")),
        *NOTIFIES,
        ("notify_deleted", *SCRIPT, BAD_SCRIPT),
        ("notify_master_rx_lower_pri", *SCRIPT, BAD_SCRIPT),
        *flags(
            "native_ipv6 nopreempt lower_prio_no_advert higher_prio_send_advert "
            "owner_ignore_adverts accept no_virtual_ipaddress promote_secondaries "
            "unicast_fault_no_peer check_unicast_src skip_check_adv_addr v3_checksum_as_v2 "
            "track_src_ip dont_track_primary vmac_xmit_base use_vmac_addr"
        ),
        ("strict_mode", "no", False, BAD_FLAG),
    ],
    "authentication": [
        ("auth_type", "AH", "AH", ("", "pass", "MD5")),
        ("auth_pass", "$ecret", "$ecret", ("", '""', "${X}", "@X@")),
    ],
    "auth_hmac": [
        ("key", f"1 hex:{'0a' * 32}",
         (m.Key(id=9, secret=KEY.encode()), m.Key(id=1, secret=b"\n" * 32)),
         ("", "1", f"0 {KEY}", f"256 {KEY}", "1 hex:0", "1 hex:xx", "1 file:", "1 ${X}")),
        ("active_key", "9", 9, (*BAD_COUNT, "256")),
        ("time_window", "300", 300.0, (*BAD_TIME, "0", "301")),
        ("anti_replay", "monotonic", "monotonic", ("", "none")),
        ("mode", "receive-only", "receive-only", ("", "off")),
    ],
    "vrrp_sync_group": [*NOTIFIES, *flags("sync_group_tracking_weight")],
    "vrrp_script": [
        ("script", "\"/bin/x 'a b'\"", Command(argv=("/bin/x", "a b")), (*BAD_SCRIPT, "/bin/x a")),
        ("interval", "0.001", 0.001, (*BAD_TIME, "0")),
        ("timeout", "3", 3.0, (*BAD_TIME, "0")),
        ("weight", "-253 reverse", m.Weight(weight=-253, reverse=True), ("", "254", "1 x", "1.5")),
        ("rise", "2", 2, BAD_COUNT),
        ("fall", "3", 3, BAD_COUNT),
        ("user", "a b", ScriptUser(user="a", group="b"), ("", "/bin/x")),
        ("init_fail", "", True, BAD_FLAG),
    ],
    "vrrp_track_process": [
        ("process", '/bin/x "a b"', m.Process(path="/bin/x", arguments=("a b",)), ("", '""')),
        ("param_match", "partial", "partial", ("exact",)),
        ("weight", "+254", m.Weight(weight=254), ("", "255", "x")),
        ("quorum", "65535", 65535, (*BAD_COUNT, "65536")),
        ("quorum_max", "0", 0, ("", "x", "65536")),
        ("delay", "3600", 3600.0, (*BAD_TIME, "3601")),
        ("terminate_delay", "0", 0.0, (*BAD_TIME, "3601")),
        ("fork_delay", "0.5", 0.5, (*BAD_TIME, "3601")),
        ("full_command", "", True, BAD_FLAG),
    ],
    "track_file": TRACK_FILE,
    "vrrp_track_file": TRACK_FILE,
    "garp_group": [
        ("garp_interval", "0.5", 0.5, BAD_TIME),
        ("gna_interval", "0", 0.0, BAD_TIME),
        ("interface", "eth1", "eth1", BAD_NAME),
    ],
}  # fmt: skip


def loaded(block: str, line: str) -> Loaded:
    return load("a.conf", MemoryFiles({"a.conf": FRAMES[block][0] % line}), allow_empty=True)


def cases() -> Iterator[tuple[str, str, str, object, tuple[str, ...]]]:
    for block, rows in TABLE.items():
        for row in rows:
            yield (block, *row)


@pytest.mark.parametrize(("block", "name", "good", "value", "bad"), list(cases()))
def test_values(block: str, name: str, good: str, value: object, bad: tuple[str, ...]) -> None:
    found = loaded(block, f"{name} {good}")
    assert found.config is not None, [str(one) for one in found.errors]
    assert found.config.vrrp is not None
    item = FRAMES[block][1](found.config.vrrp)
    assert getattr(item, BLOCKS[block][name].key) == value
    for text in bad:
        told = [
            one
            for one in loaded(block, f"{name} {text}").errors
            if one.code in {Code.BAD_VALUE, Code.NO_VALUE, Code.PLACEHOLDER}
        ]
        assert len(told) == 1, (name, text, told)


def test_the_table_above_is_complete() -> None:
    served = {
        (block, keyword.name)
        for block, table in (("global_defs", GLOBALS), *TABLES)
        for keyword in table
        if not keyword.block
    }
    assert served == {(block, name) for block, name, *_ in cases()}


def some(block: str) -> st.SearchStrategy[str]:
    rows = st.lists(st.sampled_from(TABLE[block]), max_size=12, unique_by=lambda row: row[0])
    return rows.map(lambda found: "\n".join(f"{row[0]} {row[1]}" for row in found))


@given(
    some("global_defs"),
    some("vrrp_instance"),
    st.sampled_from(["", "virtual_ipaddress {\n192.0.2.1\n2001:db8::1\n}\n",
                     "virtual_ipaddress {\nfe80::1/64\n}\nunicast_peer { fe80::2 }\n",
                     "authentication {\nauth_type PASS\nauth_pass x\n}\n",
                     f"auth_hmac {{\nkey 1 {KEY}\n}}\n"]),
)  # fmt: skip
def test_what_lint_lets_pass_can_be_compiled(settings: str, body: str, more: str) -> None:
    text = f"global_defs {{\n{settings}\n}}\n" + INSTANCE % (more + body)
    found = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    assert all(one.code.number.startswith("LK04") for one in found.errors)
    if found.config is not None:
        spec = compile_router(found.config)
        assert spec is not None
        (one,) = spec.instances
        assert one.rules.addresses == one.spec.addresses
        assert all(
            len(vip) == (4 if one.spec.key.family == 4 else 16) for vip in one.spec.addresses
        )


ENTRIES = [
    ("vrrp_instance", "unicast_peer", "192.0.2.7 min_ttl 2 max_ttl 9",
     m.Peer(address=addr("192.0.2.7"), min_ttl=2, max_ttl=9),
     ("x", "192.0.2.7 ttl 3", "192.0.2.7 min_ttl", "192.0.2.7 min_ttl 256")),
    ("vrrp_instance", "track_interface", "eth1 weight -253 reverse",
     m.Tracked(name="eth1", weight=-253, reverse=True),
     ("a/b", "eth1 weight", "eth1 5", "eth1 weight 254", "eth1 weight 5 x")),
    ("vrrp_sync_group", "track_interface", "eth1", m.Tracked(name="eth1"), ("eth1 weight x",)),
    ("garp_group", "interfaces", "eth1 eth2", "eth1", ("eth1 a/b",)),
    ("global_defs", "notification_email", "a@b.example c@d.example", "a@b.example", ("$X",)),
]  # fmt: skip


@pytest.mark.parametrize(("block", "name", "good", "value", "bad"), ENTRIES)
def test_entries(block: str, name: str, good: str, value: object, bad: tuple[str, ...]) -> None:
    found = loaded(block, f"{name} {{\n{good}\n}}")
    assert found.config is not None, [str(one) for one in found.errors]
    assert found.config.vrrp is not None
    assert getattr(FRAMES[block][1](found.config.vrrp), name)[0] == value
    for text in bad:
        (told,) = loaded(block, f"{name} {{\n{text}\n}}").errors
        assert told.code in {Code.BAD_VALUE, Code.PLACEHOLDER}, text


@pytest.mark.parametrize(
    ("entry", "down", "up"),
    [("eth0 2", 2.0, 2.0), ("eth0 0 3.5", 0.0, 3.5), ("eth0", None, None),
     ("eth0 1 256", None, None), ("eth0 x", None, None), ("eth0 1 2 3", None, None)],
)  # fmt: skip
def test_delays_of_links(entry: str, down: float | None, up: float | None) -> None:
    text = f"interface_up_down_delays {{\n{entry}\n}}\n"
    found = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    if up is None:
        assert [one.code for one in found.errors] == [Code.BAD_VALUE]
    else:
        assert found.config is not None
        assert found.config.vrrp is not None
        (delay,) = found.config.vrrp.link_delays
        assert (delay.interface, delay.down, delay.up) == ("eth0", down, up)
