"""Starts that cannot work: a clear message and the documented exit status."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lvskeeper.errors import ExitStatus
from lvskeeper.lab.kernels import ipvs_is_here

GOOD = """
virtual_server 198.51.100.1 80 {
    protocol TCP
    lb_algo rr
    lb_kind NAT
    real_server 10.0.0.1 80 {
        TCP_CHECK {
        }
    }
}
"""

ROUTER = """
vrrp_instance VI_1 {
    interface lo
    virtual_router_id 1
    unicast_src_ip 127.0.0.1
    unicast_peer {
        127.0.0.9
    }
    virtual_ipaddress {
        192.0.2.100/32
    }
}
"""

without_ipvs = pytest.mark.skipif(
    os.geteuid() == 0 and ipvs_is_here(),
    reason="this kernel has ip_vs; the refusal is of one without",
)


def lvskeeper(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return] # options of subprocess
        [sys.executable, "-m", "lvskeeper", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.conf"
    file.write_text(GOOD)
    return file


def test_a_missing_file(tmp_path: Path) -> None:
    done = lvskeeper("run", "-f", tmp_path / "none.conf", "--run-dir", tmp_path / "run")
    assert done.returncode == ExitStatus.CONFIG
    assert "none.conf" in done.stderr
    assert "No such file" in done.stderr


def test_a_broken_file(tmp_path: Path, good: Path) -> None:
    good.write_text(GOOD.replace("protocol TCP", "protocol TPC"))
    done = lvskeeper("run", "-f", good, "--run-dir", tmp_path / "run")
    assert done.returncode == ExitStatus.CONFIG
    assert "good.conf:3:14: error" in done.stderr
    assert '"configuration_refused"' in done.stderr


@pytest.mark.root
@without_ipvs
def test_a_kernel_without_ipvs(tmp_path: Path, good: Path) -> None:
    for arguments in (("run", "-f", good, "--run-dir", tmp_path / "run"), ("plan", good)):
        done = lvskeeper(*arguments)
        assert done.returncode == ExitStatus.UNSUPPORTED, done.stderr
        assert "this kernel has no IPVS" in done.stderr
        assert "modprobe ip_vs" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.root
@pytest.mark.ipvs
def test_without_the_privilege() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # pytest's own folders are closed to other users.
        Path(folder).chmod(0o777)
        good = Path(folder, "good.conf")
        good.write_text(GOOD)
        commands = (("run", "-f", good, "--run-dir", Path(folder, "run")), ("plan", good))
        refused = [
            lvskeeper(*arguments, user="nobody", cwd="/", env={"HOME": "/"})
            for arguments in commands
        ]
    for done in refused:
        assert done.returncode == ExitStatus.PERMISSION, done.stderr
        assert "root" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.root
def test_a_router_without_the_privilege_does_not_take_itself_for_the_only_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        good = Path(folder, "good.conf")
        good.write_text(ROUTER)
        done = lvskeeper(
            "run", "-f", good, "--run-dir", Path(folder, "run"),
            user="nobody", cwd="/", env={"HOME": "/"},
        )  # fmt: skip
    assert done.returncode == ExitStatus.PERMISSION, done.stderr
    assert "CAP_NET_RAW" in done.stderr
    assert "MASTER" not in done.stderr
    assert "Traceback" not in done.stderr


@without_ipvs
def test_a_router_alone_needs_no_plan_of_tables(tmp_path: Path) -> None:
    good = tmp_path / "router.conf"
    good.write_text(ROUTER)
    done = lvskeeper("plan", good, "--run-dir", tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        (
            "waiting: vrrp_instance VI_1 joins: 192.0.2.100, if it becomes master\n"
            "nothing to do: the kernel is as configured\n"
        ),
    )


@pytest.mark.root
def test_a_runtime_directory_that_cannot_be_made(good: Path) -> None:
    good.parent.chmod(0o755)
    done = lvskeeper("run", "-f", good, "--run-dir", "/proc/lvskeeper", cwd="/")
    assert done.returncode == ExitStatus.PERMISSION
    assert "--run-dir" in done.stderr


def test_no_command_is_a_usage_error() -> None:
    done = lvskeeper()
    assert done.returncode == ExitStatus.CONFIG
    assert done.stderr.startswith("usage: lvskeeper")
