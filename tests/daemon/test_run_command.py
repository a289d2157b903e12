"""``lvskeeper run`` as units start it: keepalived's options, a user of its own, systemd."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from support.commands import command
from support.own_user import NOBODY, as_nobody
from support.vrrp_net import DEVICE, prepare_device
from support.waiting import wait_until

from lvskeeper.cli.main import main
from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace

pytestmark = pytest.mark.root

CONFIG = f"""
vrrp_instance VI_1 {{
    version 3
    state BACKUP
    interface {DEVICE}
    virtual_router_id 51
    priority 150
    advert_int 0.1
    virtual_ipaddress {{
        192.0.2.10/24
    }}
    virtual_ipaddress_excluded {{
        192.0.2.11/32
    }}
}}
"""
START = 30.0


@pytest.fixture(scope="module")
def host() -> Iterator[Namespace]:
    name = f"{netns.laboratory_prefix()}-alone"
    made = Namespace(name)
    try:
        netns.run_ip(batch=[f"netns add {name}"])
        made.ip(f"link add {DEVICE} type veth peer far", "link set far up")
        prepare_device(made, 1)
        yield made
    finally:
        netns.delete([name])
        made.reap()


class Daemon:
    """A daemon that was started with options of the test's own."""

    def __init__(self, host: Namespace, folder: Path, *options: str, text: str = CONFIG) -> None:
        self.file = folder / "one.conf"
        self.file.write_text(text)
        self.run_dir = folder / "run"
        self.log = folder / "stderr"
        self._host = host
        self.command = [
            sys.executable, "-m", "lvskeeper", "run", "-f", str(self.file),
            "--run-dir", str(self.run_dir), *options,
        ]  # fmt: skip
        self.before: list[str] = []
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        with self.log.open("w") as log:
            self.process = self._host.popen(
                [*self.before, *self.command], stderr=log, env=self.environment
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(START)

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, text: Path | None = None) -> re.Match[str]:
        where = text or self.log

        def found() -> re.Match[str] | None:
            return re.search(pattern, where.read_text()) if where.exists() else None

        wait_until(found, lambda: f"no {pattern} in:\n{self.text()}", limit=START)
        match = found()
        assert match is not None
        return match

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(START)


def addresses(host: Namespace) -> str:
    return host.run(["ip", "-br", "address", "show", "dev", DEVICE]).stdout


class Systemd:
    """The socket of systemd, and what came there."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o777)
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        """Return what came since the last call."""
        lines: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines += self._socket.recv(4096).decode().split("\n")
        return lines

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.told(), f"no {line}", limit=START)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Unit:
    """A daemon as its unit starts it."""

    folder: Path
    daemon: Daemon
    systemd: Systemd
    host: Namespace

    @property
    def log(self) -> Path:
        return self.folder / "run/lvskeeper.log"

    @property
    def router(self) -> int:
        return int((self.folder / "run/router.pid").read_text())


@pytest.fixture(scope="module")
def unit(host: Namespace) -> Iterator[Unit]:
    # pytest's own folders are root's alone, and stay so
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        script = folder / "notify.sh"
        script.write_text(f"#!/bin/sh\ngrep ^Cap /proc/self/status >>{folder}/run/caps\n")
        script.chmod(0o755)
        text = (
            "global_defs {\n vrrp_rt_priority 50\n vrrp_no_swap\n vrrp_fence 30\n}\n"
            f'vrrp_script chk {{\n script "{script}"\n interval 1\n}}\n'
        ) + CONFIG.replace(
            "    version 3",
            f'    version 3\n    notify "{script}"\n    no_accept\n'
            "    track_script {\n        chk\n    }",
        )
        options = [
            "--log-file", f"{folder}/run/lvskeeper.log", "--log-compat", "keepalived",
            "--log-format", "json", "-r", f"{folder}/run/router.pid",
        ]  # fmt: skip
        daemon = Daemon(host, folder, *options, text=text)
        daemon.before = as_nobody(folder)
        daemon.environment = {
            "NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "4000000",
        }  # fmt: skip
        systemd = Systemd(folder / "notify")
        with daemon:
            systemd.wait_for("READY=1")
            yield Unit(folder, daemon, systemd, host)
        systemd.close()


def test_a_user_of_its_own_with_its_capabilities_alone_will_do(unit: Unit) -> None:
    unit.daemon.wait_for(" Entering MASTER STATE")
    assert "192.0.2.10/24" in addresses(unit.host)
    assert "table inet lvskeeper_vrrp" in unit.host.run(["nft", "list", "ruleset"]).stdout
    pid = int((unit.daemon.run_dir / "lvskeeper.pid").read_text())
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert str(unit.router) in children
    for process in (pid, *children):
        status = Path(f"/proc/{process}/status").read_text()
        assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\t0000000000807000$", status, re.MULTILINE), status
    assert os.sched_getscheduler(unit.router) & 0xFF == os.SCHED_RR
    assert re.search(
        r"^VmLck:\s+[1-9]", Path(f"/proc/{unit.router}/status").read_text(), re.MULTILINE
    )


def test_its_scripts_have_no_capabilities(unit: Unit) -> None:
    caps = unit.folder / "run/caps"
    unit.daemon.wait_for("CapAmb", caps)
    found = re.findall(r"^Cap(?:Prm|Eff|Amb):\t(\w+)$", caps.read_text(), re.MULTILINE)
    assert set(found) == {"0" * 16}


def test_systemd_hears_of_state_and_life_and_of_a_reload(unit: Unit) -> None:
    unit.systemd.wait_for("WATCHDOG=1")
    os.kill(unit.daemon.process.pid, signal.SIGHUP)
    unit.systemd.wait_for("RELOADING=1")
    unit.systemd.wait_for("STATUS=MASTER 1/1")


def test_a_role_that_stands_still_ends_the_signs_of_life(unit: Unit) -> None:
    unit.systemd.wait_for("WATCHDOG=1")
    router = unit.router
    os.kill(router, signal.SIGSTOP)
    try:
        # Half of the limit is what a round may take, and a second more is between two beats
        time.sleep(3.2)
        unit.systemd.told()
        time.sleep(1.5)
        assert "WATCHDOG=1" not in unit.systemd.told()
    finally:
        os.kill(router, signal.SIGCONT)
    unit.systemd.wait_for("WATCHDOG=1")


def test_logs_go_to_a_file_and_to_the_lines_of_keepalived(unit: Unit) -> None:
    unit.daemon.wait_for(r" Keepalived_vrrp\[\d+\]: \(VI_1\) Entering MASTER STATE\n", unit.log)
    assert " Keepalived[" in unit.log.read_text()
    assert re.search(r"Z notice daemon_ready role=supervisor ", unit.log.read_text())
    objects = [json.loads(line) for line in unit.daemon.text().splitlines()]
    assert "(VI_1) Entering MASTER STATE" in {one.get("message") for one in objects}


def test_a_dry_run_is_beside_the_daemon_and_takes_nothing_of_it(unit: Unit, tmp_path: Path) -> None:
    router = unit.router
    options = ["--dry-run", "-r", f"{unit.folder}/run/router.pid", "--log-format", "text"]
    dry = Daemon(unit.host, tmp_path, *options)
    dry.run_dir = unit.daemon.run_dir
    dry.command[dry.command.index("--run-dir") + 1] = str(dry.run_dir)
    with dry:
        began = dry.wait_for("dry_run_began .*")
        assert f'beside={dry.run_dir} left_out="VRRP,' in began[0]
        dry.wait_for("daemon_ready .*vrrp_instances=0")
        own = dry.run_dir.with_name("run-dry-run")
        wait_until((own / "control.sock").exists, dry.text, limit=START)
        assert ", a dry run that serves nobody\n" in command("status", "--run-dir", own).out
        assert dry.stop() == 0
    assert unit.router == router
    assert unit.daemon.process.poll() is None
    assert "192.0.2.10/24" in addresses(unit.host)


def test_it_ends_in_order_and_was_denied_nothing(unit: Unit) -> None:
    assert unit.daemon.stop() == 0
    unit.systemd.wait_for("STOPPING=1")
    assert "192.0.2.10" not in addresses(unit.host)
    assert "lvskeeper" not in unit.host.run(["nft", "list", "ruleset"]).stdout
    assert not re.search("not permitted|denied|_failed ", unit.log.read_text(), re.IGNORECASE)
    assert re.search("Z notice daemon_stopped .*kept=False", unit.log.read_text())


def test_the_options_of_a_unit_of_keepalived_work(host: Namespace, tmp_path: Path) -> None:
    pids = {name: tmp_path / f"{name}.pid" for name in ("main", "vrrp", "checkers")}
    options = [
        "--dont-fork", "-l", "-D", "-P", "-V", "-i", "here", "-p", str(pids["main"]),
        "-r", str(pids["vrrp"]), "-c", str(pids["checkers"]),
    ]  # fmt: skip
    # With -P the virtual server is no concern, and a kernel without ip_vs will do
    text = CONFIG.replace("priority 150", "@here priority 150\n    @there priority 50") + (
        "virtual_server 192.0.2.10 80 {\n protocol TCP\n lb_algo rr\n lb_kind NAT\n"
        " real_server 192.0.2.1 80 {\n }\n}\n"
    )
    with Daemon(host, tmp_path, *options, text=text) as daemon:
        daemon.wait_for("new=.*MASTER")
        assert "192.0.2.10/24" in addresses(host)
        found = {name: int(path.read_text()) for name, path in pids.items()}
        assert found["main"] == daemon.process.pid
        assert len(set(found.values())) == 3
        for name in ("vrrp", "checkers"):
            status = Path(f"/proc/{found[name]}/status").read_text()
            assert f"PPid:\t{found['main']}\n" in status
        assert daemon.stop() == 0
    assert not pids["main"].exists()
    assert re.match(r"\d\d:\d\d:\d\d\.\d+ \[info *\] daemon_started", daemon.text())
    # With -V the addresses are still there
    assert "192.0.2.10/24" in addresses(host)
    cleanup = ["cleanup", "--vips", "--run-dir", str(daemon.run_dir)]
    host.run([sys.executable, "-m", "lvskeeper", *cleanup])
    assert "192.0.2.10" not in addresses(host)


def test_with_c_vrrp_is_left_alone_and_a_dump_has_none(host: Namespace, tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    options = ["-C", "--allow-empty", "--log-format", "text", "--dump-dir", str(folder)]
    with Daemon(host, tmp_path, *options) as daemon:
        daemon.wait_for("daemon_ready .*vrrp_instances=0")
        assert "192.0.2.10" not in addresses(host)
        os.kill(daemon.process.pid, 36)
        dumped = folder / "keepalived.json"
        wait_until(dumped.exists, daemon.text, limit=START)
        assert dumped.read_text() == "[]"
        shutil.rmtree(folder)
        os.kill(daemon.process.pid, 36)
        daemon.wait_for("dump_failed .*No such file")
        assert daemon.stop() == 0


def test_a_dry_run_of_vrrp_alone_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--dry-run", "-P"]) == 2
    assert "plays no VRRP" in capsys.readouterr().err


def test_a_test_of_the_configuration_says_nothing_of_a_good_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, log = tmp_path / "x.conf", tmp_path / "log"
    file.write_text("vrrp_instance x {\n interface lo\n virtual_router_id 1\n"
                    " virtual_ipaddress {\n 192.0.2.1\n }\n}\n")  # fmt: skip
    assert main(["run", "-f", str(file), "-t"]) == 0
    assert capfd.readouterr().out == ""
    file.write_text(file.read_text().replace("virtual_router_id 1", "virtual_router_id 999"))
    assert main(["run", "-f", str(file), "--config-test", str(log)]) == 2
    assert capfd.readouterr().err == ""
    assert "x.conf:3:" in log.read_text()
    assert main(["run", "-f", str(file), "-t"]) == 2
    assert "x.conf:3:" in capfd.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"]], ids=["lvskeeper", "lvskeeper run"])
def test_signal_numbers_are_those_of_keepalived(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {}
    for name in ("STOP", "RELOAD", "DATA", "STATS", "JSON"):
        with pytest.raises(SystemExit) as ended:
            main([*command, f"--signum={name}"])
        assert not ended.value.code
        numbers[name] = int(capsys.readouterr().out)
    assert numbers == {"STOP": 15, "RELOAD": 1, "DATA": 10, "STATS": 12, "JSON": 36}
    if KEEPALIVED is not None:
        asked = [subprocess.run([KEEPALIVED, f"--signum={name}"], check=True, capture_output=True)
                 for name in numbers]  # fmt: skip
        assert [int(one.stdout) for one in asked] == list(numbers.values())


KEEPALIVED = shutil.which("keepalived", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def dump_of_keepalived(host: Namespace, folder: Path) -> tuple[list[Any], str]:
    """Let keepalived itself dump the same configuration; its /tmp is a folder of its own."""
    tmp = folder / "tmp"
    tmp.mkdir()
    (tmp / "theirs.conf").write_text(CONFIG)
    command = [
        KEEPALIVED or "", "-n", "-l", "-P", "-f", "/tmp/theirs.conf", "-p", "/tmp/k.pid",
        "-r", "/tmp/kv.pid",
    ]  # fmt: skip
    # It writes to /tmp, which is another one in a namespace of mounts
    inner = ["unshare", "--mount", "sh", "-ec", f'mount --bind {tmp} /tmp; exec "$@"', "sh"]
    with (folder / "their.log").open("w") as log:
        process = host.popen([*inner, *command], stdout=log, stderr=log)
    try:
        wait_until(
            lambda: "192.0.2.11" in addresses(host), (folder / "their.log").read_text, limit=START
        )
        process.send_signal(36)
        process.send_signal(signal.SIGUSR2)
        dumped, stats = tmp / "keepalived.json", tmp / "keepalived.stats"
        wait_until(
            lambda: dumped.exists() and dumped.read_text().rstrip().endswith("]"), limit=START
        )
        wait_until(lambda: stats.exists() and "Sent: " in stats.read_text()[-20:], limit=START)
        return json.loads(dumped.read_text()), stats.read_text()
    finally:
        process.terminate()
        process.wait(START)


@pytest.mark.skipif(KEEPALIVED is None, reason="keepalived is not here")
def test_the_dumps_have_the_form_of_keepalived(host: Namespace, tmp_path: Path) -> None:
    theirs, their_stats = dump_of_keepalived(host, tmp_path)
    with Daemon(host, tmp_path, "--log-format", "text") as daemon:
        daemon.wait_for("new=MASTER")
        os.kill(daemon.process.pid, 36)
        os.kill(daemon.process.pid, signal.SIGUSR2)
        dumped, stats = (daemon.run_dir / f"keepalived.{kind}" for kind in ("json", "stats"))
        wait_until(lambda: dumped.exists() and stats.exists(), daemon.text, limit=START)
        ours = json.loads(dumped.read_text())
        our_stats = stats.read_text()
        assert daemon.stop() == 0
    mine, yours = ours[0]["data"], theirs[0]["data"]
    assert mine.keys() == yours.keys()
    assert ours[0]["stats"].keys() == theirs[0]["stats"].keys()
    passing = ("last_transition",)
    assert {k: v for k, v in mine.items() if k not in passing} == {
        k: v for k, v in yours.items() if k not in passing
    }
    for key, value in yours.items():
        assert type(mine[key]) is type(value), key
    assert abs(mine["last_transition"] - time.time()) < 60
    assert ours[0]["stats"]["become_master"] == 1
    shape = [re.sub(r"\d+$", "N", line) for line in their_stats.splitlines()]
    assert [re.sub(r"\d+$", "N", line) for line in our_stats.splitlines()] == shape
