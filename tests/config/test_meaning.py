"""What a file comes to, where keepalived, its relatives and a reader may differ."""

from pathlib import Path

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.config.base import Command
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, Severity
from lvskeeper.config.keyword import Status
from lvskeeper.config.keywords import BLOCKS
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.tree import parse_file
from lvskeeper.kernel.files import LocalFiles
from lvskeeper.units import parse_address

NEEDED = "lb_algo rr\nlb_kind NAT\n"
REAL = "real_server 198.51.100.1 80 {\n}\n"


def read(text: str, name: str = "a.conf") -> Loaded:
    return load(name, MemoryFiles({name: text}), allow_empty=True)


def server(body: str, head: str = "192.0.2.1 80", protocol: str = "protocol TCP\n") -> Loaded:
    return read(f"virtual_server {head} {{\n{protocol}{NEEDED}{body}\n}}\n")


def codes(loaded: Loaded) -> list[Code]:
    return [one.code for one in loaded.diagnostics]


def only(loaded: Loaded) -> Diagnostic:
    (found,) = loaded.diagnostics
    return found


def test_the_protocol_is_not_guessed() -> None:
    found = only(server(REAL, protocol=""))
    assert (found.code, found.severity) == (Code.NO_PROTOCOL, Severity.ERROR)
    assert "`protocol TCP` or `protocol UDP`" in found.hint
    assert "keepalived takes UDP" in found.hint


def test_a_mark_has_no_protocol() -> None:
    assert codes(server(REAL, "fwmark 7", protocol="")) == []
    assert codes(server(REAL + "ops", "fwmark 7", protocol="")) == []
    group = "virtual_server_group g {{\nfwmark 7\n{}\n}}\nvirtual_server group g {{\n{}{}}}\n"
    assert codes(read(group.format("", NEEDED, REAL))) == []
    mixed = read(group.format("192.0.2.1 80", NEEDED, REAL))
    assert codes(mixed) == [Code.NO_PROTOCOL]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("198.51.100.1", "198.51.100.1 80", True),
        ("198.51.100.1 0", "198.51.100.1 80", True),
        ("198.51.100.1", "198.51.100.1 81", False),
        ("198.51.100.1 81", "198.51.100.1 80", False),
        ("198.51.100.1", "198.51.100.2 80", False),
    ],
)
def test_a_server_without_a_port_has_that_of_the_service(
    first: str, second: str, *, same: bool
) -> None:
    both = server(f"real_server {first} {{\n}}\nreal_server {second} {{\n}}")
    assert codes(both) == ([Code.SAME_REAL] if same else [])
    sorry = server(f"real_server {first} {{\nTCP_CHECK {{\n}}\n}}\nsorry_server {second}")
    assert codes(sorry) == ([Code.SORRY] if same else [])


def test_every_port_of_a_group_counts() -> None:
    loaded = read(
        "virtual_server_group g {\n192.0.2.1 80\n192.0.2.1 443\n}\n"
        f"virtual_server group g {{\nprotocol TCP\n{NEEDED}"
        "real_server 198.51.100.1 {\n}\nreal_server 198.51.100.1 443 {\n}\n}\n"
    )
    assert only(loaded).message == "the real server 198.51.100.1:443 is named twice"


@pytest.mark.parametrize("name", ["alpha", "omega", "ops", "inhibit_on_failure", "sh-port"])
def test_keepalived_ignores_the_word_behind_a_flag(name: str) -> None:
    found = only(server(REAL + f"{name} off"))
    assert (found.code, found.severity) == (Code.IGNORED_WORD, Severity.WARNING)
    assert found.span.text == "off"
    zero = only(server(REAL + f"{name} 0"))
    assert zero.code is Code.BAD_VALUE
    assert "write no" in zero.hint


def test_flags_that_take_a_word_in_keepalived_are_left_alone() -> None:
    body = "real_server 198.51.100.1 80 {\nalpha off\ninhibit_on_failure no\n}\n"
    assert codes(server(body)) == []
    text = (
        "virtual_servers:\n  - {address: 192.0.2.1, port: 80, protocol: TCP, lb_algo: rr, "
        "lb_kind: NAT, alpha: no, real_servers: [{address: 198.51.100.1}]}\n"
    )
    assert codes(read(text, "a.yaml")) == []


def test_old_keywords_do_not_refuse_the_file() -> None:
    assert codes(server(REAL + "nat_mask 255.255.255.0")) == [Code.NOTED]
    bufs = [
        f"{who}_netlink_{what}_rcv_bufs" for who in ("vrrp", "lvs") for what in ("cmd", "monitor")
    ]
    bufs.append("process_monitor_rcv_bufs")
    names = [
        *bufs, "vrrp_rx_bufs_policy",
        "vrrp_rx_bufs_multiplier", "nftables_ipvs_priority", "nftables_ipvs_start_fwmark",
        "checker_rlimit_rtime", "bfd_rlimit_rtime",
    ]  # fmt: skip
    lines = "\n".join(f"{name} 1" for name in names)
    assert codes(read(f"global_defs {{\n{lines}\n}}\n")) == [Code.NOTED] * len(names)
    assert BLOCKS["global_defs"]["lvs_flush_onstop"].status is Status.REFUSED


@pytest.mark.parametrize("keyword", ["est_timeout", "establish_timeout"])
def test_a_timeout_of_0_is_the_kernels(keyword: str) -> None:
    config = server(REAL + f"{keyword} 0").config
    assert config is not None
    assert config.virtual_servers[0].est_timeout is None


def test_zones_are_refused() -> None:
    found = only(server("real_server fe80::1%eth0 80 {\n}"))
    assert found.code is Code.BAD_VALUE
    assert "zone" in found.hint
    with pytest.raises(ValueError, match="zone"):
        parse_address("fe80::1%eth0")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("quorum 3", [(Code.QUORUM, "it is lowered to 2")]),
        ("quorum 2", []),
        ("hysteresis 1", [(Code.HYSTERESIS, "it is lowered to 0")]),
        ("quorum 2\nhysteresis 1", [(Code.QUORUM, "the quorum is never gained")]),
        ("weight 0", [(Code.QUORUM, "")]),
        ("weight 2\nquorum 3\nhysteresis 1", []),
    ],
)
def test_quorum_and_hysteresis_that_are_used(body: str, told: list[tuple[Code, str]]) -> None:
    loaded = server(f"{REAL}{REAL.replace('100.1', '100.2')}{body}")
    assert [(one.code, one.hint) for one in loaded.diagnostics] == told


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        ("2001:db8::100-1ff 80", 256),
        ("2001:db8::1-2 80", 2),
        ("2001:db8::1-10000 80", None),
        ("192.0.2.1-4 80", 4),
        ("192.0.2.1-256 80", None),
    ],
)
def test_ranges_of_a_virtual_server_group(entry: str, count: int | None) -> None:
    loaded = read(
        f"virtual_server_group g {{\n{entry}\n}}\n"
        f"virtual_server group g {{\nprotocol TCP\n{NEEDED}lb_kind TUN\n{REAL}}}\n"
    )
    if count is None:
        assert Code.BAD_VALUE in codes(loaded)
    else:
        assert loaded.config is not None
        assert loaded.config.virtual_server_groups[0].members[0].count == count


def test_local_addresses_end_in_one_byte() -> None:
    found = read("local_address_group g {\n2001:db8::100-1ff\n}\n").errors
    assert [one.hint for one in found] == ["the last byte in hexadecimal, or an address"]


@pytest.mark.parametrize(
    ("network", "written"),
    [
        ("192.0.2.0/28", "write the range: 192.0.2.0-192.0.2.15"),
        ("2001:db8::/126", "write the range: 2001:db8::-2001:db8::3"),
        ("192.0.2.1/32", "write 192.0.2.1"),
        ("192.0.0.0/16", "a range of at most 4096 addresses, such as 192.0.0.0-LAST"),
    ],
)
def test_a_network_in_a_group_names_the_range(network: str, written: str) -> None:
    (found,) = read(f"virtual_server_group g {{\n{network} 80\n}}\n").errors
    assert found.hint == written
    if written.startswith("write"):
        entry = written.rpartition(" ")[2]
        assert not read(f"virtual_server_group g {{\n{entry} 80\n}}\n").errors


@pytest.mark.parametrize(
    "line",
    [
        "quorum_up \"/bin/sh -c 'echo $HOME ${X}'\" nobody",
        'quorum_up "/bin/x {{ y }}" nobody',
        'quorum_up "/opt/$x/run" nobody',
        "virtualhost $x.example.com",
    ],
)
def test_a_placeholder_within_a_value_is_only_a_warning(line: str) -> None:
    found = only(server(REAL + line))
    assert (found.code, found.severity) == (Code.PLACEHOLDER_PART, Severity.WARNING)


@pytest.mark.parametrize("word", ["$CMD", "${CMD}", "{{ cmd }}", '"<% cmd %>"', "@CMD@"])
def test_a_word_that_is_a_placeholder_is_an_error(word: str) -> None:
    assert codes(server(REAL + f"virtualhost {word}")) == [Code.PLACEHOLDER]


def test_many_openings_of_a_template_take_no_time() -> None:
    word = "<%" * 30_000
    assert codes(server(REAL + f'quorum_up "{word}"')) == [Code.BAD_VALUE]
    assert codes(server(REAL + f'quorum_up "/bin/x {word}" nobody')) == []


def test_a_virtual_server_with_slow_checks_is_told_once() -> None:
    reals = "".join(
        f"real_server 198.51.100.{n} 80 {{\nTCP_CHECK {{\n}}\n}}\n" for n in range(1, 9)
    )
    found = only(server(f"delay_loop 2\nconnect_timeout 3\n{reals}"))
    assert found.code is Code.SLOW_CHECK
    assert found.span.text == "3"


def test_every_url_of_a_check_takes_its_time() -> None:
    urls = "url {\npath /a\n}\nurl {\npath /b\n}\n"
    check = f"real_server 198.51.100.1 80 {{\nHTTP_GET {{\nconnect_timeout 3\n{urls}}}\n}}\n"
    assert codes(server(f"delay_loop 6\n{check}")) == []
    assert "may take 6 s" in only(server(f"delay_loop 5\n{check}")).message


def test_two_groups_that_would_have_one_name() -> None:
    text = (
        'virtual_server_group web {\n192.0.2.1 80\n}\nvirtual_server_group "web udp" {\n'
        "192.0.2.2 80\n}\n"
        f"virtual_server group web {{\nprotocol UDP\n{NEEDED}{REAL}}}\n"
        f'virtual_server group "web udp" {{\nprotocol TCP\n{NEEDED}{REAL}}}\n'
    )
    found = only(read(text))
    assert (found.code, found.span.text) == (Code.SAME_LABEL, '"web udp"')
    assert read(text.replace("protocol UDP", "protocol TCP")).config is not None


def test_the_family_of_a_mark_in_a_mixed_group() -> None:
    text = (
        "virtual_server_group g {\n192.0.2.1 80\nfwmark 7\n}\n"
        f"virtual_server group g {{\nprotocol TCP\n{NEEDED}{REAL}}}\n"
        f"virtual_server fwmark 7 {{\n{NEEDED}ip_family inet\n{REAL}}}\n"
    )
    assert codes(read(text)) == [Code.SAME_VIRTUAL]
    other = REAL.replace("198.51.100.1", "2001:db8::1")
    text = text.replace(f"ip_family inet\n{REAL}", f"ip_family inet6\n{other}")
    assert codes(read(text)) == []


def test_a_nul_in_the_name_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("include b\0c\ninclude *\0c\n")
    assert codes(load(str(path), LocalFiles())) == [Code.NUL]
    tree = parse_file(str(path), LocalFiles())
    told = [one.message for one in tree.diagnostics]
    assert sum("the name holds a NUL character" in message for message in told) == 2


def test_braces_that_stand_for_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(f"include {'{a,b}' * 40}\n")
    found = only(load(str(path), LocalFiles()))
    assert found.code is Code.UNREADABLE
    assert "more than 1000" in found.message


def test_a_quoted_brace_is_an_unknown_keyword() -> None:
    assert codes(read('"{" {\na b\n}\n')) == [Code.UNKNOWN]
    assert codes(read("{\na b\n}\n")) == [Code.BRACE_STRAY]
    assert codes(read('"{": x\n', "a.yaml")) == [Code.UNKNOWN]


def test_merge_keys_have_a_hint() -> None:
    found = only(read("global_defs:\n  <<: {router_id: a}\n", "a.yaml"))
    assert (found.code, found.span.text) == (Code.YAML_SHAPE, "<<")
    assert "include" in found.hint


@pytest.mark.parametrize(
    "line", [r'quorum_up "/bin/run \"a b\""', r'quorum_up "/bin/run \"a\" x" nobody']
)
def test_an_escaped_quote_in_a_command(line: str) -> None:
    (found,) = server(REAL + line).errors
    assert r"\"" in found.message
    assert found.hint == "use single quotes within the double ones: \"/path/script 'an arg'\""


def test_of_two_commands_the_first_counts_as_in_keepalived() -> None:
    found = server(REAL + "quorum_up /bin/a nobody\nquorum_up /bin/b nobody\n")
    assert only(found).code is Code.TWICE
    assert found.config is not None
    assert found.config.virtual_servers[0].quorum_up == Command(argv=("/bin/a",), user="nobody")
    assert "the first one counts" in only(found).message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("global_defs {\nrouter_id x \\\n y\n}\n", "lines cannot be continued"),
        ("$A =x\n", "no blank before its '=': $A=x"),
        ("global_defs {\nrouter_id 'a b'\n}\n", "only double quotes"),
    ],
)
def test_a_habit_from_another_language_is_named(text: str, hint: str) -> None:
    assert any(hint in one.hint for one in read(text).diagnostics)
