"""What the VRRP half of a file comes to, as the router role is told."""

from pathlib import Path

import msgspec
import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.load import load
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.loader import NOTHING, load_file
from lvskeeper.daemon.roles import Fifo, MailSpec, Script
from lvskeeper.daemon.router_spec import (
    ArgumentMatch,
    GroupConfig,
    InstanceConfig,
    Notifies,
    ProcessClass,
    RouterSpec,
    TrackedFile,
    TrackedProcess,
    TrackedScript,
    VmacKind,
    VmacSpec,
)
from lvskeeper.units import NO_ADDRESS
from lvskeeper.units import parse_address as addr
from lvskeeper.vrrp.auth import NO_AUTH, Authentication, AuthKind
from lvskeeper.vrrp.auth_hmac import HmacAuth, HmacKey, HmacMode, ReplayMode
from lvskeeper.vrrp.holdings import HeldAddress, Route, Rule
from lvskeeper.vrrp.packet import ChecksumKind
from lvskeeper.vrrp.spec import AnnounceSpec, GroupSpec, InstanceSpec, Start
from lvskeeper.vrrp.trackers import ProcessSpec, ScriptSpec
from lvskeeper.vrrp.tracking import Track, TrackId, TrackKind
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import Peer, Rules

FULL = """
global_defs {
    router_id lb1
    script_user nobody
    vrrp_garp_master_refresh 60
    vrrp_garp_interval 0.01
    vrrp_mcast_group4 224.0.0.20
    vrrp_check_unicast_src
    notify_fifo /run/fifo root
    notify_fifo_script "/bin/reader a" root
    smtp_server mail.example.com 587
    smtp_alert_vrrp
    no_email_faults
    notification_email {
        ops@example.com
        noc@example.com
    }
    vrrp_rt_priority 50
    vrrp_cpu_affinity 1 2
    vrrp_no_swap
    vrrp_fence 3
    dynamic_interfaces allow_if_changes
    enable_script_security
    lvs_sync_daemon eth2 VI_1 maxlen 1400
}
vrrp_sync_group G {
    group {
        VI_1 VI_2
    }
    track_interface {
        eth3
    }
    sync_group_tracking_weight
    notify_master "/bin/up G"
    smtp_alert no
}
vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 2
    authentication {
        auth_type PASS
        auth_pass longpassword
    }
    virtual_ipaddress {
        192.0.2.10/24 label eth0:1
        192.0.2.11 dev eth1
    }
    virtual_ipaddress_excluded {
        2001:db8::10/64
    }
    virtual_routes {
        198.51.100.0/24 via 192.0.2.254 dev eth0
    }
    virtual_rules {
        from 192.0.2.10 table 100
    }
    unicast_src_ip 192.0.2.1
    unicast_peer {
        192.0.2.2
        192.0.2.3 min_ttl 200
    }
    unicast_ttl 64
    track_interface {
        eth1 weight -20
    }
    track_script {
        chk
        other weight 5 noreverse
    }
    track_file {
        load
    }
    track_process {
        web
    }
    garp_lower_prio_repeat 1
    down_timer_adverts 4
    notify_fault "/bin/fault" operator
    notify "/bin/any"
    dont_track_primary
    track_src_ip
}
vrrp_instance VI_2 {
    interface eth1
    virtual_router_id 52
    virtual_ipaddress {
        2001:db8::20/64
    }
    nopreempt
    use_vmac
}
vrrp_script chk {
    script "/bin/chk 1"
    interval 3
    timeout 2
    weight -10 reverse
    rise 2
    fall 3
    user operator
}
vrrp_script other {
    script /bin/other
    weight 9 reverse
    init_fail
}
vrrp_script unused {
    script /bin/true
}
track_file load {
    file /run/load
    init_file 5
}
vrrp_track_process web {
    process nginx
    quorum 2
    delay 1
    fork_delay 3
}
garp_group {
    garp_interval 0.5
    interfaces {
        eth0 eth9
    }
}
interface_up_down_delays {
    eth0 0 5
}
static_ipaddress {
    192.0.2.99/24
}
"""

VIPS = (addr("192.0.2.10"), addr("192.0.2.11"))
KEY_1 = InstanceKey("eth0", 4, 51)
KEY_2 = InstanceKey("eth1", 6, 52)


def track(kind: TrackKind, name: str, weight: int = 0, *, reverse: bool = False) -> Track:
    return Track(TrackId(kind, name), weight, reverse)


def compiled(text: str, name: str = "a.conf", **others: str) -> RouterSpec:
    files = {name: text, **{key.replace("_", "."): other for key, other in others.items()}}
    loaded = load(name, MemoryFiles(files))
    assert loaded.config is not None, [str(one) for one in loaded.errors]
    spec = compile_router(loaded.config)
    assert spec is not None
    return spec


def instance(body: str, *, settings: str = "", vip: str = "192.0.2.10/24") -> InstanceConfig:
    held = f"virtual_ipaddress {{\n{vip}\n}}\n" if vip else "no_virtual_ipaddress\n"
    (one,) = compiled(
        f"global_defs {{\n{settings}\n}}\nvrrp_instance VI {{\ninterface eth0\n"
        f"virtual_router_id 9\n{held}{body}\n}}\n"
    ).instances
    return one


def codes(text: str) -> list[Code]:
    return [one.code for one in load("a.conf", MemoryFiles({"a.conf": text})).diagnostics]


def test_the_machine_of_a_full_instance() -> None:
    assert compiled(FULL).instances[0].spec == InstanceSpec(
        key=KEY_1,
        name="VI_1",
        source=addr("192.0.2.1"),
        version=2,
        priority=150,
        interval=2.0,
        start=Start.MASTER,
        addresses=VIPS,
        down_timer_adverts=4,
        announce=AnnounceSpec(
            refresh=60.0, lower_prio_repeat=1, garp_interval=0.5, spacing="eth0 eth9"
        ),
        tracks=(
            track(TrackKind.INTERFACE, "eth1", -20),
            track(TrackKind.SCRIPT, "chk", -10, reverse=True),
            track(TrackKind.SCRIPT, "other", 5),
            track(TrackKind.FILE, "load", 1),
            track(TrackKind.PROCESS, "web"),
        ),
    )


def test_the_shell_of_a_full_instance() -> None:
    one = compiled(FULL).instances[0]
    assert one == InstanceConfig(
        spec=one.spec,
        rules=Rules(
            version=2,
            vrid=51,
            interval=2.0,
            addresses=VIPS,
            auth=Authentication(AuthKind.PASS, b"longpass"),
            peers=(Peer(addr("192.0.2.2")), Peer(addr("192.0.2.3"), min_ttl=200)),
            check_source=True,
        ),
        group=addr("224.0.0.20"),
        ttl=64,
        addresses=(
            HeldAddress(VIPS[0], 24, "eth0", label="eth0:1"),
            HeldAddress(VIPS[1], 32, "eth1"),
            HeldAddress(addr("2001:db8::10"), 64, "eth0"),
        ),
        routes=(Route(addr("198.51.100.0"), 24, gateway=addr("192.0.2.254"), device="eth0"),),
        policies=(Rule(4, 16_384, source=VIPS[0], source_prefix=32, table=100),),
        track_primary=False,
        notifies=Notifies(
            fault=Script(("/bin/fault",), "operator"),
            any=Script(("/bin/any",), "nobody"),
            mail=True,
        ),
    )


def test_all_but_the_instances() -> None:
    spec = compiled(FULL)
    assert spec == RouterSpec(
        router_id="lb1",
        instances=spec.instances,
        groups=(
            GroupConfig(
                GroupSpec("G", (KEY_1, KEY_2), (track(TrackKind.INTERFACE, "eth3"),), True),
                Notifies(master=Script(("/bin/up", "G"), "nobody")),
            ),
        ),
        scripts=(
            TrackedScript(
                "chk",
                Script(("/bin/chk", "1"), "operator"),
                ScriptSpec(3.0, 2.0, 2, 3),
                secure=True,
            ),
            TrackedScript(
                "other", Script(("/bin/other",), "nobody"), ScriptSpec(init_fail=True), secure=True
            ),
        ),
        files=(TrackedFile("load", "/run/load", initial=5),),
        processes=(TrackedProcess("web", "nginx", spec=ProcessSpec(2, 0, 3.0, 1.0)),),
        link_delays=(("eth0", 5.0),),
        static_addresses=(HeldAddress(addr("192.0.2.99"), 24, "eth0"),),
        fence=3.0,
        fifos=(Fifo("/run/fifo", "root", reader=Script(("/bin/reader", "a"), "root")),),
        script_security=True,
        mail=MailSpec(
            "mail.example.com",
            587,
            recipients=("ops@example.com", "noc@example.com"),
            faults=False,
        ),
        scheduling=ProcessClass(rr_priority=50, lock_memory=True, cpus=(1, 2)),
        sync_instance="VI_1",
    )


def test_it_travels_as_json() -> None:
    spec = compiled(FULL)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=RouterSpec) == spec


YAML = """
global_defs:
  router_id: lb1
  script_user: nobody
  vrrp_garp_master_refresh: 60
  vrrp_garp_interval: 0.01
  vrrp_mcast_group4: 224.0.0.20
  vrrp_check_unicast_src: yes
  notify_fifo: /run/fifo root
  notify_fifo_script: ["/bin/reader a", root]
  smtp_server: mail.example.com 587
  smtp_alert_vrrp: yes
  no_email_faults: yes
  notification_email: [ops@example.com, noc@example.com]
  vrrp_rt_priority: 50
  vrrp_cpu_affinity: [1, 2]
  vrrp_no_swap: yes
  vrrp_fence: 3
  dynamic_interfaces: allow_if_changes
  enable_script_security: yes
  lvs_sync_daemon: eth2 VI_1 maxlen 1400
vrrp_sync_groups:
  - name: G
    group: [VI_1, VI_2]
    track_interface: [eth3]
    sync_group_tracking_weight: yes
    notify_master: /bin/up G
    smtp_alert: no
vrrp_instances:
  - name: VI_1
    state: MASTER
    interface: eth0
    virtual_router_id: 51
    priority: 150
    advert_int: 2
    authentication: {auth_type: PASS, auth_pass: longpassword}
    virtual_ipaddress:
      - 192.0.2.10/24 label eth0:1
      - 192.0.2.11 dev eth1
    virtual_ipaddress_excluded: 2001:db8::10/64
    virtual_routes: [198.51.100.0/24 via 192.0.2.254 dev eth0]
    virtual_rules: [from 192.0.2.10 table 100]
    unicast_src_ip: 192.0.2.1
    unicast_peer: [192.0.2.2, 192.0.2.3 min_ttl 200]
    unicast_ttl: 64
    track_interface: [eth1 weight -20]
    track_script: [chk, other weight 5 noreverse]
    track_file: [load]
    track_process: web
    garp_lower_prio_repeat: 1
    down_timer_adverts: 4
    notify_fault: [/bin/fault, operator]
    notify: /bin/any
    dont_track_primary: yes
    track_src_ip: yes
  - name: VI_2
    interface: eth1
    virtual_router_id: 52
    virtual_ipaddress: ["2001:db8::20/64"]
    nopreempt: yes
    use_vmac:
vrrp_scripts:
  - {name: chk, script: /bin/chk 1, interval: 3, timeout: 2, weight: -10 reverse, rise: 2,
     fall: 3, user: operator}
  - {name: other, script: /bin/other, weight: 9 reverse, init_fail: yes}
  - {name: unused, script: /bin/true}
track_files:
  - {name: load, file: /run/load, init_file: 5}
vrrp_track_processes:
  - {name: web, process: nginx, quorum: 2, delay: 1, fork_delay: 3}
garp_groups:
  - {garp_interval: 0.5, interfaces: [eth0, eth9]}
interface_up_down_delays: [eth0 0 5]
static_ipaddress: [192.0.2.99/24]
"""


def test_both_forms_say_the_same() -> None:
    assert compiled(YAML, "a.yaml") == compiled(FULL)


def test_errors_in_yaml_have_their_place() -> None:
    text = YAML.replace("192.0.2.11 dev eth1", "192.0.2.11 dve eth1").replace("name: G", "nam: G")
    found = load("a.yaml", MemoryFiles({"a.yaml": text})).errors
    assert [one.span.text for one in found if one.code is Code.BAD_VALUE] == ["dve"]
    assert [one.message for one in found if one.code is Code.YAML_SHAPE] == ["'name' is missing"]


@pytest.mark.parametrize(
    ("body", "priority", "start", "preempts"),
    [
        ("", 100, Start.BACKUP, True),
        ("state MASTER", 255, Start.MASTER, True),
        ("priority 255", 255, Start.MASTER, True),
        ("priority 255\nstate BACKUP", 255, Start.MASTER, True),
        ("priority 200", 200, Start.BACKUP, True),
        ("state MASTER\npriority 200", 200, Start.MASTER, True),
        ("state BACKUP\nnopreempt", 100, Start.BACKUP, False),
        ("state BACKUP\nnopreempt\npreempt", 100, Start.BACKUP, True),
        ("state MASTER\npriority 200\nnopreempt", 200, Start.MASTER, True),
        (
            "state MASTER\npriority 200\nauthentication {\nauth_type AH\nauth_pass x\n}",
            200,
            Start.BACKUP,
            True,
        ),
        ("state MASTER\npriority 200\nstrict_mode on", 200, Start.BACKUP, True),
    ],
)
def test_priority_and_state_imply_each_other(
    body: str, priority: int, start: Start, *, preempts: bool
) -> None:
    spec = instance(body).spec
    assert (spec.priority, spec.start, spec.preempts) == (priority, start, preempts)


@pytest.mark.parametrize(
    ("settings", "body", "vip", "family", "version"),
    [
        ("", "", "192.0.2.10", 4, 2),
        ("vrrp_version 3", "", "192.0.2.10", 4, 3),
        ("vrrp_version 3", "version 2", "192.0.2.10", 4, 2),
        ("", "", "2001:db8::1", 6, 3),
        ("vrrp_version 2", "", "2001:db8::1", 6, 3),
        ("", "version 2", "2001:db8::1", 6, 3),
        ("", "native_ipv6", "", 6, 3),
        ("", "mcast_src_ip fe80::1", "", 6, 3),
        ("", "unicast_peer { 2001:db8::2 }", "", 6, 3),
        ("", "", "", 4, 2),
    ],
)
def test_family_and_version(settings: str, body: str, vip: str, family: int, version: int) -> None:
    one = instance(body, settings=settings, vip=vip)
    assert (one.spec.key.family, one.spec.version, one.rules.version) == (family, version, version)


def test_defaults_of_announcements() -> None:
    def announced(body: str, settings: str = "") -> AnnounceSpec:
        return instance(body, settings=settings).spec.announce

    assert announced("") == AnnounceSpec()
    assert announced("", "vrrp_garp_master_repeat 2\nvrrp_garp_master_delay 7") == AnnounceSpec(
        repeat=2, delay=7.0, lower_prio_repeat=2, lower_prio_delay=7.0
    )
    assert announced("garp_master_repeat 3", "vrrp_garp_lower_prio_repeat 0") == AnnounceSpec(
        repeat=3, lower_prio_repeat=0
    )
    once = AnnounceSpec(repeat=1, delay=0.0, lower_prio_repeat=1, lower_prio_delay=0.0)
    assert announced("", "vrrp_min_garp") == once
    assert announced("garp_master_repeat 4", "vrrp_min_garp").repeat == 4
    group = "}\ngarp_group {\ninterface eth0\ngna_interval 0.2\n"
    assert announced(group, "vrrp_garp_interval 0.1") == AnnounceSpec(
        garp_interval=0.1, gna_interval=0.2
    )


def test_what_an_instance_takes_from_global_defs() -> None:
    settings = (
        "vrrp_down_timer_adverts 5\nvrrp_lower_prio_no_advert\nvrrp_higher_prio_send_advert\n"
        "vrrp_owner_ignore_adverts\nvrrp_skip_check_adv_addr\nvrrp_garp_extra_if 30\n"
        "v3_checksum_as_v2\nvrrp_version 3\nvrrp_notify_priority_changes"
    )

    def taken(body: str) -> tuple[object, ...]:
        one = instance(body, settings=settings)
        return (
            one.spec.down_timer_adverts, one.spec.lower_prio_no_advert,
            one.spec.higher_prio_send_advert, one.spec.owner_ignore_adverts, one.skip_addresses,
            one.extra_refresh, one.rules.checksum, one.notifies.priority_changes,
        )  # fmt: skip

    assert taken("") == (5, True, True, True, True, 30.0, ChecksumKind.AS_V2, True)
    own = (
        "down_timer_adverts 2\nlower_prio_no_advert no\nhigher_prio_send_advert no\n"
        "owner_ignore_adverts no\nskip_check_adv_addr no\ngarp_extra_if 0\n"
        "v3_checksum_as_v2 no\nnotify_priority_changes no"
    )
    assert taken(own) == (2, False, False, False, False, 0.0, ChecksumKind.STANDARD, False)


def test_strict_keeps_to_the_rfc() -> None:
    settings = "vrrp_strict\nvrrp_down_timer_adverts 5\nvrrp_higher_prio_send_advert"
    one = instance(
        "preempt_delay 9\nauthentication {\nauth_type PASS\nauth_pass x\n}\nuse_vmac\n"
        "vmac_xmit_base",
        settings=settings,
    )
    assert one.spec == InstanceSpec(
        key=InstanceKey("eth0", 4, 9),
        name="VI",
        addresses=(addr("192.0.2.10"),),
        accept=False,
        lower_prio_no_advert=True,
        announce=AnnounceSpec(repeat=1, delay=0.0, lower_prio_repeat=0, lower_prio_delay=0.0),
    )
    assert one.rules.auth == NO_AUTH
    assert one.vmac is not None
    assert not one.vmac.xmit_base
    assert instance("priority 255", settings=settings).accept
    assert instance("accept\nversion 3", settings=settings).accept
    assert not instance("accept\nversion 2", settings=settings).accept
    assert instance("strict_mode no\npreempt_delay 9", settings=settings).spec.preempt_delay == 9.0


def test_accept_is_the_default() -> None:
    assert instance("").accept
    assert not instance("no_accept").accept
    assert not instance("accept no").spec.accept


def test_checksums_of_unicast() -> None:
    def sent(body: str) -> tuple[ChecksumKind, bool]:
        rules = instance(f"version 3\n{body}").rules
        return rules.checksum, rules.old_checksum

    peer = "unicast_peer { 192.0.2.2 }\n"
    assert sent(peer) == (ChecksumKind.STANDARD, True)
    assert sent(f"{peer}old_unicast_checksum") == (ChecksumKind.OLD_UNICAST, True)
    assert sent(f"{peer}old_unicast_checksum never") == (ChecksumKind.STANDARD, False)
    assert sent("old_unicast_checksum") == (ChecksumKind.STANDARD, True)


def test_peers_that_are_missing() -> None:
    assert not instance("unicast_peer { }").no_peer_fault
    assert instance("unicast_peer { }\nunicast_fault_no_peer").no_peer_fault
    assert not instance("unicast_peer { 192.0.2.2 }\nunicast_fault_no_peer").no_peer_fault


def test_virtual_devices() -> None:
    mac = bytes.fromhex("00005e000109")
    one = instance("use_vmac", vip="192.0.2.10/24\n192.0.2.11 dev eth0\n192.0.2.12 dev eth1")
    assert one.vmac == VmacSpec("vrrp.9", mac=mac)
    assert [held.device for held in one.addresses] == ["vrrp.9", "vrrp.9", "eth1"]
    one = instance("use_vmac_addr", vip="192.0.2.10/24\n192.0.2.11 dev eth1\n192.0.2.12 dev eth1")
    assert one.vmac is None
    assert one.address_vmacs == (("eth1", VmacSpec("vrrp.9", mac=mac)),)
    assert [held.device for held in one.addresses] == ["eth0", "vrrp.9", "vrrp.9"]
    one = instance("use_vmac v0 02:00:00:00:00:0a\nunicast_peer { 192.0.2.2 }")
    assert one.vmac == VmacSpec("v0", mac=bytes.fromhex("02000000000a"), xmit_base=True)
    one = instance("use_ipvlan private 192.0.2.9/24", settings="vmac_prefix v")
    kind = VmacKind.IPVLAN
    assert one.vmac == VmacSpec("v.9", kind, mode="private", address=addr("192.0.2.9"), prefix=24)
    (one, other) = compiled(
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nuse_vmac\n"
        "virtual_ipaddress {\n2001:db8::1/64\n}\n}\n"
        "vrrp_instance B {\ninterface eth1\nvirtual_router_id 9\nuse_vmac\n"
        "virtual_ipaddress {\n2001:db8::2/64\n}\n}\n"
    ).instances
    assert one.vmac == VmacSpec("vrrp6.9", mac=bytes.fromhex("00005e000209"))
    assert other.vmac == VmacSpec("vrrp6.9.1", mac=bytes.fromhex("00005e000209"))


def test_too_many_vips_are_as_if_excluded() -> None:
    vips = "\n".join(f"2001:db8::{number:x}/64" for number in range(1, 93))
    one = instance("", vip=vips)
    assert (len(one.spec.addresses), len(one.addresses)) == (90, 92)
    assert one.rules.addresses == one.spec.addresses
    hmac = f"auth_hmac {{\nkey 1 {'k' * 32}\n}}"
    assert len(instance(hmac, vip=vips).spec.addresses) == 89


def test_an_owner_is_moved_by_no_weight() -> None:
    body = "priority 255\ntrack_interface {\neth1 weight 5\neth2\n}"
    assert instance(body).spec.tracks == (track(TrackKind.INTERFACE, "eth2"),)


def test_arguments_of_tracked_processes() -> None:
    def tracked(body: str) -> TrackedProcess:
        text = (
            "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n"
            f"track_process {{ p }}\n}}\nvrrp_track_process p {{\n{body}\n}}\n"
        )
        return compiled(text).processes[0]

    assert tracked("process x") == TrackedProcess("p", "x")
    assert tracked("process x\nparam_match") == TrackedProcess("p", "x", ())
    assert tracked('process x -a "b c"') == TrackedProcess("p", "x", ("-a", "b c"))
    partial = TrackedProcess("p", "x", ("-a",), ArgumentMatch.PARTIAL, full_command=True)
    assert tracked("process x -a\nparam_match partial\nfull_command") == partial


def test_signed_adverts() -> None:
    hmac = (
        f"auth_hmac {{\nkey 1 {'k' * 32}\nkey 2 hex:{'0a' * 64}\nkey 3 file:keys/3\n"
        "active_key 2\nanti_replay monotonic\nmode permissive\n}\nadvert_int 4"
    )
    text = f"vrrp_instance A {{\ninterface eth0\nvirtual_router_id 9\n{hmac}\n}}\n"
    files = {"etc/a.conf": text, "etc/keys/3": "x" * 40 + "\n"}
    loaded = load("etc/a.conf", MemoryFiles(files))
    assert loaded.config is not None
    spec = compile_router(loaded.config)
    assert spec is not None
    keys = (HmacKey(1, b"k" * 32), HmacKey(2, b"\n" * 64), HmacKey(3, b"x" * 40))
    assert spec.instances[0].rules.hmac == HmacAuth(
        keys, 2, 12.0, ReplayMode.MONOTONIC, HmacMode.PERMISSIVE
    )
    one = instance(f"auth_hmac {{\nkey 7 {'k' * 32}\ntime_window 20\n}}")
    assert one.rules.hmac == HmacAuth((HmacKey(7, b"k" * 32),), 7, 20.0)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    key, path = tmp_path / "key", tmp_path / "a.conf"
    key.write_text("k" * 32)
    path.write_text(
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n"
        "auth_hmac {\nkey 1 file:key\n}\n}\n"
    )
    key.chmod(0o600)
    assert load_file(str(path)).errors == ()
    for mode in (0o640, 0o604, 0o620, 0o602):
        key.chmod(mode)
        (told,) = load_file(str(path)).errors
        assert "LK0401" in told


def test_the_director_is_waited_for_where_there_is_one() -> None:
    one = "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n}\n"
    server = "virtual_server 192.0.2.1 80 {\nprotocol TCP\n}\n"
    settings = "global_defs {\nvrrp_director_timeout %s\n}\n"
    assert compiled(one).director_timeout == 0.0
    assert compiled(one + server).director_timeout == 20.0
    assert compiled(one + server + settings % 8).director_timeout == 8.0
    assert compiled(one + server + settings % 0).director_timeout == 0.0
    assert Code.DIRECTOR_TIMEOUT in codes(one + settings % 8)
    assert Code.DIRECTOR_TIMEOUT in codes(one + server + settings % 2)


def test_the_sync_daemon_follows_an_instance() -> None:
    one = "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n%s\n}\n"
    settings = "global_defs {\nlvs_sync_daemon eth1 %s\n}\n"

    def both(text: str) -> tuple[str, str, int, str]:
        config = load("a.conf", MemoryFiles({"a.conf": text})).config
        assert config is not None
        sync, router = compile_director(config).sync, compile_router(config)
        assert sync is not None
        assert router is not None
        return sync.daemon.interface, sync.follows, sync.daemon.sync_id, router.sync_instance

    assert both(one % "" + settings % "A") == ("eth1", "A", 9, "A")
    assert both(one % "" + settings % "inst A id 3") == ("eth1", "A", 3, "A")
    assert both(one % "" + settings % "id 3") == ("eth1", "", 3, "")
    assert both(one % "lvs_sync_daemon_interface eth2") == ("eth2", "A", 9, "A")


def test_files_without_vrrp_have_nothing_for_the_router(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    for text in ("", "global_defs {\nvrrp_version 3\n}\n", "virtual_server fwmark 3 {\n}\n"):
        path.write_text(text)
        assert load_file(str(path), allow_empty=True).router == NOTHING
    path.write_text("static_routes {\n198.51.100.0/24 via 192.0.2.1\n}\n")
    spec = msgspec.json.decode(load_file(str(path)).router, type=RouterSpec)
    assert [str(one) for one in spec.static_routes] == ["198.51.100.0/24 via 192.0.2.1"]


def test_without_an_interface_a_source_tells_where() -> None:
    text = (
        "vrrp_instance A {{\nvirtual_router_id 9\nunicast_src_ip 192.0.2.1\n"
        "unicast_peer {{ 192.0.2.2 }}\nvirtual_ipaddress {{\n192.0.2.10{}\n}}\n}}\n"
    )
    (one,) = compiled(text.format(" dev eth0")).instances
    assert one.spec.key == InstanceKey("", 4, 9)
    assert one.addresses[0].device == "eth0"
    assert codes(text.format("")) == [Code.NO_INTERFACE]
    assert codes(text.format(" dev eth0").replace("unicast_src_ip 192.0.2.1\n", "")) == [
        Code.NO_INTERFACE
    ]


def test_an_empty_group_address_stands_for_the_usual_one() -> None:
    assert instance("").group == NO_ADDRESS
    assert instance("mcast_dst_ip 224.0.0.99").group == addr("224.0.0.99")


def test_the_same_vrid_is_free_on_another_interface_and_in_another_family() -> None:
    text = (
        "vrrp_instance {} {{\ninterface {}\nvirtual_router_id 9\nvirtual_ipaddress {{ {} }}\n}}\n"
    )
    first = text.format("A", "eth0", "192.0.2.1")
    assert codes(first + text.format("B", "eth1", "192.0.2.2")) == []
    assert codes(first + text.format("B", "eth0", "2001:db8::1")) == []
    assert codes(first + text.format("B", "eth0", "192.0.2.2")) == [Code.SAME_VRID]
    assert codes(first + text.format("B", "eth1", "192.0.2.1")) == [Code.SAME_VIP]


def test_vrrp_strict_has_a_first_vip_that_is_link_local() -> None:
    text = (
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nstrict_mode on\n"
        "virtual_ipaddress {\nfe80::1/64\n2001:db8::1/64\n}\n}\n"
    )
    assert codes(text) == []
    assert codes(text.replace("fe80::1/64\n", "")) == [Code.STRICT]
    assert codes(text.replace("strict_mode on", "version 2\nstrict_mode on")) == [Code.STRICT]


@pytest.mark.parametrize(
    ("version", "interval", "good"),
    [(2, "255", True), (2, "1.5", False), (2, "0.01", False), (3, "0.01", True), (3, "40.95", True),
     (3, "0.015", False), (3, "40.96", False), (3, "0.29", True)],
)  # fmt: skip
def test_what_a_version_can_carry(version: int, interval: str, *, good: bool) -> None:
    text = (
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n"
        f"version {version}\nadvert_int {interval}\n}}\n"
    )
    assert codes(text) == ([] if good else [Code.INTERVAL])
