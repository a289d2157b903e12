"""SYN cookies, defences, port ranges and IPVS settings: what they compile to, and when they fit."""

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Severity
from lvskeeper.config.load import Loaded, load
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.roles import DefenceSpec, DirectorSpec, SynProxySpec, TcpDefence

POOL = "local_address_group lips {\n10.0.0.10-13\nfd00::10\n}\n"
FNAT = "lb_kind FNAT\nladdr_group_name lips\n"
ERROR, WARNING = Severity.ERROR, Severity.WARNING
Told = list[tuple[Code, Severity, str]]


def server(body: str, head: str = "192.0.2.1 80", protocol: str = "TCP") -> str:
    kind = "" if "lb_kind" in body else "lb_kind NAT\n"
    real = "fd00:1::1" if ":" in head else "10.0.1.1"
    block = "" if "real_server" in body else f"real_server {real} 80 {{\n}}\n"
    named = "" if head.startswith("fwmark") else f"protocol {protocol}\n"
    return f"virtual_server {head} {{\n{named}lb_algo rr\n{kind}{body}\n{block}}}\n"


def defs(body: str) -> str:
    return f"global_defs {{\n{body}\n}}\n"


def read(text: str, name: str = "a.conf") -> Loaded:
    return load(name, MemoryFiles({name: text}))


def compiled(text: str, name: str = "a.conf") -> DirectorSpec:
    loaded = read(text, name)
    assert loaded.config is not None, loaded.diagnostics
    return compile_director(loaded.config)


def told(text: str) -> Told:
    return [(one.code, one.severity, one.span.text) for one in read(text).diagnostics]


def syn_proxy(body: str, shared: str = "") -> SynProxySpec | None:
    (one,) = compiled(defs(shared) + server(body)).virtual_servers
    return one.syn_proxy


def test_syn_proxy_follows_the_real_servers_unless_told() -> None:
    assert syn_proxy("") is None
    assert syn_proxy("syn_proxy") == SynProxySpec(None, None, timestamp=True, sack=True)
    own = "syn_proxy\nsyn_proxy_mss 1400\nsyn_proxy_wscale 9\nsyn_proxy_sack no"
    assert syn_proxy(own) == SynProxySpec(1400, 9, timestamp=True, sack=False)


def test_a_virtual_server_overrides_the_defaults_of_all() -> None:
    shared = "syn_proxy_mss 1400\nsyn_proxy_wscale 8\nsyn_proxy_sack no"
    assert syn_proxy("", shared) is None
    assert syn_proxy("syn_proxy", shared) == SynProxySpec(1400, 8, sack=False)
    own = "syn_proxy\nsyn_proxy_mss auto\nsyn_proxy_wscale 7\nsyn_proxy_sack"
    assert syn_proxy(own, shared) == SynProxySpec(None, 7, sack=True)


def test_the_rate_of_a_flood_is_for_all() -> None:
    assert compiled(server("syn_proxy")).syn_flood_rate == 1000
    assert compiled(defs("syn_flood_rate 50") + server("syn_proxy")).syn_flood_rate == 50


def test_ports_are_those_of_fullnat() -> None:
    (one,) = compiled(POOL + server(FNAT + "laddr_ports 20000-29999")).virtual_servers
    assert one.ports == (20_000, 29_999)
    (other,) = compiled(POOL + server("laddr_ports 20000-29999")).virtual_servers
    assert other.ports is None


@pytest.mark.parametrize(
    ("shared", "body", "protocol", "spec"),
    [
        ("", "", "TCP", DefenceSpec()),
        ("", "defence_tcp_drop", "TCP", DefenceSpec(TcpDefence.SERVICE)),
        ("defence_tcp_drop vip", "", "TCP", DefenceSpec(TcpDefence.VIP)),
        ("defence_tcp_drop vip", "defence_tcp_drop no", "TCP", DefenceSpec()),
        ("defence_tcp_drop", "lb_kind DR", "TCP", DefenceSpec()),
        ("defence_tcp_drop", "", "UDP", DefenceSpec()),
        ("defence_tcp_drop vip", "", "UDP", DefenceSpec(TcpDefence.VIP)),
        ("defence_udp_drop", "defence_frag_drop", "TCP", DefenceSpec(udp=True, fragments=True)),
        ("defence_udp_drop", "defence_udp_drop no", "TCP", DefenceSpec()),
    ],
)
def test_defences(shared: str, body: str, protocol: str, spec: DefenceSpec) -> None:
    text = defs(shared) + server(body, protocol=protocol)
    assert compiled(text).virtual_servers[0].defence == spec


def test_a_mark_has_no_address_to_defend() -> None:
    text = defs("defence_tcp_drop\ndefence_frag_drop") + server("", "fwmark 7")
    assert compiled(text).virtual_servers[0].defence == DefenceSpec()
    assert told(text) == []


def test_sysctls_come_as_they_stand_and_the_later_one_counts() -> None:
    text = (
        defs("ipvs_sysctls {\nconn_reuse_mode 1\nest_nice -5\n}")
        + defs("ipvs_sysctls {\nconn_reuse_mode 0\n}")
        + server("")
    )
    assert compiled(text).sysctls == (("conn_reuse_mode", 0), ("est_nice", -5))
    assert told(text) == [(Code.TWICE, WARNING, "conn_reuse_mode")]


def test_yaml_says_the_same() -> None:
    shared = "syn_proxy_wscale 8\ndefence_tcp_drop vip\nipvs_sysctls {\ndrop_entry 1\n}"
    own = f"{FNAT}laddr_ports 20000-29999\nsyn_proxy\nsyn_proxy_mss auto\ndefence_frag_drop"
    yaml = """
global_defs:
  syn_proxy_wscale: 8
  defence_tcp_drop: vip
  ipvs_sysctls: {drop_entry: 1}
local_address_groups: {lips: [10.0.0.10-13, "fd00::10"]}
virtual_servers:
  - address: 192.0.2.1
    port: 80
    protocol: TCP
    lb_algo: rr
    lb_kind: FNAT
    laddr_group_name: lips
    laddr_ports: 20000-29999
    syn_proxy: yes
    syn_proxy_mss: auto
    defence_frag_drop: yes
    real_servers: [{address: 10.0.1.1, port: 80}]
"""
    assert compiled(yaml, "a.yaml") == compiled(defs(shared) + POOL + server(own))
    odd = yaml.replace("drop_entry: 1", "drop_entri: 1")
    (found,) = read(odd, "a.yaml").errors
    assert (found.code, found.span.text, found.hint) == (
        Code.UNKNOWN, "drop_entri", "did you mean 'drop_entry'?",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("syn_proxy", []),
        ("syn_proxy\nsyn_proxy_timestamp no", []),
        ("syn_proxy\nsyn_proxy_timestamp no\nsyn_proxy_wscale auto\nsyn_proxy_sack no", []),
        (
            "syn_proxy\nsyn_proxy_timestamp no\nsyn_proxy_wscale 7",
            [(Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_wscale")],
        ),
        (
            "syn_proxy\nsyn_proxy_timestamp no\nsyn_proxy_sack",
            [(Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_sack")],
        ),
        ("syn_proxy\nsyn_proxy_timestamp no\nsyn_proxy_wscale 0", []),
        (
            "syn_proxy\nsyn_proxy_wscale 0",
            [(Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_wscale")],
        ),
        ("syn_proxy\nsyn_proxy_mss 1460", []),
        ("syn_proxy\nsyn_proxy_mss 1461", [(Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_mss")]),
        ("syn_proxy_sack no", [(Code.SYN_PROXY_OFF, WARNING, "syn_proxy_sack")]),
        ("lb_kind TUN\nsyn_proxy", [(Code.SYN_PROXY, ERROR, "syn_proxy")]),
    ],
)
def test_options_of_syn_proxy_that_do_not_fit(body: str, found: Told) -> None:
    assert told(server(body)) == found


@pytest.mark.parametrize(
    ("mss", "hint"), [(1440, ""), (1441, "1440 is the most"), (1220, ""), (1219, "1220 or more")]
)
def test_segments_of_ipv6(mss: int, hint: str) -> None:
    found = read(server(f"syn_proxy\nsyn_proxy_mss {mss}", "2001:db8::1 80")).diagnostics
    assert [one.hint.startswith(hint) for one in found] == [True] * bool(hint)


def test_a_default_that_does_not_fit_is_told_once_at_its_own_place() -> None:
    shared = defs("syn_proxy_mss 1500\nsyn_proxy_timestamp no\nsyn_proxy_sack")
    servers = "".join(server("syn_proxy", f"192.0.2.{n} 80") for n in range(1, 4))
    assert told(shared + servers) == [
        (Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_mss"),
        (Code.SYN_PROXY_PROMISE, WARNING, "syn_proxy_sack"),
    ]
    assert told(shared + server("")) == []


def test_syn_proxy_does_not_go_with_a_mark() -> None:
    assert told(server("syn_proxy", "fwmark 7")) == [(Code.SYN_PROXY, ERROR, "syn_proxy")]
    group = "virtual_server_group g {\n192.0.2.1 80\nfwmark 7\n}\n"
    found = told(group + server("syn_proxy", "group g"))
    assert found == [(Code.SYN_PROXY, ERROR, "syn_proxy")]


@pytest.mark.parametrize(
    ("ports", "threshold", "fits"),
    [("1024-1033", 40, True), ("1024-1033", 41, False), ("1024-1033", 0, True)],
)
def test_ports_are_enough_for_the_threshold_of_a_real_server(
    ports: str, threshold: int, *, fits: bool
) -> None:
    real = f"real_server 10.0.1.1 80 {{\nuthreshold {threshold}\n}}\n"
    found = told(POOL + server(f"{FNAT}laddr_ports {ports}\n{real}"))
    assert found == ([] if fits else [(Code.FEW_PORTS, WARNING, ports)])


def test_ports_of_others_than_fullnat() -> None:
    assert told(server("laddr_ports 1024-2000")) == [(Code.PORTS_UNUSED, WARNING, "laddr_ports")]


@pytest.mark.parametrize(
    ("body", "other", "found"),
    [
        ("defence_udp_drop", "192.0.2.2 53", []),
        ("defence_udp_drop", "192.0.2.1 53", [(Code.DEFENCE, WARNING, "defence_udp_drop")]),
        ("defence_udp_drop no", "192.0.2.1 53", []),
        ("lb_kind DR\ndefence_tcp_drop", "", [(Code.DEFENCE, ERROR, "defence_tcp_drop")]),
        ("lb_kind DR\ndefence_tcp_drop no\ndefence_frag_drop", "", []),
    ],
)
def test_defences_that_do_not_fit(body: str, other: str, found: Told) -> None:
    beside = server("", other, "UDP") if other else ""
    assert told(server(body) + beside) == found


def test_a_defence_against_udp_of_a_default_falls_silent() -> None:
    text = defs("defence_udp_drop") + server("") + server("", "192.0.2.1 53", "UDP")
    assert told(text) == []


@pytest.mark.parametrize(
    ("settings", "body", "found"),
    [
        ("conntrack 0", "", []),
        ("conntrack 1", FNAT, []),
        ("conntrack 0", FNAT, [(Code.SYSCTL, ERROR, "0")]),
        ("conntrack 0", "syn_proxy", [(Code.SYSCTL, ERROR, "0")]),
        ("conntrack 0", "defence_tcp_drop", [(Code.SYSCTL, ERROR, "0")]),
        ("conntrack 0", "defence_frag_drop", []),
        ("fullnat_lport_min 2000\nfullnat_lport_max 2000", "", []),
        ("fullnat_lport_min 2001\nfullnat_lport_max 2000", "", [(Code.SYSCTL, ERROR, "2001")]),
        ("fullnat_lport_max 4999", "", [(Code.SYSCTL, ERROR, "4999")]),
        ("sync_ports 8", "", []),
        ("sync_ports 6", "", [(Code.SYSCTL, ERROR, "6")]),
        ("sync_threshold 3", "", [(Code.REFUSED, ERROR, "sync_threshold")]),
    ],
)
def test_settings_that_do_not_fit(settings: str, body: str, found: Told) -> None:
    pool = POOL if "FNAT" in body else ""
    assert told(defs(f"ipvs_sysctls {{\n{settings}\n}}") + pool + server(body)) == found


def test_a_setting_outside_its_block_is_told_where_it_belongs() -> None:
    (found,) = read(defs("conntrack 1") + server("")).errors
    assert (found.code, found.hint) == (Code.MISPLACED, "it belongs in 'ipvs_sysctls'")


@pytest.mark.parametrize(
    ("pools", "found"),
    [
        ("10.0.0.1", []),
        ("10.0.0.1 eth1\n}\nlocal_address_group b {\n10.0.0.1 eth1", []),
        ("10.0.0.1 eth1\n}\nlocal_address_group b {\n10.0.0.1", []),
        (
            "10.0.0.1 eth1\n}\nlocal_address_group b {\n10.0.0.0-3 eth2",
            [(Code.LIP_TAKEN, ERROR, "10.0.0.0-3")],
        ),
        ("10.0.0.9-10.0.1.9", [(Code.LIP_TAKEN, ERROR, "10.0.0.9-10.0.1.9")]),
        ("192.0.2.1", [(Code.LIP_IS_VIP, ERROR, "192.0.2.1")]),
        ("10.0.9.9", [(Code.LIP_TAKEN, ERROR, "10.0.9.9")]),
    ],
)
def test_local_addresses_that_are_something_else(pools: str, found: Told) -> None:
    sorry = "sorry_server 10.0.9.9 80\nreal_server 10.0.1.1 80 {\nTCP_CHECK {\n}\n}\n"
    text = f"local_address_group a {{\n{pools}\n}}\n"
    loaded = read(text + server(f"lb_kind FNAT\nladdr_group_name a\n{sorry}"))
    seen = [one for one in loaded.diagnostics if one.code is not Code.UNUSED_GROUP]
    assert [(one.code, one.severity, one.span.text) for one in seen] == found
