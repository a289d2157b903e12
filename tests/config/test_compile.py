import msgspec
import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.load import load
from lvskeeper.config.model import Config, GroupMember, VirtualServer, VirtualServerGroup
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.roles import DirectorSpec, Fifo, LocalAddressSpec, Script, TunnelSpec
from lvskeeper.health.spec import (
    CheckKind,
    CheckSpec,
    Dns,
    FileNumber,
    Host,
    HttpVersion,
    QuorumSpec,
    Regex,
    ScriptRun,
    Smtp,
    Source,
    Tls,
    Udp,
    Url,
)
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceFlag, ServiceKey, TunnelType
from lvskeeper.units import parse_address as addr


def compiled(text: str) -> DirectorSpec:
    loaded = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    assert loaded.config is not None, loaded.diagnostics
    return compile_director(loaded.config)


def server(body: str, head: str = "192.0.2.1 80") -> str:
    protocol = "" if head.startswith("fwmark") or "protocol" in body else "protocol TCP\n"
    return f"virtual_server {head} {{\n{protocol}{body}\n}}\n"


def test_global_settings() -> None:
    assert compiled("") == DirectorSpec()
    spec = compiled(
        "global_defs {\nrouter_id a\nlvs_manage_sysctls no\n}\nglobal_defs {\nlvs_keep_on_stop\n}"
    )
    assert (spec.router_id, spec.manage_sysctls, spec.keep_on_stop) == ("a", False, True)


def test_pools_are_expanded_and_keep_their_order() -> None:
    spec = compiled(
        "local_address_group g {\n198.51.100.254-255\n198.51.100.254 eth0\n2001:db8::f-10 eth1\n}"
    )
    assert spec.pools[0].addresses == (
        LocalAddressSpec(addr("198.51.100.254"), "eth0"),
        LocalAddressSpec(addr("198.51.100.255")),
        LocalAddressSpec(addr("2001:db8::f"), "eth1"),
        LocalAddressSpec(addr("2001:db8::10"), "eth1"),
    )


def test_a_group_gives_many_keys() -> None:
    spec = compiled(
        "virtual_server_group web {\n192.0.2.1-2 80\nfwmark 7\nfwmark 8 inet6\n}\n"
        + server("protocol UDP\nreal_server 198.51.100.1 80 {\n}", "group web")
    )
    (one,) = spec.virtual_servers
    assert one.name == "group web udp"
    assert one.keys == (
        ServiceKey(Family.INET, Protocol.UDP, addr("192.0.2.1"), 80),
        ServiceKey(Family.INET, Protocol.UDP, addr("192.0.2.2"), 80),
        ServiceKey(Family.INET, Protocol.TCP, fwmark=7),
        ServiceKey(Family.INET6, Protocol.TCP, fwmark=8),
    )


def test_the_family_of_a_mark() -> None:
    real = "real_server 2001:db8::1 80 {\n}"
    for body, family in (
        (real, Family.INET6),
        ("ip_family inet", Family.INET),
        ("ip_family inet6", Family.INET6),
        ("", Family.INET),
    ):
        (one,) = compiled(server(body, "fwmark 7")).virtual_servers
        assert one.keys == (ServiceKey(family, Protocol.TCP, fwmark=7),)
        assert one.prefix == family.host_prefix
        assert one.name == str(one.keys[0])


def test_flags_and_persistence() -> None:
    def one(body: str) -> tuple[ServiceFlag, int, int, str]:
        (found,) = compiled(server(body)).virtual_servers
        return (found.flags, found.persistence, found.prefix, found.engine)

    persistent = ServiceFlag.PERSISTENT
    assert one("") == (ServiceFlag(0), 0, 32, "")
    assert one("persistence_timeout 60") == (persistent, 60, 32, "")
    assert one("persistence_granularity 255.255.255.0") == (persistent, 360, 24, "")
    assert one("persistence_engine sip") == (persistent, 360, 32, "sip")
    assert one("ops")[0] is ServiceFlag.ONE_PACKET
    assert one("lb_algo sh\nsh-port")[0] is ServiceFlag.SCHED_2
    assert one("lb_algo mh\nmh-fallback\nmh-port")[0] == ServiceFlag.SCHED_1 | ServiceFlag.SCHED_2
    assert one("lb_algo rr\nmh-port")[0] == ServiceFlag(0)


def test_forwarding_methods() -> None:
    spec = compiled(
        "local_address_group g {\n198.51.100.9\n}\n"
        + server(
            "lb_kind FNAT\nladdr_group_name g\nest_timeout 9\n"
            "real_server 198.51.100.1 80 {\n}\n"
            "real_server 198.51.100.2 80 {\nlvs_method TUN type gue port 6080 csum\n}\n"
            "sorry_server 198.51.100.3"
        )
    )
    (one,) = spec.virtual_servers
    assert (one.pool, one.established) == ("g", 9)
    first, second = one.real_servers
    assert (first.forward, first.tunnel) == (Forward.FULLNAT, TunnelSpec())
    assert (second.forward, second.tunnel) == (Forward.TUN, TunnelSpec(TunnelType.GUE, 6080, 1))
    assert one.sorry_server is not None
    assert (one.sorry_server.forward, one.sorry_server.port) == (Forward.FULLNAT, 0)


def test_defaults_of_the_kinds_of_checks() -> None:
    (one,) = compiled(
        server(
            "real_server 198.51.100.1 {\nTCP_CHECK {\n}\nHTTP_GET {\nurl {\npath /\n}\n}\n}",
        )
    ).virtual_servers
    address = addr("198.51.100.1")
    assert one.real_servers[0].checks == (
        CheckSpec(CheckKind.TCP, address, 80, 5.0, 60.0, 1, 1.0, 0.0),
        CheckSpec(CheckKind.HTTP, address, 80, 5.0, 60.0, 1, 3.0, 0.0, urls=(Url(),)),
    )


def test_the_innermost_value_counts() -> None:
    outer = "retry 1\ndelay_before_retry 1\nconnect_timeout 1\nwarmup 1\ndelay_loop 11\nalpha\n"
    middle = "retry 2\ndelay_before_retry 2\nconnect_timeout 2\nwarmup 2\ndelay_loop 12\nalpha no\n"
    inner = "retry 0\ndelay_before_retry 0\nconnect_timeout 3\nwarmup 0\ndelay_loop 13\nalpha\n"

    def check(virtual: str, real: str, own: str) -> tuple[object, ...]:
        body = f"{virtual}real_server 198.51.100.1 81 {{\n{real}TCP_CHECK {{\n{own}}}\n}}"
        (one,) = compiled(server(body)).virtual_servers[0].real_servers[0].checks
        return (
            one.retry, one.delay_before_retry, one.connect_timeout, one.warmup, one.delay_loop,
            one.alpha, one.port,
        )  # fmt: skip

    assert check(outer, "", "") == (1, 1.0, 1.0, 1.0, 11.0, True, 81)
    assert check(outer, middle, "") == (2, 2.0, 2.0, 2.0, 12.0, False, 81)
    assert check(outer, middle, inner) == (0, 0.0, 3.0, 0.0, 13.0, True, 81)
    assert check("", "", "delay_loop 9\nconnect_port 99\n")[3:] == (0.0, 9.0, False, 99)


def test_real_servers_inherit() -> None:
    (one,) = compiled(
        server(
            "weight 3\ninhibit_on_failure\nalpha\n"
            "real_server 198.51.100.1 80 {\n}\n"
            "real_server 198.51.100.2 80 {\nweight 0\ninhibit_on_failure no\nalpha no\n}"
        )
    ).virtual_servers
    first, second = one.real_servers
    assert (first.weight, first.inhibit_on_failure, first.alpha) == (3, True, True)
    assert (second.weight, second.inhibit_on_failure, second.alpha) == (0, False, False)


def test_hosts_of_urls() -> None:
    body = (
        "virtualhost vs\nreal_server 198.51.100.1 80 {\n%s\nHTTP_GET {\n%s\n"
        "url {\npath /\n}\nurl {\npath /a\nvirtualhost url\nstatus_code 204\n}\n}\n}"
    )

    def hosts(real: str, check: str) -> list[str]:
        (one,) = compiled(server(body % (real, check))).virtual_servers[0].real_servers[0].checks
        assert one.urls[1] == Url("/a", ((204, 204),), "", "url")
        return [url.virtualhost for url in one.urls]

    assert hosts("", "") == ["vs", "url"]
    assert hosts("virtualhost rs", "") == ["rs", "url"]
    assert hosts("virtualhost rs", "virtualhost check") == ["check", "url"]


def checks_of(body: str) -> tuple[CheckSpec, ...]:
    """Return the checks of a real server at 198.51.100.1:80, after a way through JSON."""
    spec = compiled(server(f"protocol TCP\nreal_server 198.51.100.1 80 {{\n{body}\n}}"))
    carried = msgspec.json.decode(msgspec.json.encode(spec), type=DirectorSpec)
    assert carried == spec
    return carried.virtual_servers[0].real_servers[0].checks


def test_where_checks_connect_to_and_come_from() -> None:
    body = "connect_ip 2001:db8::1\nconnect_port 81\nbindto 2001:db8::9\nbind_port 99\nbind_if eth1"
    url = "url {\npath /\n}\n"
    found = checks_of(f"TCP_CHECK {{\n{body}\nfwmark 7\n}}\nSSL_GET {{\n{url}{body}\nfwmark 7\n}}")
    source = Source(addr("2001:db8::9"), 99, "eth1", 7)
    for one in found:
        assert (one.address, one.port, one.source) == (addr("2001:db8::1"), 81, source)
    assert [one.kind for one in found] == [CheckKind.TCP, CheckKind.SSL]


def test_ssl_get() -> None:
    (one,) = checks_of(
        "SSL_GET {\nhttp_protocol 1.1\nvirtualhost www.example.com:8443\nverify\nca /ca\n"
        "certificate /c\nkey /k\ntls_minimum 1.2\ntls_compliant\nexpiry_warning 30\n"
        "url {\npath /\nregex ok\nregex_options caseless utf\nregex_no_match\n"
        "regex_min_offset 3\nregex_max_offset 9\n}\n"
        "url {\npath /b\nvirtualhost [2001:db8::1]:443\n}\n}"
    )
    assert one.tls == Tls(True, "/ca", "/c", "/k", minimum="1.2", strict_close=True, expiry=30)
    assert (one.http_version, one.delay_before_retry) == (HttpVersion.V11, 3.0)
    first, second = one.urls
    assert first.regex == Regex("ok", ("caseless", "utf"), forbidden=True, first=3, last=9)
    assert (first.virtualhost, first.sni) == ("www.example.com:8443", "www.example.com")
    assert (second.virtualhost, second.sni) == ("[2001:db8::1]:443", "2001:db8::1")


def test_damping_comes_from_the_innermost_block_that_gives_it() -> None:
    spec = compiled(
        server(
            "flap_damping 3 60\nreal_server 198.51.100.1 80 {\nTCP_CHECK {\n}\n"
            "TCP_CHECK {\nflap_damping 5 10\n}\n}\n"
            "real_server 198.51.100.2 80 {\nflap_damping 4 9\nTCP_CHECK {\n}\n}"
        )
    )
    one, two = spec.virtual_servers[0].real_servers
    assert [check.damping for check in one.checks] == [(3, 60.0), (5, 10.0)]
    assert two.checks[0].damping == (4, 9.0)
    assert checks_of("TCP_CHECK {\n}")[0].damping is None


def test_ssl_get_takes_files_from_ssl_where_it_names_none() -> None:
    files = "SSL {\nca /ca\ncertificate /c\nkey /k\npassword 'a b'\n}\n".replace("'", '"')
    url = "url {\npath /\n}\n"
    spec = compiled(
        files
        + server(
            f"real_server 198.51.100.1 80 {{\nSSL_GET {{\n{url}}}\n"
            f"SSL_GET {{\n{url}verify\nca /ca2\ncertificate /c2\n}}\n}}"
        )
    )
    first, second = spec.virtual_servers[0].real_servers[0].checks
    assert first.tls == Tls(ca="/ca", certificate="/c", key="/k", password="a b")
    assert second.tls == Tls(verify=True, ca="/ca2", certificate="/c2")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", ""),
        ("virtualhost a.example", ""),
        ("virtualhost a.example\nenable_sni", "a.example"),
        ("virtualhost a.example\nsni_name b.example", "b.example"),
        ("enable_sni", ""),
    ],
)
def test_names_that_tls_asks_for(words: str, name: str) -> None:
    (one,) = checks_of(f"SSL_GET {{\n{words}\nurl {{\npath /\n}}\n}}")
    assert [url.sni for url in one.urls] == [name]


def test_misc_check() -> None:
    spec = compiled(
        "global_defs {\nscript_user nobody nogroup\n}\n"
        + server("delay_loop 7\nreal_server 198.51.100.1 80 {\n"
                 'MISC_CHECK {\nmisc_path "/bin/x a"\n}\n'
                 "MISC_CHECK {\nmisc_path /bin/y\nmisc_timeout 3\nmisc_dynamic\nuser a b\nretry 2\n"
                 "}\n}")
    )  # fmt: skip
    first, second = spec.virtual_servers[0].real_servers[0].checks
    assert first.script == ScriptRun(("/bin/x", "a"), "nobody", "nogroup")
    assert (first.connect_timeout, first.retry, first.delay_before_retry) == (7.0, 0, 1.0)
    assert second.script == ScriptRun(("/bin/y",), "a", "b", dynamic=True)
    assert (second.connect_timeout, second.retry, second.weighs) == (3.0, 2, True)
    assert [str(one) for one in (first, second)] == ["MISC_CHECK /bin/x a", "MISC_CHECK /bin/y"]
    assert first.longest > 7
    secure = compiled(
        "global_defs {\nenable_script_security\n}\n"
        + server("real_server 198.51.100.1 80 {\nMISC_CHECK {\nmisc_path /bin/x\n}\n}")
    )
    (third,) = secure.virtual_servers[0].real_servers[0].checks
    assert third.script == ScriptRun(("/bin/x",), secure=True)


def test_udp_and_dns_checks() -> None:
    plain, reply, soa, other = checks_of(
        "delay_loop 9\nUDP_CHECK {\n}\n"
        "UDP_CHECK {\npayload 0d0a\nrequire_reply 0x xf ff\nmin_reply_length 4\n"
        "max_reply_length 8\n}\n"
        "DNS_CHECK {\n}\nDNS_CHECK {\ntype MX\nname example.com\nretry 1\n"
        "delay_before_retry 2\n}"
    )
    assert plain.udp == Udp()
    assert (plain.retry, plain.delay_before_retry) == (1, 1.0)
    assert reply.udp == Udp(
        b"\r\n",
        require_reply=True,
        reply=b"\x00\x0f\xff",
        mask=b"\xf0\x0f\xff",
        shortest=4,
        longest=8,
    )
    assert (soa.dns, soa.retry, soa.delay_before_retry) == (Dns(), 3, 9.0)
    assert other.dns == Dns("example.com", 15)
    assert (other.retry, other.delay_before_retry) == (1, 2.0)


def test_smtp_check() -> None:
    plain, hosts = checks_of(
        "SMTP_CHECK {\n}\n"
        "SMTP_CHECK {\nhelo_name lvs1.example\nconnect_port 25\nconnect_timeout 3\n"
        "bindto 192.0.2.9\n"
        "host {\nconnect_ip 198.51.100.7\n}\n"
        "host {\nconnect_port 587\nconnect_timeout 1\nbindto 192.0.2.8\nbind_port 9\n"
        "bind_if eth1\nfwmark 7\n}\n}"
    )  # fmt: skip
    assert plain.smtp == Smtp()
    assert (plain.port, plain.longest) == (80, 5.0)
    assert hosts.smtp == Smtp(
        "lvs1.example",
        (
            Host(addr("198.51.100.7"), 25, 3.0, Source(addr("192.0.2.9"))),
            Host(addr("198.51.100.1"), 587, 1.0, Source(addr("192.0.2.8"), 9, "eth1", 7)),
        ),
    )
    assert hosts.longest == 4.0


def test_ping_check_has_no_port_and_needs_none() -> None:
    spec = compiled(
        server(
            "protocol TCP\npersistence_timeout\nreal_server 198.51.100.1 {\n"
            "PING_CHECK {\nconnect_ip 2001:db8::1\n}\n}",
            "192.0.2.1",
        )
    )
    (one,) = spec.virtual_servers[0].real_servers[0].checks
    assert (one.kind, one.port, one.retry) == (CheckKind.PING, 0, 1)
    assert str(one) == "PING_CHECK 2001:db8::1"


def test_file_check() -> None:
    spec = compiled(
        "track_file a {\nfile /run/a\nweight 3 reverse\ninit_file 7 overwrite\n}\n"
        "track_file b {\nfile /run/b\n}\n"
        + server(
            "delay_loop 7\nreal_server 198.51.100.1 80 {\nFILE_CHECK {\ntrack_file a\n}\n"
            "FILE_CHECK {\ntrack_file a\nweight 0 noreverse\n}\n"
            "FILE_CHECK {\ntrack_file b\n}\n}"
        )
    )
    first, second, third = spec.virtual_servers[0].real_servers[0].checks
    assert first.file == FileNumber("/run/a", 3, reverse=True, initial=7, overwrite=True)
    assert second.file == FileNumber("/run/a", 0, initial=7, overwrite=True)
    assert third.file == FileNumber("/run/b")
    assert [one.weighs for one in (first, second, third)] == [True, False, True]
    assert (third.retry, third.delay_loop, str(third)) == (0, 7.0, "FILE_CHECK /run/b")


def test_scripts_run_as_whom_they_name_or_as_the_script_user() -> None:
    (one,) = compiled(
        "global_defs {\nscript_user nobody nogroup\n}\n"
        + server('quorum 2\nhysteresis 1\nweight 3\nquorum_up "/bin/x a" operator\n'
                 'quorum_down /bin/y\nreal_server 198.51.100.1 80 {\nnotify_up /bin/z\n}')
    ).virtual_servers  # fmt: skip
    assert one.quorum == QuorumSpec(2, 1)
    assert one.quorum_up == Script(("/bin/x", "a"), "operator")
    assert one.quorum_down == Script(("/bin/y",), "nobody", "nogroup")
    assert one.real_servers[0].notify_up == Script(("/bin/z",), "nobody", "nogroup")
    assert one.real_servers[0].notify_down is None


def test_a_check_on_a_group_takes_its_first_port() -> None:
    (one,) = compiled(
        "virtual_server_group web {\n192.0.2.1 80\n192.0.2.1 443\n}\n"
        + server("real_server 198.51.100.1 {\nTCP_CHECK {\n}\n}", "group web")
    ).virtual_servers
    assert one.real_servers[0].checks[0].port == 80


def test_a_group_of_marks_served_over_both_families_has_two_names() -> None:
    marks = "virtual_server_group marks {\nfwmark 7\n}\n"
    block = "ip_family {}\nreal_server {} 80 {{\n}}\n"
    spec = compiled(
        marks
        + server(block.format("inet", "198.51.100.1"), "group marks")
        + server(block.format("inet6", "2001:db8::1"), "group marks")
    )
    assert [one.name for one in spec.virtual_servers] == ["group marks", "group marks inet6"]


def test_two_names_that_lint_should_have_refused_are_no_specification() -> None:
    def group(name: str, last: int) -> VirtualServerGroup:
        member = GroupMember(address=addr(f"192.0.2.{last}"), port=80)
        return VirtualServerGroup(name=name, members=(member,))

    config = Config(
        virtual_server_groups=(group("web", 1), group("web udp", 2)),
        virtual_servers=(
            VirtualServer(group="web", protocol="UDP"),
            VirtualServer(group="web udp", protocol="TCP"),
        ),
    )
    with pytest.raises(ValueError, match="both called group web udp"):
        compile_director(config)


def test_who_is_told_of_real_and_virtual_servers() -> None:
    head = (
        "global_defs {\nscript_user root\nnotify_fifo /run/all\nnotify_fifo_script /bin/a\n"
        "lvs_notify_fifo /run/lvs bin\nvrrp_notify_fifo /run/vrrp\nrs_init_notifies\n"
        "smtp_server 192.0.2.25\nnotification_email {\na@b.example\n}\nsmtp_alert_checker\n}\n"
        "vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\n"
        "virtual_ipaddress {\n192.0.2.1\n}\n"
        "}\n"
    )
    loaded = load("a.conf", MemoryFiles({"a.conf": head + server("real_server 192.0.2.9 80 { }")}))
    assert loaded.config is not None
    spec, router = compile_director(loaded.config), compile_router(loaded.config)
    assert router is not None
    reader = Script(("/bin/a",), "root")
    assert spec.fifos == (Fifo("/run/all", "root", reader=reader), Fifo("/run/lvs", "bin"))
    # One of the two that write to the general pipe has its reader.
    assert router.fifos == (Fifo("/run/all", "root"), Fifo("/run/vrrp", "root"))
    assert (spec.mail.server, spec.mail.recipients) == ("192.0.2.25", ("a@b.example",))
    assert (spec.init_notifies, spec.virtual_servers[0].mail) == (True, True)


def test_virtual_addresses_on_this_host() -> None:
    group = "virtual_server_group g {\n192.0.2.1-2 80\n192.0.2.1 81\nfwmark 7\n}\n"
    one = compiled(group + server("vip_bind_dev lo\nha_suspend", "group g")).virtual_servers[0]
    assert one.addresses == (addr("192.0.2.1"), addr("192.0.2.2"))
    # The address would wait for the quorum, and the checks for the address.
    assert (one.vip_device, one.suspends) == ("lo", False)
    assert compiled(server("ha_suspend")).virtual_servers[0].suspends


def test_a_sorry_server_has_its_own_method_and_may_stay() -> None:
    body = "lb_kind NAT\nsorry_server 192.0.2.8\nsorry_server_lvs_method DR\nsorry_server_inhibit"
    sorry = compiled(server(body)).virtual_servers[0].sorry_server
    assert sorry is not None
    assert (sorry.forward, sorry.inhibit_on_failure) == (Forward.DR, True)
