"""Every served keyword, with a value that it takes and values that it refuses."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.base import Command, ScriptUser
from lvskeeper.config.check_model import FileWeight
from lvskeeper.config.codes import Code
from lvskeeper.config.keyword import Status
from lvskeeper.config.keywords import BLOCKS, ROOT, suggest
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.model import Config, Forwarding, SorryServer
from lvskeeper.config.vrrp_keywords import GLOBALS, TABLES
from lvskeeper.ipvs.sysctl_table import SYSCTLS
from lvskeeper.units import parse_address

VRRP = {
    (block, keyword.name)
    for block, table in (("global_defs", GLOBALS), *TABLES)
    for keyword in table
}
"""These have a table of their own: test_vrrp_keywords.py."""

HEAD = "virtual_server 192.0.2.1 80 {\nprotocol TCP\n"
FRAMES = {
    "global_defs": "global_defs {\n%s\n}\n",
    "SSL": "SSL {\n%s\n}\n",
    "ipvs_sysctls": "global_defs {\nipvs_sysctls {\n%s\n}\n}\n",
    "state_sync": "vrrp_instance A {\ninterface eth0\nvirtual_router_id 3\nvirtual_ipaddress {\n"
    "192.0.2.9/24\n}\n}\nstate_sync {\nexternal\n%s\n}\n",
    "virtual_server": HEAD + "%s\n}\n",
    "real_server": HEAD + "real_server 198.51.100.1 80 {\n%s\n}\n}\n",
    "TCP_CHECK": (HEAD + "real_server 198.51.100.1 80 {\nTCP_CHECK {\n%s\n}\n}\n}\n"),
    "HTTP_GET": (
        HEAD + "real_server 198.51.100.1 80 {\nHTTP_GET {\nurl {\npath /\n}\n%s\n}\n}\n}\n"
    ),
    "SSL_GET": (HEAD + "real_server 198.51.100.1 80 {\nSSL_GET {\nurl {\npath /\n}\n%s\n}\n}\n}\n"),
    **{
        kind: HEAD + "real_server 198.51.100.1 80 {\n" + kind + " {\n%s\n}\n}\n}\n"
        for kind in ("UDP_CHECK", "DNS_CHECK", "SMTP_CHECK", "PING_CHECK")
    },
    "FILE_CHECK": "track_file load {\nfile /x\n}\n"
    + HEAD
    + "real_server 198.51.100.1 80 {\nFILE_CHECK {\n%s\n}\n}\n}\n",
    "host": HEAD + "real_server 198.51.100.1 80 {\nSMTP_CHECK {\nhost {\n%s\n}\n}\n}\n}\n",
    "MISC_CHECK": (HEAD + "real_server 198.51.100.1 80 {\nMISC_CHECK {\n%s\n}\n}\n}\n"),
    "url": (HEAD + "real_server 198.51.100.1 80 {\nHTTP_GET {\nurl {\n%s\n}\n}\n}\n}\n"),
}

GUE = Forwarding(method="TUN", type="gue", port=6080, csum="remcsum")
SCRIPT = Command(argv=("/bin/x", "a b", "c"), user="nobody", group="daemon")
BAD_SECONDS = ("", "2s", "0", "-1", "1e3", "nan", "1.0000001", "99999", "1_0", "٣")
BAD_ZERO = tuple(value for value in BAD_SECONDS if value != "0")
BAD_COUNT = ("", "x", "-1", "1.5", "99999999999", "0x10", "1_0", "٣")
BAD_FLAG = ("maybe", "1", "No")
BAD_SCRIPT = ("", '""', "/bin/x -v", '"/bin/x \'a"', '"> /tmp/x"')

TIMES = [
    ("retry", "3", 3, BAD_COUNT),
    ("delay_before_retry", "0", 0.0, BAD_ZERO),
    ("warmup", "2.25", 2.25, BAD_ZERO),
    ("delay_loop", "10", 10.0, BAD_SECONDS),
    ("flap_damping", "3 60", (3, 60.0), ("", "3", "1 60", "101 60", "3 0", "x 60")),
]
START: list[tuple[str, str, object, tuple[str, ...]]] = [
    ("alpha", "no", False, BAD_FLAG),
    ("log_all_failures", "", True, BAD_FLAG),
]
TIMING = [("connect_timeout", "0.5", 0.5, BAD_SECONDS), *TIMES]
SHARED = [
    *TIMING,
    ("inhibit_on_failure", "", True, BAD_FLAG),
    ("virtualhost", "www.example.com", "www.example.com", ("", '"a b"', "é")),
    ("alpha", "on", True, BAD_FLAG),
]
CHECK = [
    ("connect_ip", "2001:db8::1", parse_address("2001:db8::1"), ("", "host", "192.0.2.1/24")),
    ("connect_port", "81", 81, ("", "0", "65536", "http")),
    ("bindto", "192.0.2.7", parse_address("192.0.2.7"), ("", "host", "192.0.2.1/24")),
    ("bind_port", "1081", 1081, ("", "0", "65536", "http")),
    ("bind_if", "eth1", "eth1", ("", "a/b", "a-name-that-is-too-long")),
    ("fwmark", "7", 7, ("", "0", "-1", "4294967296")),
    *TIMING,
    *START,
]
CONNECTION = [row for row in CHECK if row not in (*TIMES, *START)]
HTTP: list[tuple[str, str, object, tuple[str, ...]]] = [
    *CHECK,
    ("nb_get_retry", "2", 2, BAD_COUNT),
    ("virtualhost", "www.example.com", "www.example.com", ("", '"a b"')),
    ("http_protocol", "1.0C", "1.0C", ("", "1.0c", "2")),
    ("fast_recovery", "", True, BAD_FLAG),
]
BAD_FILE = ("", "x.pem", '""', "${X}")
PROTECTION: list[tuple[str, str, object, tuple[str, ...]]] = [
    ("syn_proxy_mss", "536", 536, ("", "535", "65496", "Auto", "1460b")),
    ("syn_proxy_wscale", "auto", "auto", ("", "15", "-1", "automatic")),
    ("syn_proxy_timestamp", "off", False, BAD_FLAG),
    ("syn_proxy_sack", "", True, BAD_FLAG),
    ("defence_tcp_drop", "vip", "vip", ("VIP", "1", "maybe")),
    ("defence_tcp_drop", "", "yes", ()),
    ("defence_tcp_drop", "off", "no", ()),
    ("defence_udp_drop", "yes", True, BAD_FLAG),
    ("defence_frag_drop", "", True, BAD_FLAG),
]
TABLE: dict[str, list[tuple[str, str, object, tuple[str, ...]]]] = {
    "global_defs": [
        ("router_id", "lvs1", "lvs1", ("", '""', "${X}")),
        ("compat", "keepalived", "keepalived", ("", "Keepalived", "dpvs")),
        ("include_check", "-read match", (("match",),), ("all", "+", "++read")),
        ("warnings_off", "LK0324 lk0328", (("LK0324", "LK0328"),), ("", "x", "LK0324 LK9999")),
        ("control_socket", "0660 adm", (0o660, "adm"), ("", "rw", "0666", "0680", "0660 a/b")),
        ("script_user", "a b", ScriptUser(user="a", group="b"), ("", "/bin/x")),
        ("lvs_manage_sysctls", "no", False, BAD_FLAG),
        ("lvs_keep_on_stop", "yes", True, BAD_FLAG),
        ("syn_flood_rate", "500", 500, ("", "0", "-1", "1k")),
        *PROTECTION,
    ],
    "SSL": [
        ("ca", "/etc/a.pem", "/etc/a.pem", BAD_FILE),
        ("certificate", "/etc/c.pem", "/etc/c.pem", BAD_FILE),
        ("key", "/etc/c.key", "/etc/c.key", BAD_FILE),
        ("password", '"a b"', "a b", ("", '""')),
    ],
    "ipvs_sysctls": [
        ("conntrack", "1", 1, ("", "2", "-1", "yes", "1_0")),
        ("est_nice", "-20", -20, ("-21", "20", "--1", "-")),
        *(
            (one.name, str(one.high), one.high, (str(one.high + 1), str(one.low - 1)))
            for one in SYSCTLS.values()
        ),
    ],
    "state_sync": [
        ("interface", "eth2", "eth2", ("", "a/b", "a-name-that-is-too-long")),
        ("address", "fd99::1", parse_address("fd99::1"), ("", "host", "10.0.0.1/24")),
        ("peer", "10.0.0.2", parse_address("10.0.0.2"), ("", "host")),
        ("multicast", "225.0.0.50", parse_address("225.0.0.50"), ("", "10.0.0.2")),
        ("port", "3781", 3781, ("", "0", "65536")),
        ("follows", "A", "A", ("", '""')),
        ("external", "yes", True, BAD_FLAG),
        ("socket", "/run/x.ctl", "/run/x.ctl", ("", "x.ctl")),
        ("hold", "1.5", 1.5, ("", "2s", "-1", "61")),
    ],
    "virtual_server": [
        ("protocol", "udp", "UDP", ("", "ICMP")),
        ("lb_algo", "mh", "mh", ("", "RR", "conhash", "foo")),
        ("lvs_sched", "twos", "twos", ("", "two")),
        ("lb_kind", "TUN type gue port 6080 remcsum", GUE, ("", "nat", "SNAT", "NAT port 1")),
        ("lvs_method", "DR", Forwarding(method="DR"), ("TUN port", "TUN port 6080", "TUN csum")),
        ("laddr_group_name", "g", "g", ("", '""')),
        ("syn_proxy", "off", False, BAD_FLAG),
        *PROTECTION,
        (
            "laddr_ports",
            "1024-65535",
            (1024, 65535),
            ("", "1024", "1023-2000", "2000-65536", "2000-1999", "-", "1024-", "a-b"),
        ),
        ("ops", "", True, BAD_FLAG),
        ("sh-port", "", True, BAD_FLAG),
        ("sh-fallback", "", True, BAD_FLAG),
        ("mh-port", "", True, BAD_FLAG),
        ("mh-fallback", "", True, BAD_FLAG),
        ("ip_family", "inet6", "inet6", ("", "ipv6")),
        ("persistence_timeout", "", 360, ("0", "x", "2678401")),
        ("persistence_granularity", "255.255.240.0", 20, ("", "0", "129", "255.0.0.1", "0.0.0.0")),
        ("persistence_engine", "sip", "sip", ("", "SIP")),
        ("est_timeout", "900", 900, BAD_COUNT),
        ("establish_timeout", "900", 900, BAD_COUNT),
        *SHARED,
        ("omega", "", True, BAD_FLAG),
        ("quorum", "1", 1, (*BAD_COUNT, "0")),
        ("hysteresis", "0", 0, BAD_COUNT),
        ("quorum_up", "\"/bin/x 'a b' c\" nobody daemon", SCRIPT, BAD_SCRIPT),
        (
            "quorum_down",
            r'"/bin/x a\tb c" a',
            Command(argv=("/bin/x", "a\tb", "c"), user="a"),
            ("'/bin/x a'",),
        ),
        ("weight", "7", 7, BAD_COUNT),
        (
            "sorry_server",
            "198.51.100.9 81",
            SorryServer(address=parse_address("198.51.100.9"), port=81),
            ("", "sorry", "198.51.100.9 65536"),
        ),
        ("sorry_server_inhibit", "", True, BAD_FLAG),
        ("sorry_server_lvs_method", "DR", Forwarding(method="DR"), ("", "FULLNAT")),
        ("ha_suspend", "", True, BAD_FLAG),
        ("smtp_alert", "no", False, BAD_FLAG),
        ("vip_bind_dev", "lo", "lo", ("", "a/b", "longer-than-fifteen")),
    ],
    "real_server": [
        ("weight", "0", 0, BAD_COUNT),
        ("lvs_method", "TUN", Forwarding(method="TUN"), ("", "FULLNAT")),
        ("uthreshold", "9", 9, BAD_COUNT),
        ("lthreshold", "0", 0, BAD_COUNT),
        ("smtp_alert", "", True, BAD_FLAG),
        ("notify_up", '"/bin/x a\\ b c" nobody daemon', SCRIPT, BAD_SCRIPT),
        ("notify_down", '"/bin/x a\\x20b \\143" nobody daemon', SCRIPT, BAD_SCRIPT),
        *SHARED,
    ],
    "TCP_CHECK": CHECK,
    "HTTP_GET": HTTP,
    "SSL_GET": [
        *HTTP,
        ("enable_sni", "", True, BAD_FLAG),
        ("sni_name", "a.example", "a.example", ("", '"a b"')),
        ("tls_compliant", "yes", True, BAD_FLAG),
        ("verify", "yes", True, BAD_FLAG),
        ("ca", "/etc/a.pem", "/etc/a.pem", BAD_FILE),
        ("certificate", '"/etc/a b.pem"', "/etc/a b.pem", BAD_FILE),
        ("key", "/etc/a.key", "/etc/a.key", BAD_FILE),
        ("tls_minimum", "1.2", "1.2", ("", "TLSv1.2", "2")),
        ("expiry_warning", "30", 30, ("", "0", "3651", "x")),
    ],
    "UDP_CHECK": [
        *CHECK,
        ("payload", "0D 0a0b", "0d0a0b", ("", "0", "0x", "0g", "0d0")),
        ("require_reply", "", "", ("0", "0g", "x")),
        ("require_reply", "XX 0a", "xx0a", ()),
        ("min_reply_length", "3", 3, ("", "-1", "65536")),
        ("max_reply_length", "3", 3, ("", "-1", "65536")),
    ],
    "DNS_CHECK": [
        *CHECK,
        ("type", "aaaa", 28, ("", "FOO", "TYPE0", "TYPE65536", "1")),
        ("type", "TYPE65280", 65280, ()),
        (
            "name",
            "www.example.com.",
            "www.example.com.",
            ("", "a..b", "é", f"{'a' * 64}.b", ".".join(["abcdefg"] * 32)),
        ),
        ("type", "Nsec3Param", 51, ("OPT", "AXFR")),
        ("require_answer", "", (), ('""',)),
        ("require_answer", '192.0.2.1 "10 mail."', ("192.0.2.1", "10 mail."), ()),
    ],
    "SMTP_CHECK": [*CHECK, ("helo_name", "lvs1.example", "lvs1.example", ("", '"a b"'))],
    "host": CONNECTION,
    "FILE_CHECK": [
        ("track_file", "load", "load", ("", '""')),
        (
            "weight",
            "-2147483647 reverse",
            FileWeight(weight=-2147483647, reverse=True),
            ("", "x", "2147483648", "1 back"),
        ),
        ("weight", "0 noreverse", FileWeight(weight=0), ()),
        *TIMES,
        *START,
    ],
    "PING_CHECK": [row for row in CHECK if row[0] not in {"connect_port", "bind_port"}],
    "MISC_CHECK": [
        ("misc_path", '"/bin/x a"', Command(argv=("/bin/x", "a")), ("", '""', "/bin/x a")),
        ("misc_timeout", "2.5", 2.5, BAD_SECONDS),
        ("misc_dynamic", "", True, BAD_FLAG),
        ("user", "a b", ScriptUser(user="a", group="b"), ("", "/bin/x")),
        *TIMES,
        *START,
    ],
    "url": [
        ("path", "/a?b=c", "/a?b=c", ("", "a", '"/a b"', "/é", "{{ p }}")),
        ("status_code", "200 301-302", ((200, 200), (301, 302)), ("", "x", "99", "300-200")),
        ("digest", "0" * 31 + "A", "0" * 31 + "a", ("", "0" * 31, "g" * 32)),
        ("virtualhost", "a.example", "a.example", ("",)),
        ("regex", r""" "a b'\\s\." """, r"a b'\s.", ("", '""', "''", "(", "{{ p }}")),
        ("regex", "'^ok'", "^ok", ()),
        ("regex_options", "utf caseless utf", ("utf", "caseless"), ("", "UTF", "utf x")),
        ("regex_no_match", "", True, BAD_FLAG),
        ("regex_min_offset", "0", 0, BAD_COUNT),
        ("regex_max_offset", "9", 9, BAD_COUNT),
    ],
}


NEEDED = {
    "url": ("path", "path /"),
    "MISC_CHECK": ("misc_path", "misc_path /bin/true"),
    "FILE_CHECK": ("track_file", "track_file load"),
}
"""The keyword that a block cannot do without, and how it is given."""


def loaded(block: str, line: str) -> Loaded:
    name, needed = NEEDED.get(block, ("", ""))
    extra = "" if not name or line.startswith(name) else f"\n{needed}"
    text = FRAMES[block] % (line + extra)
    return load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)


def item(config: Config, block: str) -> object:
    if block == "global_defs":
        return config.global_defs
    if block == "ipvs_sysctls":
        return SimpleNamespace(**config.global_defs.ipvs_sysctls)
    if block in {"state_sync", "SSL"}:
        return getattr(config, block.lower())
    server = config.virtual_servers[0]
    if block == "virtual_server":
        return server
    real = server.real_servers[0]
    if block == "real_server":
        return real
    check = real.checks[0]
    inner = {"url": "urls", "host": "hosts"}.get(block)
    return getattr(check, inner)[0] if inner else check


def cases() -> Iterator[tuple[str, str, str, object, tuple[str, ...]]]:
    for block, rows in TABLE.items():
        for row in rows:
            yield (block, *row)


@pytest.mark.parametrize(("block", "name", "good", "value", "bad"), list(cases()))
def test_values(block: str, name: str, good: str, value: object, bad: tuple[str, ...]) -> None:
    found = loaded(block, f"{name} {good}")
    if name == "laddr_group_name":  # the group does not exist, and that is all
        assert [one.code for one in found.errors] == [Code.POOL_UNKNOWN]
    else:
        assert found.config is not None, found.diagnostics
        assert getattr(item(found.config, block), BLOCKS[block][name].key) == value
    for text in bad:
        told = [
            one
            for one in loaded(block, f"{name} {text}").errors
            if one.code in {Code.BAD_VALUE, Code.NO_VALUE, Code.PLACEHOLDER}
        ]
        assert len(told) == 1, (name, text, told)
        assert "%" not in told[0].message


def test_the_table_above_is_complete() -> None:
    served = {
        (block, keyword.name)
        for block, table in BLOCKS.items()
        for keyword in table.values()
        if keyword.status is Status.SERVED and not keyword.block
    }
    assert served - VRRP == {(block, name) for block, name, *_ in cases()}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("virtual_server 192.0.2.1 {\n protocol TCP\n persistence_timeout\n}", None),
        ("virtual_server fwmark 3 {\n}", None),
        ("virtual_server fwmark {\n}", Code.BAD_VALUE),
        ("virtual_server group {\n}", Code.BAD_VALUE),
        ("virtual_server fwmark 0 {\n}", Code.BAD_VALUE),
        ("virtual_server 192.0.2.1 x {\n}", Code.BAD_VALUE),
        ("virtual_server {\n}", Code.NO_VALUE),
        ("local_address_group {\n}", Code.NO_VALUE),
        ("global_defs x {\n}", None),
    ],
)
def test_heads_of_blocks(line: str, code: Code | None) -> None:
    found = load("a.conf", MemoryFiles({"a.conf": line}), allow_empty=True)
    assert [one.code for one in found.errors] == ([code] if code else [])


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        ("198.51.100.10", 1),
        ("198.51.100.10-20", 11),
        ("198.51.100.10-198.51.101.9", 256),
        ("2001:db8::10-1f", 16),
        ("2001:db8::fe-ff", 2),
        ("198.51.100.10-9", None),
        ("198.51.100.10-", None),
        ("198.51.100.10-256", None),
        ("198.51.100.10-1f", None),
        ("198.51.100.10-2001:db8::1", None),
        ("10.0.0.0-10.1.0.0", None),
    ],
)
def test_ranges(entry: str, count: int | None) -> None:
    text = f"local_address_group g {{\n{entry} eth0\n}}\n"
    found = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    if count is None:
        assert [one.code for one in found.errors] == [Code.BAD_VALUE]
    else:
        assert found.config is not None
        (address,) = found.config.local_address_groups[0].addresses
        assert (address.count, address.device) == (count, "eth0")


def test_suggestions() -> None:
    assert suggest("contrack", "ipvs_sysctls") == "conntrack"
    assert suggest("synproxy_mss", "global_defs") == "syn_proxy_mss"
    assert suggest("weigth", "virtual_server") == "weight"
    assert suggest("Real_Server", "virtual_server") == "real_server"
    assert suggest("delay-loop", "virtual_server") == "delay_loop"
    assert suggest("virtualserver", ROOT) == "virtual_server"
    assert not suggest("zzz", ROOT)


def test_every_keyword_is_documented() -> None:
    for table in BLOCKS.values():
        for keyword in table.values():
            assert keyword.doc or keyword.status is Status.NOTED, keyword.name
            assert set(keyword.origin) <= set("KTDL")
