"""What keepalived merely logs: errors, unless it is asked to be as lenient."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.memfiles import MemoryFiles

from lvskeeper.cli.main import main
from lvskeeper.config.codes import Code
from lvskeeper.config.load import Loaded, load
from lvskeeper.errors import ExitStatus

GOOD = """\
global_defs {
    router_id a
    dynamic_interfaces
    %(globals)s
}
vrrp_script S {
    script /bin/true
    %(script)s
}
vrrp_instance A {
    interface eth9
    virtual_router_id 3
    %(instance)s
    virtual_ipaddress { 192.0.2.9/24 }
    track_script { S %(tracked)s }
}
vrrp_instance B {
    interface eth9
    virtual_router_id 4
    virtual_ipaddress { 192.0.2.8/24 }
}
vrrp_sync_group G {
    group { A B %(member)s }
}
virtual_server 192.0.2.1 80 {
    %(protocol)s
    lb_algo rr
    lb_kind NAT
    %(virtual)s
    real_server 198.51.100.1 80 {
        weight 1
        %(real)s
        TCP_CHECK { connect_timeout 3 }
    }
    %(second)s
}
%(root)s
"""
PLACES = ("globals", "script", "instance", "tracked", "member", "virtual", "real", "second", "root")
NOTHING = dict.fromkeys(PLACES, "") | {"protocol": "protocol TCP"}
FAULTS = [
    ("globals", "no_such_thing 3", Code.UNKNOWN),
    ("globals", "priority 3", Code.MISPLACED),
    ("globals", "vrrp_garp_master_delay 2s", Code.BAD_VALUE),
    ("globals", "lvs_flush", Code.REFUSED),
    ("script", "interval 2x", Code.BAD_VALUE),
    ("instance", "priority 300", Code.BAD_VALUE),
    ("instance", "prioritee 100", Code.UNKNOWN),
    ("instance", "state master", Code.BAD_VALUE),
    ("tracked", "\n no_such_script", Code.TRACK_UNKNOWN),
    ("member", "C", Code.MEMBER_UNKNOWN),
    ("protocol", "", Code.NO_PROTOCOL),
    ("virtual", "lb_algo none", Code.BAD_VALUE),
    ("virtual", "quorum none", Code.BAD_VALUE),
    ("virtual", "nonsense { a b\n c }", Code.UNKNOWN),
    ("real", "MISC_CHECK { misc_timeout 3 }", Code.REQUIRED),
    ("real", "weight x", Code.BAD_VALUE),
    ("second", "real_server 198.51.100.1 80 { weight 2 }", Code.SAME_REAL),
    ("second", "real_server host 80 { weight 2 }", Code.BAD_VALUE),
    ("root", "vrrp_script T { interval 3 }", Code.REQUIRED),
    ("root", "include no_such_file", Code.UNREADABLE),
    ("root", "}", Code.BRACE_EXTRA),
]


def read(text: str, *, compat: bool = False) -> Loaded:
    return load("a.conf", MemoryFiles({"a.conf": text}), compat=compat)


def fault(place: str, line: str) -> str:
    return GOOD % (NOTHING | {place: line})


def test_the_file_is_good_without_a_fault() -> None:
    assert read(GOOD % NOTHING).config is not None


@pytest.mark.parametrize(("place", "line", "code"), FAULTS, ids=str)
def test_a_fault_that_is_logged_refuses_the_file_or_is_a_warning(
    place: str, line: str, code: Code
) -> None:
    text = fault(place, line)
    strict = read(text)
    assert code in {one.code for one in strict.errors}, strict.errors
    assert strict.config is None
    assert strict.relaxable
    lenient = read(text, compat=True)
    assert lenient.config is not None, lenient.errors
    assert code in {one.code for one in lenient.warnings}
    assert not lenient.relaxable
    (server,) = lenient.config.virtual_servers
    assert [len(one.checks) for one in server.real_servers] == [1]
    assert lenient.config.vrrp is not None
    assert [one.name for one in lenient.config.vrrp.instances] == ["A", "B"]
    assert [one.group for one in lenient.config.vrrp.groups] == [("A", "B")]
    assert [one.name for one in lenient.config.vrrp.instances[0].track_script] == ["S"]
    assert server.protocol == ("UDP" if place == "protocol" else "TCP")
    in_file = read("global_defs { compat keepalived }\n" + text)
    assert in_file.config is not None
    assert in_file.config.virtual_servers == lenient.config.virtual_servers


@pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived")
@pytest.mark.parametrize(("place", "line", "code"), FAULTS, ids=str)
def test_keepalived_would_start_with_it(place: str, line: str, code: Code, tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(fault(place, line))
    said = subprocess.run(
        ["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False
    )
    # 5: there is something to say, 6: of scripts that root runs; 2 would be the end of it.
    assert said.returncode in {0, 4, 5, 6}, (code, said)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("net_namespace blue\n", Code.REFUSED),
        ("virtual_server 192.0.2.5 80 {\nprotocol TCP\nwaddr_group_name a\n}\n", Code.REFUSED),
        ("virtual_server 192.0.2.1 80 {\nprotocol TCP\n}\n", Code.SAME_VIRTUAL),
        ("include a.conf\n", Code.INCLUDE_LOOP),
        ("vrrp_instance {\n}\n", Code.NO_VALUE),
        ("includem no_such_file\n", Code.UNREADABLE),
    ],
)
def test_what_would_do_harm_stays_an_error(text: str, code: Code) -> None:
    text = GOOD % NOTHING + text
    assert not read(text).relaxable
    lenient = read(text, compat=True)
    assert lenient.config is None
    assert [one.code for one in lenient.errors] == [code]


def test_check_tells_how_to_relax_and_what_it_came_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(fault("instance", "prioritee 100"))
    assert main(["check", str(path)]) == ExitStatus.CONFIG
    assert "--compat keepalived does, too" in capsys.readouterr().out
    assert main(["check", "--compat", "keepalived", str(path)]) == ExitStatus.OK
    assert "warning: unknown keyword 'prioritee'" in capsys.readouterr().out
    assert main(["check", "--compat", "keepalived", "--strict", str(path)]) == ExitStatus.ATTENTION
