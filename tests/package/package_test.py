"""The package in a clean Debian: installed, booted, upgraded, removed. ``make package-test``.

It needs root, debootstrap, the network for Debian's packages, and some minutes. The kernel is the
host's, and may be without ip_vs: what is served is VRRP.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian_box import ROOT, Machine
from support.packaged import CONFIG, FILE, UNIT, addresses, becomes_master, journal, show
from support.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

EXPOSURE = 2.6
"""What systemd 252 gives; what is left are the network's own rights."""


@pytest.fixture(scope="module")
def machine(package: Path) -> Iterator[Machine]:
    assert shutil.which("debootstrap"), "apt-get install debootstrap"
    with Machine() as made:
        shutil.copy(package, made.root / "root/lvskeeper.deb")
        made.install("/root/lvskeeper.deb")
        yield made


@pytest.fixture(scope="module")
def booted(machine: Machine) -> Machine:
    (machine.root / FILE).write_text(CONFIG)
    machine.boot()
    machine.run("systemctl", "enable", "--now", UNIT)
    return machine


def test_what_was_installed_is_whole_and_has_its_user(machine: Machine) -> None:
    assert machine.chroot("dpkg", "--verify", "lvskeeper").stdout == ""
    assert "lvskeeper" in machine.chroot("id", "lvskeeper").stdout
    modes = machine.chroot("stat", "-c", "%a %U:%G", "/etc/lvskeeper", f"/{FILE}").stdout
    assert modes.split("\n")[:2] == ["750 root:lvskeeper", "640 root:lvskeeper"]
    files = machine.chroot("dpkg-query", "-f", "${Conffiles}", "-W", "lvskeeper").stdout
    assert re.findall(r"^ (\S+) ", files, re.MULTILINE) == [
        "/etc/default/lvskeeper", "/etc/logrotate.d/lvskeeper", f"/{FILE}",
    ]  # fmt: skip


def test_its_libraries_are_its_own(machine: Machine) -> None:
    assert machine.chroot("python3", "-c", "import msgspec", check=False).returncode == 1
    names = machine.chroot("dpkg", "-L", "lvskeeper").stdout.splitlines()
    outside = [name for name in names if "site-packages" in name
               and not name.startswith("/usr/lib/lvskeeper/")]  # fmt: skip
    assert not outside
    # Nothing tells of the place where it was built, and nothing is compiled when it runs
    assert not machine.chroot(
        "grep", "-rl", str(ROOT), "/usr/lib/lvskeeper/bin", check=False
    ).stdout
    sources = [name for name in names if re.search(r"site-packages/lvskeeper/.*\.py$", name)]
    compiled = [name for name in names if re.search(r"site-packages/lvskeeper/.*\.pyc$", name)]
    assert len(sources) == len(compiled) > 200


def test_commands_examples_pages_and_completions_are_there(machine: Machine) -> None:
    assert machine.chroot("lvskeeper", "--version").stdout.startswith("lvskeeper ")
    examples = machine.root / "usr/share/doc/lvskeeper/examples"
    checked = [one for one in examples.iterdir() if one.suffix in {".conf", ".yaml"}]
    assert len(checked) >= 6
    for one in checked:
        machine.chroot("lvskeeper", "check", "--elsewhere", f"/{one.relative_to(machine.root)}")
    for page in (
        "man/man8/lvskeeper.8.gz", "man/man5/lvskeeper.conf.5.gz",
        "bash-completion/completions/lvskeeper", "zsh/vendor-completions/_lvskeeper",
        "fish/vendor_completions.d/lvskeeper.fish",
    ):  # fmt: skip
        assert (machine.root / "usr/share" / page).stat().st_size > 1000, page
    machine.chroot("logrotate", "-d", "/etc/logrotate.d/lvskeeper")


def test_the_unit_is_hardened(machine: Machine) -> None:
    done = machine.chroot(
        "systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}",
        "--no-pager", f"/usr/lib/systemd/system/{UNIT}",
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= EXPOSURE


def test_it_is_ready_when_the_unit_has_started_and_runs_as_its_own_user(booted: Machine) -> None:
    assert (show(booted, "ActiveState"), show(booted, "NRestarts")) == ("active", "0")
    assert "daemon_ready" in journal(booted)
    becomes_master(booted)
    status = booted.run("cat", f"/proc/{show(booted, 'MainPID')}/status").stdout
    assert re.search(r"^CapEff:\t0000000000807000$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    user = booted.run("id", "-u", "lvskeeper").stdout.strip()
    assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE)
    assert not re.search("not permitted|denied|_failed ", journal(booted), re.IGNORECASE)
    assert "VI_1" in booted.run("lvskeeper", "status").stdout


def test_doctor_finds_no_problem(booted: Machine) -> None:
    done = booted.run("lvskeeper", "doctor", "--listen", "1", check=False)
    assert done.returncode in {0, 1}, done.stdout
    assert "lvskeeper runs (pid " in done.stdout
    # Its own adverts do not come back to it
    assert "no virtual router on eth0 in 1 s" in done.stdout


def test_a_reload_fails_where_it_is_refused(booted: Machine) -> None:
    file = booted.root / FILE
    file.write_text(CONFIG.replace("192.0.2.10/24", "192.0.2.10/24\n        192.0.2.12/24"))
    booted.run("systemctl", "reload", UNIT)
    assert "192.0.2.12/24" in addresses(booted)
    file.write_text(CONFIG + "bogus\n")
    assert booted.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert show(booted, "ActiveState") == "active"
    file.write_text(CONFIG)
    booted.run("systemctl", "reload", UNIT)
    assert "192.0.2.12/24" not in addresses(booted)


def test_a_daemon_that_is_killed_leaves_no_address_and_comes_back(booted: Machine) -> None:
    main = show(booted, "MainPID")
    booted.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", UNIT)
    wait_until(lambda: "192.0.2.10" not in addresses(booted), "it stayed", limit=30)
    wait_until(lambda: show(booted, "MainPID") not in {main, "0"}, "no new one", limit=30)
    assert re.search("vips_released .*instance=.earlier run", journal(booted))
    becomes_master(booted)


def test_one_that_stands_still_is_ended_by_the_watchdog(booted: Machine) -> None:
    folder = booted.root / "etc/systemd/system/lvskeeper.service.d"
    folder.mkdir()
    (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=6\n")
    try:
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "restart", UNIT)
        main = show(booted, "MainPID")
        booted.run("sh", "-c", f"kill -STOP {main}")
        wait_until(lambda: show(booted, "MainPID") not in {main, "0"}, "no new one", limit=60)
        booted.run("journalctl", "--sync")
        assert "Watchdog timeout" in booted.run("journalctl", "-u", UNIT, "-o", "cat").stdout
    finally:
        shutil.rmtree(folder)
        booted.run("systemctl", "daemon-reload")
    booted.run("systemctl", "restart", UNIT)
    becomes_master(booted)


def upgraded(package: Path, folder: Path) -> Path:
    """Return the same package with a higher version."""
    tree, made = folder / "tree", folder / "next.deb"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(
        re.sub(r"^(Version: .*)$", r"\1+next", control.read_text(), flags=re.MULTILINE)
    )
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, made], check=True)
    return made


def test_an_upgrade_keeps_what_is_served_and_what_was_edited(
    booted: Machine, package: Path, tmp_path: Path
) -> None:
    shutil.copy(upgraded(package, tmp_path), booted.root / "root/next.deb")
    (booted.root / "etc/default/lvskeeper").write_text('LVSKEEPER_OPTIONS="--log-file"\n')
    booted.run("dpkg", "-i", "--force-confold", "/root/next.deb")
    assert show(booted, "ActiveState") == "active"
    # With services in the kernel they would have stayed there
    assert re.search("daemon_stopped .*kept=True", journal(booted))
    assert booted.run("ls", "/run/lvskeeper").stdout.split().count("keep") == 0
    assert (booted.root / FILE).read_text() == CONFIG
    becomes_master(booted)
    log = booted.root / "var/log/lvskeeper/lvskeeper.log"
    assert "daemon_ready" in log.read_text()
    assert booted.run("dpkg-query", "-f", "${Version}", "-W", "lvskeeper").stdout.endswith("+next")


def test_removed_it_serves_no_more_and_purged_it_leaves_nothing(booted: Machine) -> None:
    booted.run("dpkg", "--remove", "lvskeeper")
    assert "192.0.2.10" not in addresses(booted)
    assert "lvskeeper" not in booted.run("nft", "list", "tables").stdout
    assert (booted.root / FILE).exists()
    assert not (booted.root / "usr/lib/lvskeeper").exists()
    booted.run("dpkg", "--purge", "lvskeeper")
    assert not (booted.root / "etc/lvskeeper").exists()
    assert not (booted.root / "var/log/lvskeeper").exists()
