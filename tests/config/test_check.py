import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvskeeper.cli import check
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.loading import load_in_child

GOOD = """\
virtual_server 192.0.2.1 80 {
    protocol TCP
    lb_algo rr
    lb_kind NAT
    real_server 198.51.100.1 80 {
        TCP_CHECK { }
    }
}
"""


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args(arguments))


def write(folder: Path, text: str) -> str:
    path = folder / "a.conf"
    path.write_text(text)
    return str(path)


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD)
    assert run(path, "--strict") == 0
    told = f"{path}: ok: 1 virtual server, 1 real server, 1 check, 0 warnings\n"
    assert capsys.readouterr().out == told


FULLNAT = """\
local_address_group lips {
    198.51.100.10-13
}
virtual_server 192.0.2.1 80 {
    protocol TCP
    lb_algo rr
    lb_kind FNAT
    laddr_group_name lips
    real_server 198.51.100.1 80 {
    }
    real_server 198.51.100.2 80 {
    }
}
"""
ROOM = (
    "pool lips: 4 LIPs x 64512 ports = 258048 connections to each real server "
    "(2 real servers: 516096 at most)"
)


def test_what_pools_can_carry_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, FULLNAT)
    assert run(path, "--strict") == 0
    assert capsys.readouterr().out.startswith(f"{path}: note: {ROOM}\n{path}: ok: ")
    assert run(path, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [ROOM]


def test_warnings_count_with_strict_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD.replace("    lb_algo rr\n", ""))
    assert run(path) == 0
    assert run(path, "--strict") == 1
    assert "no lb_algo: it is taken as wlc [LK0321]" in capsys.readouterr().out


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD.replace("lb_algo", "lb_alog"))
    assert run(path) == 2
    out = capsys.readouterr().out
    assert f"{path}:3:5: error: unknown keyword 'lb_alog' [LK0201]" in out
    assert "did you mean 'lb_algo'?" in out
    assert out.endswith(f"{path}: refused: 1 error, 0 warnings\n")


def test_no_such_file_and_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "none.conf")) == 2
    assert "No such file or directory" in capsys.readouterr().out
    assert run(str(tmp_path)) == 2
    assert "Is a directory" in capsys.readouterr().out


def test_a_file_that_serves_nothing_is_refused_with_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("", "# cut short\n", "global_defs {\nrouter_id a\n}\n"):
        path = write(tmp_path, text)
        assert run(path) == 2
        out = capsys.readouterr().out
        assert f"{path}:1:1: error: the configuration is empty" in out
        assert "--allow-empty" in out
        assert run(path, "--allow-empty") == 0
        assert "ok: 0 virtual servers" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "virtual_server fwmark 7 {\n}\n",
        "static_routes {\n198.51.100.0/24 via 192.0.2.1\n}\n",
        "global_defs {\nlvs_sync_daemon eth0 id 3\n}\n",
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 9\nno_virtual_ipaddress\n}\n",
    ],
)
def test_a_file_that_does_anything_is_not_empty(tmp_path: Path, text: str) -> None:
    assert run(write(tmp_path, text)) == 0


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD.replace("    lb_algo rr\n", ""))
    assert run(path, "--format", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert (document["errors"], document["warnings"]) == (0, 1)
    assert document["counts"] == {
        "virtual_servers": 1,
        "real_servers": 1,
        "checks": 1,
        "vrrp_instances": 0,
    }
    assert document["diagnostics"][0]["code"] == "LK0321"
    path = write(tmp_path, "}")
    assert run(path, "--format", "json") == 2
    assert json.loads(capsys.readouterr().out)["counts"] is None


def test_as_a_process_with_a_terminal_of_ascii(tmp_path: Path) -> None:
    path = write(tmp_path, "caf\u00e9 {\n}\n")
    program = (
        "import argparse, sys\nfrom lvskeeper.cli import check\n"
        "parser = argparse.ArgumentParser()\ncheck.add_arguments(parser)\n"
        "sys.exit(check.run(parser.parse_args()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 2
    assert done.stderr == b""
    assert b"unknown keyword 'caf\\xe9'" in done.stdout


def test_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, f"include {tmp_path}\n")
    assert run(path) == 2
    assert f"cannot read {tmp_path}: Is a directory" in capsys.readouterr().out


def test_github_gets_workflow_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a,b").mkdir()
    path = write(tmp_path / "a,b", GOOD.replace("rr", "100%") + "$X=ovf\nvrrp_version $X\n")
    assert run(path, "--format", "github") == 2
    first, *others, last = capsys.readouterr().out.splitlines()
    name = path.replace(",", "%2C")
    assert first.startswith(
        f"::error file={name},line=3,col=13,endColumn=16::lb_algo: '100%25' is not known here"
        " [LK0207]%0Ahint: "
    )
    assert "%0Aread as: vrrp_version ovf%0A" in others[0]
    assert last == f"{path}: refused: 2 errors, 0 warnings"


LINTED = (
    GOOD.replace("    lb_algo rr\n", "")
    + "vrrp_script unused {\n    script /bin/true\n    user nobody\n}\n"
)


def test_warnings_are_switched_off_by_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, LINTED)
    assert run(path, "--strict") == 1
    assert capsys.readouterr().out.endswith(", 2 warnings\n")
    assert run(path, "--strict", "--off", "LK0321") == 1
    told = capsys.readouterr().out
    assert "LK0321" not in told
    assert told.endswith(", 1 warning, 1 switched off\n")
    assert run(path, "--strict", "--off", "lk0321", "--off", "UNUSED_TRACK") == 0
    assert capsys.readouterr().out.endswith(", 0 warnings, 2 switched off\n")


def test_warnings_are_switched_off_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defs = "global_defs {\n    warnings_off LK0321 # as keepalived\n    warnings_off LK0418\n}\n"
    assert run(write(tmp_path, LINTED + defs), "--strict", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["warnings"], told["switched_off"]) == (0, 2)


def test_the_daemon_reads_a_file_by_the_same_options(tmp_path: Path) -> None:
    path = write(tmp_path, f"@a {LINTED}@b virtual_server 192.0.2.1 80 {{\n@b }}\n")
    assert len(load_file(path, config_id="a", off=("LK0321",)).warnings) == 1
    assert load_file(path, config_id="b").errors
    child = load_in_child(Path(path), allow_empty=False, config_id="a", off=("LK0321", "LK0418"))
    loaded = asyncio.run(child)
    assert (loaded.errors, loaded.warnings) == ((), ())


def test_errors_cannot_be_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("rr", "rrr") + "global_defs {\n    warnings_off LK0207\n}\n"
    assert run(write(tmp_path, text), "--off", "LK0207") == 2
    assert capsys.readouterr().out.endswith("refused: 1 error, 0 warnings\n")


def test_a_code_that_does_not_exist_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(write(tmp_path, GOOD), "--off", "LK032")
    assert "no code 'LK032' did you mean LK0" in capsys.readouterr().err
