"""What is allowed and seldom meant: each finding, and a file that has no reason for it."""

from pathlib import Path

import pytest
from support.memfiles import MemoryFiles, MemoryHost

from lvskeeper.cli.main import main
from lvskeeper.config.codes import Code
from lvskeeper.config.load import Loaded, load
from lvskeeper.daemon.local_host import LocalHost
from lvskeeper.errors import ExitStatus

HOST = MemoryHost(["eth0", "eth1"], {"/bin/no": "/bin/no does not exist"}, speed=10)
SAFE = "global_defs {\nscript_user nobody\n%s\n}\n"
SCRIPT = "vrrp_script S {\nscript /bin/true\n%s\n}\n"
INSTANCE = (
    "vrrp_instance %s {\ninterface eth0\nvirtual_router_id %d\n%s\n"
    "virtual_ipaddress { 192.0.2.%d/24 }\n}\n"
)
VIRTUAL = (
    "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_algo rr\nlb_kind NAT\n%s\n"
    "real_server 198.51.100.1 80 {\n%s\n}\n}\n"
)


def instance(name: str, number: int, line: str = "") -> str:
    return INSTANCE % (name, number, line, number)


def codes(text: str, host: MemoryHost | None = None, exposed: str = "") -> list[Code]:
    return [one.code for one in read(text, host, exposed).diagnostics]


def read(text: str, host: MemoryHost | None = None, exposed: str = "") -> Loaded:
    return load("a.conf", MemoryFiles({"a.conf": text}, exposed=[exposed]), host=host)


TRACKED = SCRIPT + instance("A", 1, "track_script {\nS%s\n}\n%s")
PASS = instance("A", 1, "authentication {\nauth_type PASS\nauth_pass x\n}")
PAIR = instance("A", 1, "%s") + instance("B", 2, "%s") + "vrrp_sync_group G { group { A B } }\n"
MANY = "".join(instance(f"I{number}", number, "version 3\nadvert_int %s") for number in (1, 2))


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        (Code.SEMICOLON, SAFE % "router_id a;" + PASS, SAFE % 'router_id "a;b"' + PASS),
        (
            Code.SCRIPT_SECURITY,
            VIRTUAL % ("quorum_up /bin/true", ""),
            VIRTUAL % ('quorum_up "/bin/true" nobody', ""),
        ),
        (
            Code.SCRIPT_SECURITY,
            VIRTUAL % ("", "MISC_CHECK {\nmisc_path /bin/true\n}"),
            VIRTUAL % ("", "MISC_CHECK {\nmisc_path /bin/true\nuser nobody\n}"),
        ),
        (
            Code.STICKS,
            VIRTUAL % ("persistence_timeout 9", "inhibit_on_failure"),
            VIRTUAL % ("persistence_timeout 9", "inhibit_on_failure")
            + SAFE % "ipvs_sysctls { expire_quiescent_template 1 }",
        ),
        (
            Code.PING_PONG,
            SAFE % "" + TRACKED % ("", "", "priority 9"),
            SAFE % "" + TRACKED % ("rise 2", "", "priority 9"),
        ),
        (
            Code.PING_PONG,
            SAFE % "" + TRACKED % ("", "", "preempt"),
            SAFE % "" + TRACKED % ("", "", "nopreempt"),
        ),
        (
            Code.WEIGHT,
            SAFE % "" + TRACKED % ("rise 2\nweight 5", "", "priority 250"),
            SAFE % "" + TRACKED % ("rise 2\nweight 4", "", "priority 250"),
        ),
        (Code.GROUP_DIFFERS, PAIR % ("state MASTER\npriority 9", "priority 9"), PAIR % ("", "")),
        (
            Code.GROUP_DIFFERS,
            PAIR % ("nopreempt", ""),
            PAIR % ("nopreempt", "nopreempt"),
        ),
        (
            Code.SLOW_ANNOUNCE,
            SAFE % "vrrp_garp_interval 2" + instance("A", 1),
            SAFE % "vrrp_garp_interval 0.1" + instance("A", 1),
        ),
    ],
)
def test_a_finding_and_its_cure(code: Code, bad: str, good: str) -> None:
    assert code in codes(bad)
    assert code not in codes(good)
    assert read(bad).config is not None


def test_a_secret_is_told_where_others_can_read_it() -> None:
    assert Code.CLEAR_PASSWORD in codes(PASS, exposed="a.conf")
    assert codes(PASS) == []
    hmac = instance("A", 1, f"auth_hmac {{\nkey 1 {'k' * 40}\n}}")
    assert Code.CLEAR_PASSWORD in codes(hmac, exposed="a.conf")
    tls = "SSL {\npassword x\n}\n" + VIRTUAL % ("", "")
    assert Code.CLEAR_PASSWORD in codes(tls, exposed="a.conf")
    assert Code.CLEAR_PASSWORD not in codes(instance("A", 1), exposed="a.conf")


def test_many_adverts_are_told_of_a_router_and_of_a_slow_link() -> None:
    assert codes(MANY % ("0.01", "0.01"), HOST) == [Code.MANY_ADVERTS]
    assert codes(MANY % ("0.01", "0.1"), HOST) == []
    lots = "".join(
        f"vrrp_instance I{number} {{\ninterface e{number % 200}\nvirtual_router_id {number + 1}\n"
        f"version 3\nadvert_int 0.01\nvirtual_ipaddress {{ 10.0.0.{number + 1}/24 }}\n}}\n"
        for number in range(26)
    )
    assert codes(lots) == [Code.MANY_ADVERTS]


def test_an_interface_that_is_missing_refuses_the_file_unless_they_are_dynamic() -> None:
    text = instance("A", 1).replace("eth0", "eth9")
    refused = read(text, HOST)
    assert [one.code for one in refused.errors] == [Code.NO_DEVICE]
    assert "eth0" in refused.errors[0].hint
    lenient = read("global_defs {\ndynamic_interfaces\n}\n" + text, HOST)
    assert [one.code for one in lenient.warnings] == [Code.NO_DEVICE]
    assert lenient.config is not None
    assert read(text).config is not None  # nobody looks


@pytest.mark.parametrize(
    "text",
    [
        instance("A", 1, "track_interface {\neth9\n}"),
        instance("A", 1) + "garp_group {\ngarp_interval 1\ninterfaces { eth0 eth9 }\n}\n",
        VIRTUAL % ("vip_bind_dev eth9", ""),
        "local_address_group g {\n198.51.100.9 eth9\n}\n"
        + VIRTUAL.replace("NAT", "FNAT") % ("laddr_group_name g", ""),
        instance("A", 1)
        + "state_sync {\ninterface eth9\naddress 10.0.0.1\npeer 10.0.0.2\n}\n"
        + VIRTUAL % ("", ""),
        "global_defs {\ndefault_interface eth9\n}\n" + instance("A", 1),
    ],
)
def test_wherever_an_interface_is_named_it_is_looked_for(text: str) -> None:
    assert Code.NO_DEVICE in codes(text, HOST)
    assert Code.NO_DEVICE not in codes(text.replace("eth9", "eth1"), HOST)


def test_a_device_that_the_router_makes_is_not_looked_for() -> None:
    text = instance("A", 1, "use_vmac v0") + instance("B", 2).replace("eth0", "v0")
    assert codes(text, HOST) == []


def test_scripts_are_looked_for_once_each() -> None:
    text = SAFE % "" + VIRTUAL % ("quorum_up /bin/no\nquorum_down /bin/no", "notify_up /bin/true")
    assert codes(text, HOST) == [Code.SCRIPT]
    assert codes(text) == []


def test_this_machine_is_asked_for_its_interfaces_and_scripts(tmp_path: Path) -> None:
    host = LocalHost()
    assert "lo" in host.interfaces()
    assert host.megabits("lo") == 0
    assert host.problem(["/bin/true"]) == ""
    assert host.problem(["true"]) == ""
    assert "there is no program" in host.problem(["no-such-program"])
    assert host.problem(["/no/such/script"]).endswith("does not exist")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert host.problem([str(tmp_path)]).endswith("is no file")
    script.chmod(0o644)
    if not host.problem([str(script)]).endswith("is not executable"):
        pytest.fail(host.problem([str(script)]))
    script.chmod(0o777)
    assert host.problem([str(script)]) != ""


def test_check_looks_at_this_machine_unless_the_file_is_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(instance("A", 1).replace("eth0", "no-such-link"))
    assert main(["check", str(path)]) == ExitStatus.CONFIG
    assert "there is no interface 'no-such-link'" in capsys.readouterr().out
    assert main(["check", "--elsewhere", str(path)]) == ExitStatus.OK


def test_each_finding_can_be_switched_off() -> None:
    text = "global_defs {\nwarnings_off LK0345 LK0434\n}\n" + TRACKED % ("", "", "")
    assert codes(text) == []
