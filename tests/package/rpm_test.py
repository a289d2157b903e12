"""The rpm: built, looked at, and installed, upgraded and erased in a machine that systemd boots.

The machine is a Debian with the rpm command: its Python is the one that the package was built for,
and nothing there satisfies dependencies by the names that systems with rpm have for them.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.debian_box import ROOT, Machine
from support.packaged import CONFIG, FILE, UNIT, addresses, becomes_master, journal, show

from lvskeeper import __version__

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

SPEC = ROOT / "packaging/lvskeeper.spec"
RPM = ("rpm", "--force-debian", "--dbpath", "/var/lib/rpm")
NEEDED = ("rpm", "python3", "iproute2", "kmod", "nftables", "libpcre2-8-0")
"""What the dependencies are called in Debian."""
CONFIG_FILES = ["/etc/default/lvskeeper", "/etc/logrotate.d/lvskeeper", f"/{FILE}"]
OWNED = {
    "/etc/lvskeeper": "drwxr-x--- root:lvskeeper",
    f"/{FILE}": "-rw-r----- root:lvskeeper",
    "/run/lvskeeper": "drwxr-xr-x lvskeeper:lvskeeper",
    "/var/lib/lvskeeper": "drwxr-x--- lvskeeper:lvskeeper",
    "/var/log/lvskeeper": "drwxr-x--- lvskeeper:lvskeeper",
}
EDITED = "S.5....T.  c /"
"""What ``rpm -V`` says of a file with another size, digest and time."""
STAGE = """#!/bin/sh -e
cp -a {tree}/. "$1"
echo "# new" >>"$1/{file}"
echo "# new" >>"$1/etc/logrotate.d/lvskeeper"
"""
"""The stage of the second release: the tree of the first, with two other configuration files."""


@dataclass(frozen=True, slots=True)
class Release:
    file: Path
    folder: Path
    """Where it was built."""
    tree: Path
    """What is in it."""

    def ask(self, *question: str) -> list[str]:
        done = subprocess.run(
            ["rpm", "--force-debian", "-qp", *question, self.file],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.splitlines()


def built(spec: Path, source: Path, folder: Path) -> Path:
    done = subprocess.run(
        ["rpmbuild", "-bb", "--define", f"_topdir {folder}", "--define", f"_sourcedir {source}",
         spec],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = (folder / "RPMS").glob("*/*.rpm")
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Release:
    assert shutil.which("rpmbuild"), "apt-get install rpm"
    folder = tmp_path_factory.mktemp("rpm")
    tree = folder / "tree"
    tree.mkdir()
    made = built(SPEC, ROOT, folder / "top")
    with made.open("rb") as file:
        archive = subprocess.run(["rpm2archive", "-"], check=True, stdin=file, capture_output=True)
    subprocess.run(["tar", "-xzC", tree], check=True, input=archive.stdout)
    return Release(made, folder / "top", tree)


@pytest.fixture(scope="module")
def second(first: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("next")
    for name in ("lvskeeper/__init__.py", "packaging/systemd/lvskeeper.sysusers"):
        (source / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, source / name)
    script = source / "packaging/stage.sh"
    script.write_text(STAGE.format(tree=first.tree, file=FILE))
    script.chmod(0o755)
    spec = source / "next.spec"
    text, changed = re.subn(r"^Release: 1$", "Release: 2", SPEC.read_text(), flags=re.MULTILINE)
    assert changed == 1
    spec.write_text(text)
    return built(spec, source, source / "top")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    assert shutil.which("debootstrap"), "apt-get install debootstrap"
    with Machine() as made:
        made.install(*NEEDED)
        made.boot()
        yield made


@pytest.fixture(scope="module")
def installed(machine: Machine, first: Release) -> Machine:
    shutil.copy(first.file, machine.root / "root/first.rpm")
    done = machine.run(*RPM, "-i", "--nodeps", "/root/first.rpm")
    # A user who is not there yet, or a script that fails, is no more than a warning
    assert not re.search("warning|error", done.stdout + done.stderr)
    return machine


@pytest.fixture(scope="module")
def started(installed: Machine) -> Machine:
    (installed.root / FILE).write_text(CONFIG)
    installed.run("systemctl", "enable", "--now", UNIT)
    return installed


def changes(machine: Machine) -> list[str]:
    """Return what ``rpm -V`` finds: size, mode, digest, user, group, time of every file."""
    done = machine.run(*RPM, "-V", "--nodeps", "lvskeeper", check=False)
    return done.stdout.splitlines()


def pythons(machine: Machine) -> list[str]:
    """Return the processes that run Python; the daemon's are all that do."""
    command = ("find", "/proc", "-maxdepth", "2", "-name", "exe", "-lname", "*/python3*")
    return machine.run(*command, check=False).stdout.splitlines()


def test_it_needs_what_it_uses_and_names_no_library_of_its_own(first: Release) -> None:
    needs = {one for one in first.ask("--requires") if not one.startswith("rpmlib(")}
    assert needs == {
        "/bin/sh", "iproute", "kmod", "nftables", "pcre2", "systemd",
        f"config(lvskeeper) = {__version__}-1",
        f"python(abi) = {sys.version_info.major}.{sys.version_info.minor}",
    }  # fmt: skip
    # The account is made before there are files for it to own
    assert "pre systemd" in first.ask("--qf", r"[%{REQUIREFLAGS:deptype} %{REQUIRENAME}\n]")
    assert first.ask("--recommends") == ["conntrack-tools", "ipvsadm", "logrotate"]
    provides = {one.split(" = ")[0].split("(")[0] for one in first.ask("--provides")}
    assert provides == {"config", "lvskeeper"}


def test_its_files_are_those_of_the_debian_package(first: Release, package: Path) -> None:
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True
    )
    listed = subprocess.run(
        ["tar", "-t"], check=True, input=archive.stdout, capture_output=True
    ).stdout.decode()
    theirs = {name[1:] for name in listed.splitlines() if not name.endswith("/")}
    theirs = {name.replace("/zsh/vendor-completions/", "/zsh/site-functions/") for name in theirs}
    ours = {
        f"/{path.relative_to(first.tree)}" for path in first.tree.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }  # fmt: skip
    assert len(ours) > 500
    assert ours == theirs


def test_configuration_is_marked_so_and_only_the_daemons_own_is_not_roots(first: Release) -> None:
    assert sorted(first.ask("--configfiles")) == CONFIG_FILES
    form = r"[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME}\n]"
    files = dict(line.split(" ", 1) for line in first.ask("--qf", form))
    others = {name: words for name, words in files.items() if not words.endswith(" root:root")}
    assert others == OWNED
    open_to_others = {name for name, words in files.items()
                      if words[0] != "l" and "w" in words[4:10]}  # fmt: skip
    assert not open_to_others


def test_nothing_tells_of_the_place_where_it_was_built(first: Release) -> None:
    for place in (first.folder, f"file://{ROOT}"):
        done = subprocess.run(
            ["grep", "-rlF", str(place), first.tree], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, "")


def test_rpmlint_finds_nothing_that_has_no_reason(first: Release) -> None:
    assert shutil.which("rpmlint"), "apt-get install rpmlint"
    done = subprocess.run(
        ["rpmlint", "-c", ROOT / "packaging/rpmlint.toml", first.file],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "0 errors, 0 warnings" in done.stdout, done.stdout
    assert done.returncode == 0


def test_what_was_installed_is_whole_has_its_user_and_was_not_started(installed: Machine) -> None:
    assert changes(installed) == []
    modes = installed.run("stat", "-c", "%n %A %U:%G", *OWNED).stdout.splitlines()
    assert dict(line.split(" ", 1) for line in modes) == OWNED
    account = installed.run("getent", "passwd", "lvskeeper").stdout.strip()
    assert account.endswith(":lvskeeper daemon:/var/lib/lvskeeper:/usr/sbin/nologin")
    assert (show(installed, "ActiveState"), show(installed, "UnitFileState")) == (
        "inactive", "disabled",
    )  # fmt: skip
    assert pythons(installed) == []


def test_its_commands_work_there(installed: Machine) -> None:
    assert installed.run("lvskeeper", "--version").stdout == f"lvskeeper {__version__}\n"
    examples = installed.root / "usr/share/doc/lvskeeper/examples"
    checked = [one for one in examples.iterdir() if one.suffix in {".conf", ".yaml"}]
    assert len(checked) >= 6
    for one in checked:
        installed.run("lvskeeper", "check", "--elsewhere", f"/{one.relative_to(installed.root)}")
    doctor = installed.run("lvskeeper", "doctor", "--listen", "0", check=False)
    assert doctor.returncode in {0, 1}, doctor.stdout
    assert "0 problems" in doctor.stdout
    # Nothing was compiled anew: what the package brings is for this very Python
    assert changes(installed) == []


def test_it_serves_as_its_own_user_and_nothing_of_the_package_changes(started: Machine) -> None:
    becomes_master(started)
    assert pythons(started)
    status = started.run("cat", f"/proc/{show(started, 'MainPID')}/status").stdout
    assert re.search(r"^CapEff:\t0000000000807000$", status, re.MULTILINE)
    user = started.run("id", "-u", "lvskeeper").stdout.strip()
    assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE)
    assert not re.search("not permitted|denied|_failed ", journal(started), re.IGNORECASE)
    # systemd gives the folders of the service the modes that the package has for them
    assert changes(started) == [f"{EDITED}{FILE}"]


def test_an_upgrade_keeps_what_is_served_and_what_was_edited(
    started: Machine, second: Path
) -> None:
    main = show(started, "MainPID")
    (started.root / "etc/default/lvskeeper").write_text('LVSKEEPER_OPTIONS="--log-file"\n')
    shutil.copy(second, started.root / "root/second.rpm")
    done = started.run(*RPM, "-U", "--nodeps", "/root/second.rpm")
    assert f"/{FILE}.rpmnew" in done.stderr
    assert started.run(*RPM, "-q", "lvskeeper").stdout.startswith(f"lvskeeper-{__version__}-2.")
    assert show(started, "ActiveState") == "active"
    assert show(started, "MainPID") not in {main, "0"}
    # With services in the kernel they would have stayed there
    assert re.search("daemon_stopped .*kept=True", journal(started))
    assert started.run("ls", "/run/lvskeeper").stdout.split().count("keep") == 0
    assert (started.root / FILE).read_text() == CONFIG
    assert (started.root / f"{FILE}.rpmnew").read_text().endswith("# new\n")
    assert (started.root / "etc/logrotate.d/lvskeeper").read_text().endswith("# new\n")
    becomes_master(started)
    log = started.root / "var/log/lvskeeper/lvskeeper.log"
    assert "daemon_ready" in log.read_text()
    edited = [name for name in CONFIG_FILES if "logrotate" not in name]
    assert sorted(changes(started)) == [f"{EDITED}{name[1:]}" for name in edited]


def test_erased_it_serves_no_more_and_leaves_what_was_edited_alone(started: Machine) -> None:
    (started.root / f"{FILE}.rpmnew").unlink()
    started.run(*RPM, "-e", "lvskeeper")
    assert "192.0.2.10" not in addresses(started)
    assert pythons(started) == []
    assert "lvskeeper" not in started.run("nft", "list", "tables").stdout
    places = ("/", "/run", "/tmp", "-xdev", "-name", "*lvskeeper*")
    left = set(started.run("find", *places).stdout.splitlines())
    assert left == {
        "/etc/default/lvskeeper.rpmsave", "/etc/lvskeeper", f"/{FILE}.rpmsave",
    }  # fmt: skip
    assert (started.root / f"{FILE}.rpmsave").read_text() == CONFIG
